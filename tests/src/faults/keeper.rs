//! Who keeps connections from a backend that fails, how that is configured, and how to see in the
//! kernel's maps that it does.

use std::net::Ipv4Addr;

use mesh_common::logic::{breaker, outlier};

use crate::farm::HEALTH_PORT;
use crate::guards::Guards;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeper {
    /// The breaker of each endpoint, in the kernel.
    Breaker,
    /// Ejection after failures in a row, in the kernel.
    Outlier,
    /// The agent's health checks over HTTP.
    Health,
}

const RESET_MS: u64 = 1_000;
const EJECTION_MS: u64 = 2_000;

impl Keeper {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Breaker => "circuit breaker",
            Self::Outlier => "outlier detection",
            Self::Health => "health check",
        }
    }

    /// The spec of the `ServiceConfig`. A connect that nobody answers fails after 300 ms.
    pub(super) fn config(self) -> String {
        let own = match self {
            Self::Breaker => format!(
                "  circuitBreaker:\n    perEndpoint: {{maxFailures: 3, window: 10s, \
                 resetTimeout: {RESET_MS}ms, trialConnections: 1}}\n"
            ),
            Self::Outlier => format!(
                "  outlierDetection: {{consecutiveFailures: 3, baseEjectionTime: {EJECTION_MS}ms, \
                 maxEjectionPercent: 50}}\n  loadBalancer: {{panicThreshold: 0}}\n"
            ),
            Self::Health => format!(
                "  healthCheck: {{http: {{path: /}}, port: {HEALTH_PORT}, interval: 200ms, \
                 timeout: 100ms, unhealthyThreshold: 2, healthyThreshold: 2}}\n"
            ),
        };
        format!("  timeouts: {{connect: 300ms}}\n  retry: {{attempts: 1}}\n{own}")
    }

    /// Connections that may go to each backend all the same, after so many milliseconds.
    pub(super) const fn trials(self, elapsed_ms: u64) -> u64 {
        match self {
            Self::Breaker => elapsed_ms / RESET_MS + 1,
            // Back, it gets whatever comes until it has failed often enough again.
            Self::Outlier => u64::MAX,
            Self::Health => 0,
        }
    }

    /// Until when none of these can get a connection, nanoseconds of the monotonic clock; none
    /// where one of them can.
    pub(super) fn until(
        self,
        guards: &Guards,
        victims: &[Ipv4Addr],
    ) -> anyhow::Result<Option<u64>> {
        let mut until = u64::MAX;
        for victim in victims {
            let one = match self {
                Self::Breaker => {
                    let word = guards.backend(*victim)?.breaker;
                    let open = breaker::phase(word) == breaker::Phase::OPEN;
                    open.then(|| (breaker::since(word) + RESET_MS) * 1_000_000)
                }
                Self::Outlier => {
                    let word = guards.backend(*victim)?.outlier;
                    outlier::is_ejected(word).then(|| outlier::time(word) * 1_000_000)
                }
                Self::Health => {
                    let share = guards.shares()?.get(&(*victim).into()).copied();
                    (share.unwrap_or(0.0) <= 0.0).then_some(u64::MAX)
                }
            };
            let Some(one) = one else { return Ok(None) };
            until = until.min(one);
        }
        Ok(Some(until))
    }
}
