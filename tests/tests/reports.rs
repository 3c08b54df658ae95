//! Whatever happens to reports on their way, the totals that arrive are what was counted.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use mesh_api::wire::telemetry_reports_server::{TelemetryReports, TelemetryReportsServer};
use mesh_api::wire::{
    Edge, EdgeTraffic, ReportTrafficRequest, ReportTrafficResponse, Reporter, Traffic as Counted,
};
use mesh_tests::control::API;
use mesh_tests::load::Mode;
use mesh_tests::netns::NetNs;
use mesh_tests::testbed::{SMALL, Testbed, VIP};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What a collector knows of one node.
#[derive(Debug, Default)]
struct Known {
    run: String,
    sequence: u64,
    /// By version, the endpoint's workload and the client's; all of one service.
    rows: BTreeMap<[String; 3], Counted>,
    /// Reports that came.
    heard: u64,
    compressed: bool,
}

impl Known {
    /// Takes a report, if it follows the one before.
    fn take(&mut self, report: ReportTrafficRequest) -> bool {
        let follows = self.run == report.run && report.sequence == self.sequence + 1;
        if !report.full && !follows {
            return false;
        }
        if report.full {
            self.rows.clear();
        }
        (self.run, self.sequence) = (report.run, report.sequence);
        for EdgeTraffic { edge, traffic } in report.edges {
            let Edge { reporter, service, version, workload, source_workload, .. } =
                edge.unwrap_or_default();
            // Both ends are on the node; the client's are asked for here.
            if reporter == i32::from(Reporter::Source) && service == "web" {
                let key = [version, workload, source_workload];
                self.rows.insert(key, traffic.unwrap_or_default());
            }
        }
        true
    }

    fn sum(&self, of: fn(&Counted) -> u64) -> u64 {
        self.rows.values().map(of).sum()
    }
}

/// Takes every report but some, and answers every one but some.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Known>>);

#[tonic::async_trait]
impl TelemetryReports for Collector {
    async fn report(
        &self,
        request: Request<ReportTrafficRequest>,
    ) -> Result<Response<ReportTrafficResponse>, Status> {
        let compressed = request.metadata().contains_key("grpc-encoding");
        let mut known = self.0.lock().map_err(|_poisoned| Status::internal("poisoned"))?;
        known.heard += 1;
        known.compressed |= compressed;
        if known.heard % 5 == 0 {
            return Err(Status::unavailable("it never came"));
        }
        let send_all = !known.take(request.into_inner());
        if known.heard % 3 == 0 {
            return Err(Status::deadline_exceeded("its answer is lost"));
        }
        Ok(Response::new(ReportTrafficResponse { send_all, interval_ms: 0 }))
    }
}

/// A collector in the place of the control plane; ends when dropped.
struct Running {
    collector: Collector,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Running {
    fn start(netns: &NetNs) -> anyhow::Result<Self> {
        let listener = netns.run(|| TcpListener::bind(API))??;
        listener.set_nonblocking(true)?;
        let collector = Collector::default();
        let service = TelemetryReportsServer::new(collector.clone())
            .accept_compressed(CompressionEncoding::Gzip);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let serve = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let incoming = TcpIncoming::from(listener);
                let router = Server::builder().add_service(service);
                tokio::select! {
                    served = router.serve_with_incoming(incoming) => served.map_err(anyhow::Error::from),
                    _ = stopped => Ok(()),
                }
            };
            runtime?.block_on(serve)
        });
        Ok(Self { collector, stop: Some(stop), thread: Some(thread) })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.collector.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A collector that failed has no totals, which the test finds.
            drop(thread.join());
        }
    }
}

#[test]
fn totals_are_exact_though_reports_get_lost_and_collectors_die() -> anyhow::Result<()> {
    let flags = [&SMALL[..], &["--report-interval", "250ms"]].concat();
    let mut bed = Testbed::start_with("reports", &flags)?;
    bed.apply_split(&[("v1", 3), ("v2", 1)])?;
    let _servers = bed.serve(Mode::Request, &["v1", "v2"])?;
    let (mut expected, mut sent, mut received) = (BTreeMap::new(), 0, 0);
    let mut collector: Option<Running> = None;
    for round in 0..4 {
        drop(collector.take());
        if round == 2 {
            // Counted by another agent, which the control plane tells what it is about.
            bed.control.restart()?;
            bed.node.replace()?;
            bed.apply_split(&[("v1", 3), ("v2", 2)])?;
        } else {
            bed.control.kill()?;
            // The first round is counted with nobody there.
            if round > 0 {
                collector = Some(Running::start(&bed.netns)?);
            }
        }
        let outcome = Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Request), 300)?;
        assert_eq!(outcome.failed(), 0);
        for version in ["v1", "v2"] {
            *expected.entry(version.to_owned()).or_insert(0) += outcome.answered_by(version);
        }
        (sent, received) = (sent + outcome.sent, received + outcome.received);
        let Some(collector) = &collector else { continue };
        let is_exact = || {
            let known = collector.known();
            let mut closed = BTreeMap::new();
            for ([version, ..], it) in &known.rows {
                *closed.entry(version.clone()).or_insert(0) += it.closed;
            }
            let bytes = (known.sum(|it| it.bytes_sent), known.sum(|it| it.bytes_received));
            if closed == expected && bytes == (sent, received) {
                Ok(())
            } else {
                Err(format!("{closed:?} {bytes:?}, not {expected:?} {:?}", (sent, received)))
            }
        };
        // An agent that found nobody there for long tries every five seconds.
        eventually(is_exact).or_else(|_| eventually(is_exact))?;
        let known = collector.known();
        assert_eq!(known.sum(|it| it.opened), known.sum(|it| it.closed));
        assert_eq!(known.sum(|it| it.failed), 0);
        assert!(known.compressed);
    }
    Ok(())
}
