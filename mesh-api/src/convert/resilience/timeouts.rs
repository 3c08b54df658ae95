//! What sockets are told: timeouts and retransmissions of the SYN, wire ⇄ model.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::convert::bounds::{duration, optional};
use crate::convert::milliseconds;
use crate::convert::routing::TIMEOUT as REQUEST;
use crate::manifest::duration::format_duration;
use crate::model::{Retry, Timeouts};
use crate::violation::Fields;
use crate::wire;

const CONNECT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(10);
const IDLE: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_hours(24);
const ATTEMPTS: RangeInclusive<u32> = 1..=20;
const PER_TRY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);

/// `timeouts` and `retry`, which both say something to the same sockets.
pub(in crate::convert) fn from_wire(
    fields: &mut Fields,
    spec: Option<wire::Timeouts>,
    retry: Option<wire::Retry>,
) -> Option<Box<Timeouts>> {
    if spec.is_none() && retry.is_none() {
        return None;
    }
    if spec == Some(wire::Timeouts::default()) {
        let message = "nothing in it: give connect, idle or request, or remove timeouts";
        fields.invalid("spec.timeouts", message);
    }
    let wire::Timeouts { connect_ms, request_ms, idle_ms } = spec.unwrap_or_default();
    let connect = optional(fields, "spec.timeouts.connect", duration(connect_ms), &CONNECT);
    let request = optional(fields, "spec.timeouts.request", duration(request_ms), &REQUEST);
    let idle = optional(fields, "spec.timeouts.idle", duration(idle_ms), &IDLE);
    let retry = retry.and_then(|retry| retry_from_wire(fields, retry, connect));
    Some(Box::new(Timeouts { connect, idle, retry, request }))
}

fn retry_from_wire(
    fields: &mut Fields,
    spec: wire::Retry,
    connect: Option<Duration>,
) -> Option<Retry> {
    const PER_TRY_AT: &str = "spec.retry.perTryTimeout";
    let wire::Retry { attempts, per_try_timeout_ms } = spec;
    let valid = ATTEMPTS.contains(&attempts);
    if !valid {
        let message = format!(
            "{attempts} is out of range: use 1 to 20, how often the SYN is sent again, or remove \
             retry"
        );
        fields.invalid("spec.retry.attempts", message);
    }
    let per_try_timeout = optional(fields, PER_TRY_AT, duration(per_try_timeout_ms), &PER_TRY);
    if let (Some(per_try), Some(connect)) = (per_try_timeout, connect)
        && per_try > connect
    {
        let connect = format_duration(connect);
        let message = format!(
            "longer than spec.timeouts.connect, which is {connect}: use less, so that the SYN is \
             sent again before the time is over"
        );
        fields.invalid(PER_TRY_AT, message);
    }
    valid.then_some(Retry { attempts, per_try_timeout })
}

pub(in crate::convert) fn to_wire(
    timeouts: Option<Timeouts>,
) -> (Option<wire::Timeouts>, Option<wire::Retry>) {
    let Timeouts { connect, idle, retry, request } = timeouts.unwrap_or_default();
    let given = connect.is_some() || idle.is_some() || request.is_some();
    let timeouts = given.then(|| wire::Timeouts {
        connect_ms: connect.map(milliseconds),
        request_ms: request.map(milliseconds),
        idle_ms: idle.map(milliseconds),
    });
    let retry = retry.map(|Retry { attempts, per_try_timeout }| wire::Retry {
        attempts,
        per_try_timeout_ms: per_try_timeout.map(milliseconds),
    });
    (timeouts, retry)
}
