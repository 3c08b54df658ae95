//! What the server knows about standard types. Their names are those of [`translate`](crate::translate).

pub use crate::translate::{
    ASSIGNMENT as ENDPOINTS, CLUSTER, LISTENER, ROUTES as ROUTE, TYPES as PUSH_ORDER,
};

/// Types whose changes may refer to clusters that the client must have warmed before.
pub const STAGED: [&str; 2] = [LISTENER, ROUTE];

/// Whether a state-of-the-world response of the type says all there is, so that what it lacks is
/// gone (xDS protocol, "Grouping Resources into Responses"). Only these types can be subscribed
/// to without a name.
#[must_use]
pub fn is_complete(type_url: &str) -> bool {
    [CLUSTER, LISTENER].contains(&type_url)
}

/// Whether the type can only be subscribed to by name: no name is nothing, not everything.
#[must_use]
pub fn is_named(type_url: &str) -> bool {
    [ENDPOINTS, ROUTE].contains(&type_url)
}
