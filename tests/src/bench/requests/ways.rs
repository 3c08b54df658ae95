//! The ways to one server, all in one namespace and on one CPU.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use serde_json::{Value, json};

use super::super::rounds::{Programs, Variant, Walk};
use super::super::transport::Transport;
use crate::manifest::Manifest;
use crate::nginx::Nginx;
use crate::process::Place;
use crate::testbed::{self, PORT, SMALL, Testbed, backend};
use crate::wait::eventually;
use crate::xds::{ADMIN, Envoy};

const PLAIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 20), 80);
const RULED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 21), 80);
/// Where the sidecar of the client and that of the server listen, and where they answer.
const SIDECARS: [(SocketAddrV4, SocketAddrV4); 2] =
    [(local(15_001), local(15_101)), (local(15_006), local(15_106))];

const fn local(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// A way to the server.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) target: SocketAddrV4,
}

impl Way {
    /// A connection for each request.
    pub(super) fn connecting(&self) -> anyhow::Result<Variant> {
        let walk = Walk { first: self.target, addresses: 1 };
        Variant::connecting(self.name, Programs::default(), &self.place, walk)
    }
}

/// All of it. Fields drop in order.
pub(super) struct World {
    inside: Place,
    outside: Place,
    sidecars: Vec<Envoy>,
    envoy: Envoy,
    bed: Testbed,
    _server: Nginx,
}

impl World {
    pub(super) fn start(cpu: usize, transport: &Transport) -> anyhow::Result<Self> {
        let netns = testbed::namespace("requests")?;
        transport.apply(&netns)?;
        let outside = Place::in_netns(&netns).and_cpu(Some(cpu));
        let server = SocketAddrV4::new(backend(0), PORT);
        let nginx = Nginx::server(&netns, &outside, "web", server.into())?;
        let admin = ["--envoy-admin", &ADMIN.to_string()].map(ToOwned::to_owned);
        let flags: Vec<&str> =
            SMALL.iter().copied().chain(admin.iter().map(String::as_str)).collect();
        let bed = Testbed::start_in(&netns, "requests", &flags)?;
        let inside = bed.node.place().and_cpu(Some(cpu));
        let envoy = Envoy::start(&netns, &outside, "requests")?;
        bed.meshctl.apply(&services())?;
        eventually(|| {
            let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
            metrics.expect("mesh_agent_proxy_services", &[("state", "redirected")], 1)
        })?;
        let [_, (second, _)] = SIDECARS;
        let to = [second, server];
        let sidecars = SIDECARS
            .iter()
            .zip(to)
            .map(|((listen, admin), to)| {
                let config = sidecar(*admin, *listen, to).to_string();
                Envoy::start_with(&netns, &outside, &config, *admin)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { inside, outside, sidecars, envoy, bed, _server: nginx })
    }

    pub(super) fn ways(&self) -> Vec<Way> {
        let server = SocketAddrV4::new(backend(0), PORT);
        let way = |name, place: &Place, target| Way { name, place: place.clone(), target };
        let [(sidecar, _), _] = SIDECARS;
        vec![
            way("direct", &self.outside, server),
            way("direct again (noise floor)", &self.outside, server),
            way("mesh", &self.inside, PLAIN),
            way("mesh, rules for requests", &self.inside, RULED),
            way("two Envoys as sidecars", &self.outside, sidecar),
        ]
    }

    /// How many requests the node's Envoy and the client's sidecar have seen.
    pub(super) fn seen(&self) -> anyhow::Result<(u64, u64)> {
        let seen = |envoy: &Envoy, name: &str| envoy.stat(&self.bed.netns, name);
        let node = seen(&self.envoy, "http.default/ruled/http.downstream_rq_2xx")?;
        let sidecar = self.sidecars.first().map(|it| seen(it, "http.sidecar.downstream_rq_2xx"));
        Ok((node, sidecar.unwrap_or(Ok(0))?))
    }
}

/// Two services of the same server: one with a rule for requests, one without.
fn services() -> Manifest {
    let service = |name: &str, vip: SocketAddrV4| {
        format!(
            "apiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
             vips: [{}]\n  ports: [{{name: http, port: 80, targetPort: {PORT}, appProtocol: http}}]\n\
             ---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: {name}-1}}\n\
             spec: {{service: {name}, version: v1, address: {}}}\n",
            vip.ip(),
            backend(0),
        )
    };
    Manifest::from_text(&format!(
        "{}---\n{}---\napiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: ruled}}\n\
         spec:\n  trafficRules:\n  - {{match: {{path: {{value: /}}}}, destination: {{version: v1}}}}\n",
        service("plain", PLAIN),
        service("ruled", RULED),
    ))
}

/// What a sidecar does at least: HTTP in, HTTP out.
fn sidecar(admin: SocketAddrV4, listen: SocketAddrV4, to: SocketAddrV4) -> Value {
    let address = |at: SocketAddrV4| {
        let at = SocketAddr::from(at);
        json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
    };
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    });
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "sidecar",
            "http_filters": [router],
            "route_config": {"virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next"}}],
            }]},
        },
    });
    let endpoint = json!({"endpoint": {"address": address(to)}});
    json!({
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{
                "name": "in",
                "address": address(listen),
                "filter_chains": [{"filters": [manager]}],
            }],
            "clusters": [{
                "name": "next",
                "type": "STATIC",
                "load_assignment": {
                    "cluster_name": "next",
                    "endpoints": [{"lb_endpoints": [endpoint]}],
                },
            }],
        },
    })
}
