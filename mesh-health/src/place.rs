//! Where an endpoint is checked. Pure. The agent and the control plane must come to the same: either
//! may check the same endpoint, and their findings are put together.

use mesh_api::model::{HealthCheck, Name, Port, Protocol, Service};

/// The port that the check names, or where the service's first TCP port leads. `own` gives the
/// endpoint's own number for the name of a port, if it has one. `None`: nothing says which.
pub fn port(
    check: &HealthCheck,
    service: Option<&Service>,
    own: impl FnOnce(&Name) -> Option<Port>,
) -> Option<Port> {
    check.port.or_else(|| {
        let first = service?.ports.iter().find(|port| port.protocol == Protocol::Tcp)?;
        Some(own(&first.name).unwrap_or(first.target_port))
    })
}
