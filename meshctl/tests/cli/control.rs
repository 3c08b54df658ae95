//! A real control plane in this process, with nodes.

use std::net::SocketAddr;

use mesh_api::wire;
use mesh_api::wire::telemetry_reports_client::TelemetryReportsClient;
use mesh_control::app;
use mesh_control::config::{Config, LogFormat, TraceArgs};
use mesh_control::telemetry::config::TrafficConfig;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::node::Node;
use crate::run::{Run, feed, run};

/// Ends with its runtime.
pub(crate) struct Control {
    runtime: Runtime,
    pub(crate) server: String,
    pub(crate) folder: TempDir,
    bound: Option<app::Bound>,
}

impl Control {
    pub(crate) fn start() -> Self {
        Self::at(tempfile::tempdir().expect("folder"), "127.0.0.1:0".parse().expect("an address"))
    }

    fn at(folder: TempDir, listen: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let config = Config {
            xds_max_connection_age: std::time::Duration::from_mins(30),
            proxy_address: Vec::new(),
            load_report_interval: std::time::Duration::from_secs(10),
            data_dir: Some(folder.path().to_owned()),
            listen,
            http: "127.0.0.1:0".parse().expect("an address"),
            insecure: false,
            health_warmup: std::time::Duration::ZERO,
            log_format: LogFormat::Plain,
            trace: TraceArgs::default(),
            traffic: TrafficConfig::default(),
            web: mesh_control::config::Switch::Off,
        };
        let bound = runtime.block_on(app::build(config)).expect("starts");
        Self { server: format!("http://{}", bound.grpc), runtime, folder, bound: Some(bound) }
    }

    /// Ends it and starts it again on the same data and address.
    pub(crate) fn restart(self) -> Self {
        let Self { runtime, folder, bound, .. } = self;
        let bound = bound.expect("running");
        let listen = bound.grpc;
        bound.shutdown.cancel();
        runtime.block_on(bound.wait()).expect("ends");
        drop(runtime);
        Self::at(folder, listen)
    }

    /// A node that subscribes and acknowledges.
    pub(crate) fn node(&self, name: &str) -> Node {
        Node::start(&self.runtime, &self.server, name)
    }

    /// What a node has counted.
    pub(crate) fn report(&self, report: wire::ReportTrafficRequest) {
        let server = self.server.clone();
        self.runtime.block_on(async {
            let client = TelemetryReportsClient::connect(server).await;
            client.expect("connected").report(report).await.expect("reported");
        });
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        run(&self.server, args)
    }

    /// Applies a manifest from standard input.
    pub(crate) fn apply(&self, manifest: &str, more: &[&str]) -> Run {
        let args: Vec<_> = ["apply", "-f", "-"].iter().chain(more).copied().collect();
        feed(&self.server, &args, manifest)
    }
}

/// A service `reviews` on 10.96.0.10, its two versions, and a split between them.
pub(crate) const REVIEWS: &str = "\
apiVersion: mesh.dev/v1alpha1
kind: Service
metadata:
  name: reviews
spec:
  vips: [10.96.0.10]
  ports:
  - name: http
    port: 80
    targetPort: 8080
---
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata: {name: one}
spec: {service: reviews, version: v1, address: 10.0.0.1}
---
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata: {name: two}
spec: {service: reviews, version: v2, address: 10.0.0.2}
";

pub(crate) const SPLIT: &str = "\
apiVersion: mesh.dev/v1alpha1
kind: ServiceConfig
metadata:
  name: reviews
spec:
  trafficRules:
  - destination:
      version: v1
    weight: 90
  - destination:
      version: v2
    weight: 10
";
