//! Who a connection is counted for: what the labels of the metrics tell apart.

use mesh_api::model::{Label, ObjectName};

/// A row of the metrics. Endpoints come and go without end, so they have none of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// The service that applications connected to; not known of entries that an earlier agent
    /// left in the maps without a word.
    pub service: Option<ObjectName>,
    /// Whether they are datagram flows; otherwise they are TCP connections.
    pub udp: bool,
    /// The endpoint's version.
    pub version: Option<Label>,
    /// The endpoint's workload.
    pub workload: Option<Label>,
}

impl Account {
    /// A whole service's.
    #[must_use]
    pub const fn of_service(service: ObjectName) -> Self {
        Self { service: Some(service), udp: false, version: None, workload: None }
    }
}
