//! Type URLs of the standard resources, in one place for the server, the translators and the
//! tests.

/// `envoy.config.cluster.v3.Cluster` (CDS).
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// `envoy.config.endpoint.v3.ClusterLoadAssignment` (EDS).
pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// `envoy.config.listener.v3.Listener` (LDS).
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// `envoy.config.route.v3.RouteConfiguration` (RDS).
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// The order in which changes are pushed: what is referred to comes first
/// (xDS protocol, "Eventual consistency considerations").
pub const PUSH_ORDER: [&str; 4] = [CLUSTER, ENDPOINTS, LISTENER, ROUTE];

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
