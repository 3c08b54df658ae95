//! Where Envoy takes the connections of a service's port, and how it reads them: a proxy that
//! nobody sees changes as little as it can.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{Http1ProtocolOptions, TrafficDirection};
use envoy_types::pb::envoy::config::listener::v3::{
    AdditionalAddress, Filter, FilterChain, Listener, filter,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager,
    http_connection_manager::{
        CodecType, PathWithEscapedSlashesAction, ServerHeaderTransformation, UpgradeConfig,
    },
};
use mesh_api::model::RequestProtocol;

use super::super::View;
use super::super::message::{address, any, duration, switch};
use super::super::shared;
use super::Proxied;

const HCM: &str = "envoy.filters.network.http_connection_manager";

pub(super) fn listener(view: &View<'_>, proxied: &Proxied<'_>, name: &str) -> Listener {
    let port = proxied.listener.get();
    let connections = Filter {
        name: HCM.to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&manager(view, proxied, name)))),
    };
    let more = view.mesh.proxy_addresses();
    let additional = |ip: String| AdditionalAddress {
        address: address(ip, port),
        ..AdditionalAddress::default()
    };
    let all = ["::1".to_owned()].into_iter().chain(more.iter().map(ToString::to_string));
    Listener {
        name: name.to_owned(),
        address: address("127.0.0.1".to_owned(), port),
        additional_addresses: all.map(additional).collect(),
        // A node may get the address later, or never.
        freebind: if more.is_empty() { None } else { switch(true) },
        stat_prefix: stat(name),
        filter_chains: vec![FilterChain { filters: vec![connections], ..FilterChain::default() }],
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Listener::default()
    }
}

/// As the names of metrics have it: dots separate their parts.
pub(super) fn stat(name: &str) -> String {
    name.replace('.', "_")
}

fn manager(view: &View<'_>, proxied: &Proxied<'_>, name: &str) -> HttpConnectionManager {
    let router = Router { suppress_envoy_headers: true, ..Router::default() };
    let upgrades = match proxied.application {
        RequestProtocol::Http => {
            vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..UpgradeConfig::default() }]
        }
        RequestProtocol::Http2 | RequestProtocol::Grpc => Vec::new(),
    };
    HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix: stat(name),
        http_filters: shared::filters(&router),
        http_protocol_options: Some(Http1ProtocolOptions {
            accept_http_10: true,
            default_host_for_http_10: format!(
                "{}.{}",
                view.service.name.name, view.service.name.namespace
            ),
            ..Http1ProtocolOptions::default()
        }),
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        // Long polls and streams are not ended for being silent; requests have their timeouts.
        stream_idle_timeout: duration(Duration::ZERO),
        // The client is on this node, and says about itself what it wants to.
        use_remote_address: switch(false),
        preserve_external_request_id: true,
        // RFC 3986, so that no other spelling of a path gets around a rule. Two slashes may mean
        // something else than one.
        normalize_path: switch(true),
        merge_slashes: false,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::KeepUnchanged.into(),
        upgrade_configs: upgrades,
        route_specifier: Some(shared::rds(name)),
        ..HttpConnectionManager::default()
    }
}
