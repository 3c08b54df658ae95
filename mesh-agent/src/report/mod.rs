//! Reports to the control plane what this node has counted: totals of each edge, every second those
//! that have changed. Nothing waits for it: while the control plane is away the kernel counts on, and
//! the first report after that says where the totals are.

pub mod changes;
pub mod metrics;
pub mod rows;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::wire::telemetry_reports_client::TelemetryReportsClient;
use mesh_api::wire::{ReportTrafficRequest, ReportTrafficResponse};
use mesh_xds::backoff::Backoff;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use self::changes::{Changes, MAX_EDGES};
use self::metrics::Figures;
use self::rows::counted;
use crate::refused::is_final;
use crate::worker::{Stats, Worker};
use crate::xds::client::Line;

/// Bounds of the time between two reports.
pub const SHORTEST: Duration = Duration::from_millis(250);
/// As above.
pub const LONGEST: Duration = Duration::from_mins(1);
/// How long a report may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most time between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Reading the counters takes the thread for the maps at most one part in so many of its time.
const SHARE: u32 = 20;

/// What it needs.
#[derive(Debug)]
pub struct Reporter<S = Worker> {
    /// Where the control plane is.
    pub endpoint: Endpoint,
    /// Name of the node.
    pub node: String,
    /// How the stream to the control plane is: on a new one it may be another control plane.
    pub line: watch::Receiver<Line>,
    /// Who reads the counters.
    pub source: S,
    /// Time between two reports; 0: none.
    pub interval: Duration,
    /// What came of it.
    pub figures: watch::Sender<Figures>,
}

/// Who reads the counters.
pub trait Source: Send {
    /// What was counted; `Ok(None)`: it cannot be read now.
    ///
    /// # Errors
    ///
    /// Nobody counts any more.
    fn read(&self) -> impl Future<Output = Result<Option<Arc<Stats>>, String>> + Send;

    /// The control plane knows the moves up to this number.
    fn moves_told(&self, number: u64);
}

impl Source for Worker {
    async fn read(&self) -> Result<Option<Arc<Stats>>, String> {
        match self.stats().await {
            // What has no name yet would be counted again under its name.
            Ok(Ok(stats)) => Ok(Some(stats).filter(|stats| stats.settled)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the counters cannot be read; trying again");
                Ok(None)
            }
            Err(gone) => Err(gone.to_string()),
        }
    }

    fn moves_told(&self, number: u64) {
        Self::moves_told(self, number);
    }
}

impl<S: Source> Reporter<S> {
    /// Reports for ever; returns when nobody counts any more.
    pub async fn run(mut self, random01: impl Fn() -> f64 + Send) -> String {
        if self.interval.is_zero() {
            return std::future::pending().await;
        }
        let mut sender = Sender::new(&self.endpoint);
        let run = format!("{:016x}", RandomState::new().hash_one(0u8));
        let mut changes = Changes::new(self.node.clone(), run, MAX_EDGES);
        let mut backoff = Backoff::new(SHORTEST, MAX_WAIT, 2.0);
        let mut stream = self.line.borrow_and_update().streams;
        loop {
            let began = Instant::now();
            let stats = match self.source.read().await {
                Ok(stats) => stats,
                Err(gone) => return gone,
            };
            let wait = match stats {
                None => self.interval,
                Some(stats) => {
                    let pause = self.interval.max(stats.took.saturating_mul(SHARE));
                    match self.report(&mut sender, &mut changes, &stats, pause).await {
                        Ok(true) => Duration::ZERO,
                        Ok(false) => {
                            backoff.reset();
                            pause
                        }
                        Err(()) => backoff.next(random01()).max(pause),
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(began + wait) => {}
                () = Line::another(&mut self.line, stream) => backoff.reset(),
            }
            let now = self.line.borrow().streams;
            if std::mem::replace(&mut stream, now) != now {
                changes.say_all();
                sender.compress(true);
            }
        }
    }

    /// Sends one report. Returns whether the control plane wants another one, with everything.
    async fn report(
        &mut self,
        sender: &mut Sender,
        changes: &mut Changes,
        stats: &Stats,
        pause: Duration,
    ) -> Result<bool, ()> {
        let message = changes.next(counted(stats, &self.node), pause);
        let moved = (!message.moves.is_empty()).then_some(message.last_move);
        let rows = u64::try_from(message.edges.len()).unwrap_or(u64::MAX);
        let omitted = changes.omitted();
        if omitted > 0 && self.figures.borrow().omitted == 0 {
            tracing::warn!(
                omitted,
                "more edges than fit into a report: the control plane gets these together as other"
            );
        }
        let sent = sender.send(message).await;
        self.figures.send_modify(|figures| {
            figures.edges = changes.placed();
            figures.omitted = changes.omitted();
            figures.interval = pause;
            match &sent {
                Ok(_) => {
                    figures.reported += 1;
                    figures.rows += rows;
                }
                Err(_) => figures.failed += 1,
            }
        });
        match sent {
            Ok(answer) => {
                if let Some(number) = moved {
                    self.source.moves_told(number);
                }
                if answer.interval_ms != 0 {
                    let wish = Duration::from_millis(answer.interval_ms);
                    self.interval = wish.clamp(SHORTEST, LONGEST);
                }
                Ok(changes.answered(answer))
            }
            Err(code) => {
                changes.failed();
                if code == Code::Unavailable {
                    // The next connection may be to another control plane.
                    changes.say_all();
                }
                Err(())
            }
        }
    }
}

/// The connection; compressed, unless the other end cannot do that.
struct Sender {
    channel: Channel,
    client: TelemetryReportsClient<Channel>,
    compressed: bool,
    complained: Option<Code>,
}

impl Sender {
    fn new(endpoint: &Endpoint) -> Self {
        let channel = endpoint.connect_lazy();
        let client = TelemetryReportsClient::new(channel.clone());
        let mut sender = Self { channel, client, compressed: false, complained: None };
        sender.compress(true);
        sender
    }

    fn compress(&mut self, on: bool) {
        let client = TelemetryReportsClient::new(self.channel.clone());
        self.client = if on { client.send_compressed(CompressionEncoding::Gzip) } else { client };
        self.compressed = on;
    }

    async fn send(&mut self, message: ReportTrafficRequest) -> Result<ReportTrafficResponse, Code> {
        let mut request = Request::new(message);
        request.set_timeout(TIMEOUT);
        let status = match self.client.report(request).await {
            Ok(answer) => {
                self.complained = None;
                return Ok(answer.into_inner());
            }
            Err(status) => status,
        };
        let code = status.code();
        let refused = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
        tracing::debug!(%status, "traffic is not reported; trying again");
        if code == Code::Unimplemented && self.compressed {
            // It may only be the compression.
            self.compress(false);
        } else if (refused || is_final(code)) && self.complained.replace(code) != Some(code) {
            let reason = status.message();
            tracing::warn!(reason, "the control plane does not take what was counted");
        }
        Err(code)
    }
}
