//! What both dialects say in the same words: conditions, shares, faults, filters, endpoints.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::{
    self as cluster, CircuitBreakers, Cluster, circuit_breakers::Thresholds,
};
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality};
use envoy_types::pb::envoy::config::endpoint::v3::{
    Endpoint, LbEndpoint, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, WeightedCluster, header_matcher::HeaderMatchSpecifier,
    route_action::ClusterSpecifier, weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, Rds, http_connection_manager::RouteSpecifier, http_filter::ConfigType,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::Any;
use mesh_api::model::{
    Abort, Destination, Fault, HeaderMatch, HeaderValue, Label, RequestLimits, RequestRule,
};

use super::message::{address, ads, any, duration, number, percent, regex};
use super::pool::{Place, Status};

/// Name of the filter that faults belong to.
const FAULT: &str = "envoy.filters.http.fault";

/// Filters of a listener. That for faults is always there: it does nothing where a route says
/// nothing, and a listener that stays as it is keeps its connections.
pub(super) fn filters(router: &Router) -> Vec<HttpFilter> {
    let filter = |name: &str, config| HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    };
    vec![
        filter(FAULT, any(&HttpFault::default())),
        filter("envoy.filters.http.router", any(router)),
    ]
}

/// Routes that come over the same stream.
pub(super) fn rds(name: &str) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds { config_source: ads(), route_config_name: name.to_owned() })
}

pub(super) fn header(condition: &HeaderMatch) -> HeaderMatcher {
    let pattern = match &condition.value {
        HeaderValue::Exact(value) => MatchPattern::Exact(value.clone()),
        HeaderValue::Regex(value) => MatchPattern::SafeRegex(regex(value.clone())),
    };
    header_matcher(&condition.name, pattern)
}

pub(super) fn header_matcher(name: &str, pattern: MatchPattern) -> HeaderMatcher {
    let pattern = StringMatcher { ignore_case: false, match_pattern: Some(pattern) };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(pattern)),
        ..HeaderMatcher::default()
    }
}

/// Shares of clusters; the names come in order.
pub(super) fn clusters(
    shares: &[(Destination, u32)],
    name: impl Fn(&Destination) -> String,
) -> ClusterSpecifier {
    if let [(only, _)] = shares {
        return ClusterSpecifier::Cluster(name(only));
    }
    let weight = |(to, weight): &(Destination, u32)| ClusterWeight {
        name: name(to),
        weight: number(*weight),
        ..ClusterWeight::default()
    };
    let clusters = shares.iter().map(weight).collect();
    ClusterSpecifier::WeightedClusters(WeightedCluster { clusters, ..WeightedCluster::default() })
}

/// What a route says about filters: about one at most, so that bytes do not depend on the order of
/// a map.
pub(super) fn faults(request: Option<&RequestRule>) -> HashMap<String, Any> {
    let fault = request.and_then(|request| request.fault);
    fault.map(|fault| (FAULT.to_owned(), any(&self::fault(fault)))).into_iter().collect()
}

fn fault(Fault { delay, abort }: Fault) -> HttpFault {
    HttpFault {
        delay: delay.map(|(wait, share)| FaultDelay {
            percentage: Some(percent(share)),
            fault_delay_secifier: duration(wait).map(FaultDelaySecifier::FixedDelay),
        }),
        abort: abort.map(|(abort, share)| FaultAbort {
            percentage: Some(percent(share)),
            error_type: Some(match abort {
                Abort::Http(status) => ErrorType::HttpStatus(status.into()),
                Abort::Grpc(status) => ErrorType::GrpcStatus(status.into()),
            }),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    }
}

/// A cluster whose endpoints come over the same stream.
pub(super) fn cluster(name: String) -> Cluster {
    Cluster {
        name,
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: ads(),
            service_name: String::new(),
        }),
        ..Cluster::default()
    }
}

/// Limits of requests. Where there is none, it must be said: clients have limits of their own.
pub(super) fn limits(
    limits: RequestLimits,
    max_connections: Option<u32>,
    per_host: Option<u32>,
) -> CircuitBreakers {
    let or_none = |limit: Option<u32>| number(limit.unwrap_or(u32::MAX));
    let thresholds = Thresholds {
        max_connections: or_none(max_connections),
        max_pending_requests: or_none(limits.max_pending_requests),
        max_requests: or_none(limits.max_requests),
        max_retries: or_none(limits.max_retries),
        ..Thresholds::default()
    };
    let per_host = per_host
        .map(|limit| Thresholds { max_connections: number(limit), ..Thresholds::default() });
    CircuitBreakers {
        thresholds: vec![thresholds],
        per_host_thresholds: per_host.into_iter().collect(),
    }
}

pub(super) fn locality(place: &Place, sub_zone: String) -> Locality {
    let text = |label: &Option<Label>| label.as_ref().map(Label::to_string).unwrap_or_default();
    Locality { region: text(&place.region), zone: text(&place.zone), sub_zone }
}

pub(super) fn endpoint(place: &Place, status: Status, weight: u32) -> LbEndpoint {
    let status = match status {
        Status::Healthy => HealthStatus::Healthy,
        Status::Unknown => HealthStatus::Unknown,
        Status::Unhealthy => HealthStatus::Unhealthy,
        Status::Draining => HealthStatus::Draining,
    };
    LbEndpoint {
        health_status: status.into(),
        load_balancing_weight: number(weight),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: address(place.address.to_string(), place.port.get()),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}
