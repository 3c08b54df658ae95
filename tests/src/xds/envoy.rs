//! The real Envoy, told by the control plane what to do.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::folder;
use crate::control;
use crate::http;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::scratch::Scratch;

/// Where it answers for itself.
const ADMIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15000);
const PATIENCE: Duration = Duration::from_secs(30);

/// One Envoy. It ends with this.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    // After the process that writes to it.
    scratch: Scratch,
}

impl Envoy {
    /// Starts it in a namespace that has a control plane, and waits until it is ready.
    pub fn start(netns: &NetNs, place: &Place, node: &str) -> anyhow::Result<Self> {
        let scratch = Scratch::create("envoy")?;
        let bootstrap = scratch.path().join("bootstrap.json");
        fs::write(&bootstrap, bootstrap_for(node, control::API.into()).to_string())?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(bootstrap).args(["--concurrency", "1", "--log-level", "warning"]);
        command.arg("--use-dynamic-base-id");
        let log = scratch.path().join("log");
        let process = Process::spawn("Envoy", command, place, Some(&log))?;
        let envoy = Self { process, scratch };
        envoy.process.wait_until("readiness", PATIENCE, || {
            http::get_ok(netns, ADMIN, "/ready").is_ok_and(|said| said.contains("LIVE"))
        })?;
        Ok(envoy)
    }

    /// What it has been told, as it says itself.
    pub fn dump(&self, netns: &NetNs) -> anyhow::Result<Value> {
        let text = http::get_ok(netns, ADMIN, "/config_dump")?;
        serde_json::from_str(&text).context("reading Envoy's configuration")
    }

    /// A number among its statistics.
    pub fn stat(&self, netns: &NetNs, name: &str) -> anyhow::Result<u64> {
        let text = http::get_ok(netns, ADMIN, &format!("/stats?filter=^{name}$"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let Some(value) = value else { return Ok(0) };
        Ok(value.trim().parse()?)
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a crash does.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}

/// The program itself: what the package puts into `bin` is a script around it.
pub fn program() -> anyhow::Result<PathBuf> {
    let lib = folder()?.join("lib");
    for version in fs::read_dir(&lib).with_context(|| format!("read {}", lib.display()))? {
        let program = version?.path().join("site-packages/envoy/_bin/envoy");
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("no Envoy below {}", lib.display())
}

fn bootstrap_for(node: &str, control: SocketAddr) -> Value {
    let socket = |at: SocketAddr| json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } });
    let endpoint = json!({ "endpoint": { "address": socket(control) } });
    json!({
        "node": { "id": format!("envoy~{node}"), "cluster": "mesh" },
        "admin": { "address": socket(ADMIN.into()) },
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
        "static_resources": { "clusters": [{
            "name": "xds",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {
                        "connection_keepalive": { "interval": "30s", "timeout": "5s" },
                    } },
                },
            },
            "load_assignment": {
                "cluster_name": "xds",
                "endpoints": [{ "lb_endpoints": [endpoint] }],
            },
        }] },
    })
}
