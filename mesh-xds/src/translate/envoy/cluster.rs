//! How Envoy chooses an endpoint of a destination, connects to it, and leaves it alone.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster, UpstreamConnectionOptions,
    cluster::{
        CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, RoundRobinLbConfig,
        SlowStartConfig,
    },
};
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, TcpKeepalive,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        explicit_http_config::ProtocolConfig,
    },
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::Any;
use mesh_api::model::{LoadBalancer, Policy, RequestProtocol, Timeouts};

use super::super::View;
use super::super::message::{any, duration, number};
use super::super::shared;
use super::listener::stat;
use super::{Proxied, outlier};

/// Where nobody says anything: Envoy's own, spelled out.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a silent peer is asked before its connection ends.
const KEEPALIVE_PROBES: u32 = 3;

pub(super) fn cluster(view: &View<'_>, proxied: &Proxied<'_>, name: String) -> Cluster {
    let balancer = view.balancer();
    let timeouts = view.config.and_then(|config| config.timeouts.as_deref().copied());
    let timeouts = timeouts.unwrap_or_default();
    let breaker = view.config.and_then(|config| config.circuit_breaker.as_deref().copied());
    let breaker = breaker.unwrap_or_default();
    let outlier = view.config.and_then(|config| config.outlier_detection.as_deref());
    let (lb_policy, lb_config) = choice(&balancer);
    let alt_stat_name = if name.contains('.') { stat(&name) } else { String::new() };
    Cluster {
        alt_stat_name,
        connect_timeout: duration(timeouts.connect.unwrap_or(CONNECT_TIMEOUT)),
        lb_policy: lb_policy.into(),
        lb_config,
        circuit_breakers: Some(shared::limits(
            breaker.requests.unwrap_or_default(),
            breaker.service.max_connections,
            breaker.endpoint.max_connections,
        )),
        outlier_detection: outlier.and_then(outlier::detection),
        typed_extension_protocol_options: protocol(proxied.application),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: balancer.panic_threshold.into() }),
            ..CommonLbConfig::default()
        }),
        upstream_connection_options: connections(timeouts),
        ..shared::cluster(name)
    }
}

/// Envoy's random draw ignores the weights of endpoints, so that is round robin, which does not,
/// and begins anywhere.
fn choice(balancer: &LoadBalancer) -> (LbPolicy, Option<LbConfig>) {
    let slow_start_config = balancer.slow_start.map(|window| SlowStartConfig {
        slow_start_window: duration(window),
        ..SlowStartConfig::default()
    });
    match balancer.policy {
        Policy::Random | Policy::RoundRobin => {
            let config = RoundRobinLbConfig { slow_start_config };
            (LbPolicy::RoundRobin, Some(LbConfig::RoundRobinLbConfig(config)))
        }
        Policy::LeastConnections => {
            let config = LeastRequestLbConfig { slow_start_config, ..Default::default() };
            (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config)))
        }
        // Without anything to hash: at the loopback all clients of a node look the same.
        Policy::Maglev => (LbPolicy::Maglev, None),
    }
}

/// What is spoken to endpoints: one entry, so that bytes do not depend on the order of a map.
fn protocol(application: RequestProtocol) -> HashMap<String, Any> {
    let options = match application {
        // As the client has begun, for the server is one that it would have reached without Envoy.
        RequestProtocol::Http => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions::default()),
                http2_protocol_options: Some(Http2ProtocolOptions::default()),
                ..UseDownstreamHttpConfig::default()
            })
        }
        RequestProtocol::Http2 | RequestProtocol::Grpc => {
            let http2 = ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default());
            let config = ExplicitHttpConfig { protocol_config: Some(http2) };
            UpstreamProtocolOptions::ExplicitHttpConfig(config)
        }
    };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(options),
        ..HttpProtocolOptions::default()
    };
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    HashMap::from([(name.to_owned(), any(&options))])
}

/// A peer whose kernel gives no sign of life is asked, and given up when the time is over.
fn connections(timeouts: Timeouts) -> Option<UpstreamConnectionOptions> {
    let idle = timeouts.idle?;
    let part = u32::try_from(idle.as_secs()).unwrap_or(u32::MAX) / (KEEPALIVE_PROBES + 1);
    let tcp_keepalive = Some(TcpKeepalive {
        keepalive_probes: number(KEEPALIVE_PROBES),
        keepalive_time: number(part.max(1)),
        keepalive_interval: number(part.max(1)),
    });
    Some(UpstreamConnectionOptions { tcp_keepalive, ..UpstreamConnectionOptions::default() })
}
