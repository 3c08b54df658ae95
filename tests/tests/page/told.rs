//! A control plane that is told what was counted, and a browser at its page: for what needs no agent.

use std::sync::Arc;

use mesh_api::wire;
use mesh_api::wire::telemetry_reports_client::TelemetryReportsClient;
use mesh_tests::browser::Browser;
use mesh_tests::control::{API, ControlPlane, HTTP};
use mesh_tests::meshctl::Meshctl;
use mesh_tests::netns::NetNs;
use mesh_tests::require;

/// Fields drop in order.
pub(crate) struct Told {
    pub(crate) browser: Browser,
    reports: u64,
    /// Its name, as it says it.
    pub(crate) node: String,
    _meshctl: Meshctl,
    pub(crate) control: ControlPlane,
    netns: Arc<NetNs>,
}

/// What a client has counted of a service.
pub(crate) struct Edge<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) version: &'a str,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
}

impl Told {
    pub(crate) fn start(what: &str, manifest: &str) -> anyhow::Result<Self> {
        require::kernel()?;
        let netns = Arc::new(NetNs::create(what)?);
        let control = ControlPlane::start(&netns)?;
        let meshctl = Meshctl::new(&netns)?;
        let file = meshctl.scratch().join("services.yaml");
        std::fs::write(&file, manifest)?;
        meshctl.ok(&["apply", "-f", &file.to_string_lossy()])?;
        let browser = Browser::start(&netns, HTTP)?;
        Ok(Self {
            browser,
            reports: 0,
            node: "node-a".to_owned(),
            _meshctl: meshctl,
            control,
            netns,
        })
    }

    /// Says what the node has counted up to now.
    pub(crate) fn report(&mut self, edges: &[Edge<'_>]) -> anyhow::Result<()> {
        self.reports += 1;
        let edges = edges.iter().map(|it| wire::EdgeTraffic {
            edge: Some(wire::Edge {
                reporter: wire::Reporter::Source.into(),
                transport: wire::Transport::Tcp.into(),
                source_workload: it.from.to_owned(),
                source_node: self.node.clone(),
                namespace: "default".to_owned(),
                service: it.to.to_owned(),
                version: it.version.to_owned(),
                workload: it.version.to_owned(),
            }),
            traffic: Some(wire::Traffic {
                attempts: it.opened,
                opened: it.opened,
                closed: it.closed,
                bytes_sent: it.closed * 100,
                bytes_received: it.closed * 1000,
                rtt_us: it.closed * 1500,
                duration_us: it.closed * 20_000,
                ..wire::Traffic::default()
            }),
        });
        let request = wire::ReportTrafficRequest {
            node: self.node.clone(),
            run: "run-1".to_owned(),
            sequence: self.reports,
            full: true,
            edges: edges.collect(),
            omitted: 0,
            // It is not late while a test looks.
            interval_ms: 60_000,
            ..wire::ReportTrafficRequest::default()
        };
        self.netns.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = TelemetryReportsClient::connect(format!("http://{API}")).await;
                client?.report(request).await?;
                anyhow::Ok(())
            })
        })?
    }
}

/// Services of the namespace `default` without endpoints.
pub(crate) fn services(names: &[&str]) -> String {
    let service = |(number, name): (usize, &&str)| {
        format!(
            "---\n{{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {{name: {name}}},\n \
             spec: {{vips: [10.96.1.{number}], ports: [{{name: main, port: 80, targetPort: 8080}}]}}}}\n"
        )
    };
    names.iter().enumerate().map(service).collect()
}
