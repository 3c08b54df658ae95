//! How endpoints are checked, and what is known of them.

use std::time::Duration;

use super::Port;

/// How each endpoint of a service is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is done.
    pub probe: Probe,
    /// Between the beginnings of two checks, 50 ms to 1 hour.
    pub interval: Duration,
    /// Until a check must have its answer; 10 ms to the interval.
    pub timeout: Duration,
    /// Successful checks in a row that make an endpoint healthy, 1 to 100.
    pub healthy_threshold: u32,
    /// Failed checks in a row that make an endpoint unhealthy, 1 to 100.
    pub unhealthy_threshold: u32,
    /// What it is taken for before.
    pub initial: Health,
    /// Port of the endpoint; `None`: where the service's first TCP port leads.
    pub port: Option<Port>,
    /// How much of the interval is added or taken off at random, 0 to 50 percent.
    pub jitter_percent: u8,
}

/// What is done to check an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Connect.
    Tcp,
    /// `GET`, over HTTP/1.1.
    Http(HttpProbe),
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Name of the service asked for; empty: the whole server.
        service: String,
    },
}

/// An HTTP request, and which answers are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Path and query, beginning with "/".
    pub path: String,
    /// The header `Host`; `None`: address and port.
    pub host: Option<String>,
    /// Good statuses; not empty, 200 to 599, each from the first to the second.
    pub statuses: Vec<(u16, u16)>,
}

/// Whether an endpoint can take connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It can.
    #[default]
    Healthy,
    /// It cannot.
    Unhealthy,
}
