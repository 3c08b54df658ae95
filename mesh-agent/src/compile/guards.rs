//! Limits, breakers, outlier detection, timeouts and acceleration as the programs read them. For
//! TCP only: datagrams have no end that anybody sees.

use mesh_api::model::{self, Acceleration, Protocol, ServiceConfig};
use mesh_common::policy::{OutlierPolicy, Policy, Thresholds};
use mesh_common::service::ServiceFlags;

use super::timeouts::{self, millis};
use super::{Kernel, Origin};

/// The policy of a kernel service with so many backends, healthy or not, and the flags that say
/// which parts of it are to be read, and whether connections are accelerated. Zero where there are
/// none.
pub(super) fn policy(
    origin: &Origin<'_>,
    backends: usize,
    kernel: Kernel,
    warnings: &mut Vec<String>,
) -> (Policy, ServiceFlags) {
    let Some(config) = origin.group.config.as_deref() else { return Default::default() };
    if origin.port.protocol != Protocol::Tcp {
        let has_tcp = origin.service.ports.iter().any(|port| port.protocol == Protocol::Tcp);
        if !has_tcp && says_something(config) {
            warnings.push(format!(
                "{origin}: circuit breakers, outlier detection, timeouts and acceleration are for \
                 TCP, and have no effect here"
            ));
        }
        return Default::default();
    }
    let breaker = config.circuit_breaker.as_deref().copied().unwrap_or_default();
    let guards = Policy {
        service: thresholds(breaker.service),
        backend: thresholds(breaker.endpoint),
        outlier: config
            .outlier_detection
            .as_deref()
            .map(|it| outlier(*it, backends))
            .unwrap_or_default(),
        ..Policy::default()
    };
    let mut flags = ServiceFlags::default();
    if guards != Policy::default() {
        flags.bits |= ServiceFlags::GUARDED.bits;
    }
    let timeouts = config.timeouts.as_deref().map(|timeouts| timeouts::policy(timeouts, kernel));
    let (timeouts, notes) = timeouts.unwrap_or_default();
    warnings.extend(notes.into_iter().map(|note| format!("{origin}: {note}")));
    let policy = Policy { timeouts, ..guards };
    if policy != guards {
        flags.bits |= ServiceFlags::TIMED.bits;
    }
    flags.bits |= accelerated(config.acceleration).bits;
    (policy, flags)
}

const fn accelerated(acceleration: Acceleration) -> ServiceFlags {
    let on = ServiceFlags::ACCELERATED.bits;
    match acceleration {
        Acceleration::Off => ServiceFlags { bits: 0 },
        Acceleration::On => ServiceFlags { bits: on },
        Acceleration::Auto => ServiceFlags { bits: on | ServiceFlags::AUTO.bits },
    }
}

const fn says_something(config: &ServiceConfig) -> bool {
    config.circuit_breaker.is_some()
        || config.outlier_detection.is_some()
        || config.timeouts.is_some()
        || !matches!(config.acceleration, Acceleration::Off)
}

fn thresholds(from: model::Thresholds) -> Thresholds {
    let limits = Thresholds {
        max_connections: from.max_connections.unwrap_or(0),
        max_pending: from.max_pending_connections.unwrap_or(0),
        ..Thresholds::default()
    };
    match from.breaker {
        None => limits,
        Some(breaker) => Thresholds {
            max_failures: breaker.max_failures,
            trials: breaker.trial_connections,
            window_ms: millis(breaker.window),
            reset_ms: millis(breaker.reset_timeout),
            ..limits
        },
    }
}

/// Has the programs ignore ejections, and make none: fewer endpoints are healthy than the panic
/// threshold says. Those that there are go on when that is over.
pub(super) const fn without_ejections(policy: &mut Policy) {
    policy.outlier.consecutive_failures = 0;
    policy.outlier.base_ms = 0;
}

/// Zero where no backend may be ejected.
fn outlier(from: model::OutlierDetection, backends: usize) -> OutlierPolicy {
    let percent = usize::from(from.max_ejection_percent);
    if percent == 0 {
        return OutlierPolicy::default();
    }
    OutlierPolicy {
        consecutive_failures: from.consecutive_failures.unwrap_or(0),
        base_ms: millis(from.base_ejection_time),
        max_ms: millis(from.max_ejection_time),
        max_ejected: u32::try_from(backends * percent / 100).unwrap_or(u32::MAX).max(1),
    }
}
