//! When Envoy ejects endpoints. Answers and failures to connect are counted apart, as ours are;
//! what is not asked for is switched off, because Envoy has defaults of its own.

use envoy_types::pb::envoy::config::cluster::v3::OutlierDetection as Wire;
use mesh_api::model::OutlierDetection;

use super::super::message::{duration, number, switch};

/// `None` where nobody may be ejected.
pub(super) fn detection(from: &OutlierDetection) -> Option<Wire> {
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
    } = *from;
    if max_ejection_percent == 0 {
        return None;
    }
    let enforced = |is_asked: bool| number(if is_asked { 100 } else { 0 });
    Some(Wire {
        interval: duration(interval),
        base_ejection_time: duration(base_ejection_time),
        max_ejection_time: duration(max_ejection_time),
        max_ejection_percent: number(max_ejection_percent.into()),
        always_eject_one_host: switch(true),
        consecutive_5xx: consecutive_5xx.and_then(number),
        enforcing_consecutive_5xx: enforced(consecutive_5xx.is_some()),
        consecutive_gateway_failure: consecutive_gateway_errors.and_then(number),
        enforcing_consecutive_gateway_failure: enforced(consecutive_gateway_errors.is_some()),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: consecutive_failures.and_then(number),
        enforcing_consecutive_local_origin_failure: enforced(consecutive_failures.is_some()),
        failure_percentage_threshold: failure_percentage.and_then(|it| number(it.into())),
        failure_percentage_request_volume: number(minimum_connections),
        failure_percentage_minimum_hosts: number(1),
        enforcing_failure_percentage: enforced(false),
        enforcing_failure_percentage_local_origin: enforced(failure_percentage.is_some()),
        enforcing_success_rate: enforced(false),
        enforcing_local_origin_success_rate: enforced(false),
        ..Wire::default()
    })
}
