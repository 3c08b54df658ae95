//! The file that an Envoy of this mesh starts with. Pure.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// Most connections from applications, so that file descriptors and memory do not run out.
const MOST_CONNECTIONS: u32 = 50_000;
/// Largest regular expression, in RE2's instructions; the control plane lets none through that is
/// larger.
const MOST_INSTRUCTIONS: u32 = 1_000;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Name of the node.
    pub node: String,
    /// The node's region; empty where nobody knows.
    pub region: String,
    /// The node's zone; empty where nobody knows.
    pub zone: String,
    /// Host and port of the control plane.
    pub control: (String, u16),
    /// Where Envoy answers the agent.
    pub admin: SocketAddr,
    /// Most memory that connections and requests may take, in MiB; `None`: no bound.
    pub memory: Option<u32>,
}

impl Bootstrap {
    /// The file: JSON, which is YAML as well.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:#}\n", self.value())
    }

    fn value(&self) -> Value {
        let Self { node, region, zone, control: (host, port), admin, memory } = self;
        let is_address = host.parse::<IpAddr>().is_ok();
        let http2 = json!({ "connection_keepalive": { "interval": "30s", "timeout": "5s" } });
        json!({
            "node": {
                "id": format!("envoy~{node}"),
                "cluster": "mesh",
                "locality": { "region": region, "zone": zone },
                "metadata": { "node": node },
            },
            "admin": { "address": address(&admin.ip().to_string(), admin.port()) },
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
                },
                "lds_config": { "ads": {}, "resource_api_version": "V3" },
                "cds_config": { "ads": {}, "resource_api_version": "V3" },
            },
            "cluster_manager": { "load_stats_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
            } },
            "static_resources": { "clusters": [{
                "name": "xds",
                "type": if is_address { "STATIC" } else { "STRICT_DNS" },
                "connect_timeout": "1s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": { "http2_protocol_options": http2 },
                    },
                },
                "load_assignment": {
                    "cluster_name": "xds",
                    "endpoints": [{ "lb_endpoints": [{
                        "endpoint": { "address": address(host, *port) },
                    }] }],
                },
            }] },
            "layered_runtime": { "layers": [{
                "name": "static",
                "static_layer": { "re2.max_program_size.error_level": MOST_INSTRUCTIONS },
            }] },
            "overload_manager": overload(*memory),
        })
    }
}

/// What is done before memory or file descriptors run out.
fn overload(memory: Option<u32>) -> Value {
    let mut monitors = vec![json!({
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": MOST_CONNECTIONS,
        },
    })];
    let Some(memory) = memory else { return json!({ "resource_monitors": monitors }) };
    let heap = "envoy.resource_monitors.fixed_heap";
    monitors.push(json!({
        "name": heap,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
            "max_heap_size_bytes": u64::from(memory) << 20,
        },
    }));
    let from = |action: &str, share: f64| {
        json!({
            "name": action,
            "triggers": [{ "name": heap, "threshold": { "value": share } }],
        })
    };
    json!({
        "refresh_interval": "0.25s",
        "resource_monitors": monitors,
        "actions": [
            from("envoy.overload_actions.shrink_heap", 0.9),
            from("envoy.overload_actions.stop_accepting_requests", 0.95),
        ],
    })
}

fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

/// Host and port in the address of a control plane; `None` where there is no host.
#[must_use]
pub fn host_and_port(url: &axum::http::Uri) -> Option<(String, u16)> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), url.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(control: &str) -> Value {
        let bootstrap = Bootstrap {
            node: "n1".to_owned(),
            region: String::new(),
            zone: "z1".to_owned(),
            control: host_and_port(&control.parse().unwrap()).unwrap(),
            admin: "127.0.0.1:15000".parse().unwrap(),
            memory: None,
        };
        serde_json::from_str(&bootstrap.text()).unwrap()
    }

    #[test]
    fn the_control_plane_may_have_a_name_or_an_address() {
        for (url, kind, host, port) in [
            ("http://10.0.0.1:15010", "STATIC", "10.0.0.1", 15_010),
            ("http://[fd00::1]:15010", "STATIC", "fd00::1", 15_010),
            ("http://control.mesh", "STRICT_DNS", "control.mesh", 80),
        ] {
            let value = bootstrap(url);
            let cluster = &value["static_resources"]["clusters"][0];
            let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
            let at = &endpoint["endpoint"]["address"]["socket_address"];
            assert_eq!(cluster["type"], kind);
            assert_eq!((&at["address"], &at["port_value"]), (&json!(host), &json!(port)));
        }
    }

    #[test]
    fn the_node_says_who_and_where_it_is() {
        let node = bootstrap("http://h:1")["node"].take();
        assert_eq!(node["id"], "envoy~n1");
        assert_eq!(node["metadata"]["node"], "n1");
        assert_eq!(node["locality"]["zone"], "z1");
    }
}
