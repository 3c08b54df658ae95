//! How a gRPC client chooses an endpoint, and leaves it alone.

use envoy_types::pb::envoy::config::cluster::v3::{Cluster, OutlierDetection, cluster::LbPolicy};
use mesh_api::model;

use super::super::View;
use super::super::message::{duration, number, own};
use super::super::shared;
use super::is_hashed;

pub(super) fn cluster(view: &View<'_>, name: String) -> Cluster {
    let breaker = view.config.and_then(|config| config.circuit_breaker.as_deref().copied());
    let said = breaker.and_then(|breaker| breaker.requests);
    // What else there is, gRPC does not have.
    let max_requests = said.and_then(|requests| requests.max_requests);
    let requests = model::RequestLimits { max_requests, ..model::RequestLimits::default() };
    let outlier = view.config.and_then(|config| config.outlier_detection.as_deref());
    // gRPC refuses a cluster whose policy it does not know, and only newer ones know others.
    let lb_policy = if is_hashed(view) { LbPolicy::RingHash } else { LbPolicy::RoundRobin };
    Cluster {
        lb_policy: lb_policy.into(),
        circuit_breakers: Some(shared::limits(requests, None, None)),
        outlier_detection: outlier.and_then(detection),
        // Reports go to where the cluster came from (gRFC A27); Envoy's bootstrap says it for all.
        lrs_server: own(),
        ..shared::cluster(name)
    }
}

/// Of ours, gRPC can follow the percentage (gRFC A50), which it counts over requests.
fn detection(from: &model::OutlierDetection) -> Option<OutlierDetection> {
    let percentage = from.failure_percentage.filter(|_| from.max_ejection_percent > 0)?;
    Some(OutlierDetection {
        interval: duration(from.interval),
        base_ejection_time: duration(from.base_ejection_time),
        max_ejection_time: duration(from.max_ejection_time),
        max_ejection_percent: number(from.max_ejection_percent.into()),
        enforcing_success_rate: number(0),
        failure_percentage_threshold: number(percentage.into()),
        failure_percentage_request_volume: number(from.minimum_connections),
        failure_percentage_minimum_hosts: number(1),
        enforcing_failure_percentage: number(100),
        ..OutlierDetection::default()
    })
}
