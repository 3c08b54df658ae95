//! Outlier detection: wire ⇄ model.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::convert::bounds::{duration, optional, or, percent};
use crate::convert::milliseconds;
use crate::manifest::duration::format_duration;
use crate::model::OutlierDetection;
use crate::violation::Fields;
use crate::wire;

/// What the kernel can count in a row; 0 switches it off.
const CONSECUTIVE: RangeInclusive<u32> = 0..=4095;
const DEFAULT_CONSECUTIVE: u32 = 5;
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const EJECTION: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(24);
const DEFAULT_EJECTION: Duration = Duration::from_secs(30);
const DEFAULT_LONGEST: Duration = Duration::from_mins(5);
const PERCENT: RangeInclusive<u32> = 0..=100;
const DEFAULT_EJECTED: u32 = 10;
const MINIMUM: RangeInclusive<u32> = 1..=u32::MAX;
const DEFAULT_MINIMUM: u32 = 50;

pub(in crate::convert) fn from_wire(
    fields: &mut Fields,
    spec: wire::OutlierDetection,
) -> OutlierDetection {
    const AT: &str = "spec.outlierDetection";
    let field = |name: &str| format!("{AT}.{name}");
    let consecutive = or(
        fields,
        &field("consecutiveFailures"),
        spec.consecutive_failures,
        &CONSECUTIVE,
        DEFAULT_CONSECUTIVE,
    );
    let percentage = Some(spec.failure_percentage);
    let percentage = optional(fields, &field("failurePercentage"), percentage, &PERCENT);
    let answers = |fields: &mut Fields, name: &str, value| {
        optional(fields, &field(name), value, &CONSECUTIVE).filter(|answers| *answers > 0)
    };
    let consecutive_5xx = answers(fields, "consecutive5xx", spec.consecutive_5xx);
    let gateway = spec.consecutive_gateway_errors;
    let consecutive_gateway_errors = answers(fields, "consecutiveGatewayErrors", gateway);
    let no_answers = consecutive_5xx.is_none() && consecutive_gateway_errors.is_none();
    if consecutive == Some(0) && percentage == Some(0) && no_answers {
        let message = "nothing is looked at: give consecutiveFailures or failurePercentage a \
                       value above 0, or remove outlierDetection";
        fields.invalid(AT, message);
    }
    let interval = duration(spec.interval_ms);
    let interval = or(fields, &field("interval"), interval, &INTERVAL, DEFAULT_INTERVAL);
    let base = duration(spec.base_ejection_time_ms);
    let base = or(fields, &field("baseEjectionTime"), base, &EJECTION, DEFAULT_EJECTION);
    let longest = DEFAULT_LONGEST.max(base.unwrap_or(DEFAULT_EJECTION));
    let max = duration(spec.max_ejection_time_ms);
    let max = or(fields, &field("maxEjectionTime"), max, &EJECTION, longest);
    if let (Some(base), Some(max)) = (base, max)
        && base > max
    {
        let base = format_duration(base);
        let message = format!("shorter than baseEjectionTime, which is {base}: use {base} to 24h");
        fields.invalid(field("maxEjectionTime"), message);
    }
    let ejected = spec.max_ejection_percent;
    let ejected = or(fields, &field("maxEjectionPercent"), ejected, &PERCENT, DEFAULT_EJECTED);
    let minimum = spec.minimum_connections;
    let minimum = or(fields, &field("minimumConnections"), minimum, &MINIMUM, DEFAULT_MINIMUM);
    OutlierDetection {
        consecutive_failures: consecutive.filter(|failures| *failures > 0),
        interval: interval.unwrap_or(DEFAULT_INTERVAL),
        base_ejection_time: base.unwrap_or(DEFAULT_EJECTION),
        max_ejection_time: max.unwrap_or(longest),
        max_ejection_percent: percent(ejected.unwrap_or(DEFAULT_EJECTED)),
        failure_percentage: percentage.filter(|it| *it > 0).map(percent),
        minimum_connections: minimum.unwrap_or(DEFAULT_MINIMUM),
        consecutive_5xx,
        consecutive_gateway_errors,
    }
}

pub(in crate::convert) fn to_wire(outlier: OutlierDetection) -> wire::OutlierDetection {
    let OutlierDetection {
        consecutive_failures,
        interval,
        base_ejection_time,
        max_ejection_time,
        max_ejection_percent,
        failure_percentage,
        minimum_connections,
        consecutive_5xx,
        consecutive_gateway_errors,
    } = outlier;
    wire::OutlierDetection {
        consecutive_failures: Some(consecutive_failures.unwrap_or(0)),
        interval_ms: Some(milliseconds(interval)),
        base_ejection_time_ms: Some(milliseconds(base_ejection_time)),
        max_ejection_percent: Some(max_ejection_percent.into()),
        max_ejection_time_ms: Some(milliseconds(max_ejection_time)),
        failure_percentage: failure_percentage.unwrap_or(0).into(),
        minimum_connections: Some(minimum_connections),
        consecutive_5xx,
        consecutive_gateway_errors,
    }
}
