//! What keeps connections away from endpoints that fail, or that have enough. Enforced by each
//! node for the connections of its own clients, for TCP only.

use std::time::Duration;

/// Limits and circuit breakers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// For all connections of a node to one port of the service.
    pub service: Thresholds,
    /// For those to each endpoint.
    pub endpoint: Thresholds,
    /// For the requests of one node's Envoy, or of one gRPC client, to each destination.
    pub requests: Option<RequestLimits>,
}

/// Limits of requests; `None`: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLimits {
    /// At a time.
    pub max_requests: Option<u32>,
    /// That wait for a connection at a time.
    pub max_pending_requests: Option<u32>,
    /// That are sent again at a time.
    pub max_retries: Option<u32>,
}

/// Limits and a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Connections at a time, those that are being made included; `None`: any number.
    pub max_connections: Option<u32>,
    /// Connections that are being made at a time; `None`: any number.
    pub max_pending_connections: Option<u32>,
    /// The breaker; `None`: there is none.
    pub breaker: Option<Breaker>,
}

/// A breaker: closed, open after failures, half-open after a time, and closed after trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failed connects within the window that open it, 1 to 1023.
    pub max_failures: u32,
    /// 100 ms to 1 hour.
    pub window: Duration,
    /// How long it is open, 10 ms to 1 hour.
    pub reset_timeout: Duration,
    /// Connections that it lets through when it is half-open, 1 to 1023.
    pub trial_connections: u32,
}

/// When endpoints are ejected for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failed connects in a row, 1 to 4095; `None`: not looked at.
    pub consecutive_failures: Option<u32>,
    /// How often the percentage is looked at, 100 ms to 1 hour.
    pub interval: Duration,
    /// The first ejection, 10 ms to 24 hours; the n-th takes n times that.
    pub base_ejection_time: Duration,
    /// The longest ejection, not below the base, up to 24 hours.
    pub max_ejection_time: Duration,
    /// How many of the service's endpoints may be ejected at a time, 0 to 100 percent; at least
    /// one may unless this is 0.
    pub max_ejection_percent: u8,
    /// Failed connects of an endpoint within an interval, 1 to 100 percent; `None`: not looked at.
    pub failure_percentage: Option<u8>,
    /// Connects within an interval below which the percentage says nothing; at least 1.
    pub minimum_connections: u32,
    /// Answers of 5xx in a row, 1 to 4095; requests only; `None`: not looked at.
    pub consecutive_5xx: Option<u32>,
    /// Answers of 502, 503 or 504 in a row, 1 to 4095; requests only; `None`: not looked at.
    pub consecutive_gateway_errors: Option<u32>,
}

impl OutlierDetection {
    /// Whether it looks at answers, which the kernel does not see.
    #[must_use]
    pub const fn looks_at_answers(&self) -> bool {
        self.consecutive_5xx.is_some() || self.consecutive_gateway_errors.is_some()
    }
}

/// What sockets are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection must be established, 10 ms to 10 minutes; `None`: the kernel's way.
    pub connect: Option<Duration>,
    /// Until a connection ends whose peer's kernel gives no sign of life, 2 seconds to 24 hours;
    /// `None`: the kernel's way.
    pub idle: Option<Duration>,
    /// How often the SYN is sent again, and when first.
    pub retry: Option<Retry>,
    /// Until the answer to a request has ended, where its rule says nothing; 10 ms to 24 hours.
    pub request: Option<Duration>,
}

/// How often the SYN is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Times, 1 to 20.
    pub attempts: u32,
    /// Until it is sent again for the first time, 10 ms to 60 seconds; `None`: follows from the
    /// timeout for the connect, else the kernel's way.
    pub per_try_timeout: Option<Duration>,
}
