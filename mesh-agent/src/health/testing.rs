//! What several tests of health check.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::{Health, HealthCheck, Probe};
use mesh_health::checker::Target;

/// A TCP check that decides at once, and often.
pub(super) fn target(address: SocketAddr) -> Target {
    let check = HealthCheck {
        probe: Probe::Tcp,
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(50),
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        initial: Health::Healthy,
        port: None,
        jitter_percent: 0,
    };
    Target { address, check: Arc::new(check), prepared: false }
}
