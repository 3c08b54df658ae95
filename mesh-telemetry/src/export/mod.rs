//! Sends spans over OTLP, from a bounded queue and threads of its own: whoever ends a span never
//! waits, and where the receiver is away or slow, spans are dropped and counted.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, TraceId, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, SpanExporter as OtlpExporter, WithExportConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, ParentBasedSampler, Sampler, SamplingDecision,
    SamplingResult, SdkTracerProvider, ShouldSample, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry as Metrics;
use tokio::runtime::Runtime;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::{Layer, Registry};

use crate::args::TraceArgs;
use crate::past::PastSpans;
use crate::{Handles, TARGET};

/// Most spans that wait or are being sent; what ends beyond is dropped.
const QUEUE: usize = 2048;
/// Most spans sent at once.
const BATCH: usize = 512;
/// How long spans wait for others to be sent with them.
const DELAY: Duration = Duration::from_millis(500);
/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the program may wait for what is left.
const FLUSH: Duration = Duration::from_secs(2);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum NotExporting {
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The address of the receiver.
    #[error("--otlp-endpoint: {0}")]
    Endpoint(#[source] ExporterBuildError),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabel {
    reason: &'static str,
}

/// What became of the spans that were recorded.
#[derive(Clone, Debug)]
pub struct SpanCounts {
    exported: Counter,
    dropped: Family<DropLabel, Counter>,
}

/// The queue was full: the receiver is too slow, or away.
const FULL: DropLabel = DropLabel { reason: "queue_full" };
/// The receiver did not take them.
const FAILED: DropLabel = DropLabel { reason: "export_failed" };

impl Default for SpanCounts {
    fn default() -> Self {
        let new = Self { exported: Counter::default(), dropped: Family::default() };
        // A counter that is not there yet cannot be told from one that is misspelt.
        for label in [FULL, FAILED] {
            new.dropped.get_or_create_owned(&label);
        }
        new
    }
}

impl SpanCounts {
    /// Spans that the receiver took.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.exported.get()
    }

    /// Spans that it did not get.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let of = |label| self.dropped.get_or_create_owned(&label).get();
        of(FULL) + of(FAILED)
    }

    /// Shows them as `mesh_trace_spans_exported_total` and `mesh_trace_spans_dropped_total`.
    pub fn register(&self, to: &mut Metrics) {
        let it = self.exported.clone();
        to.register("mesh_trace_spans_exported", "Spans that the OTLP receiver took", it);
        let it = self.dropped.clone();
        let help = "Spans that the OTLP receiver did not get";
        to.register("mesh_trace_spans_dropped", help, it);
    }
}

/// Those of this process; zero where nothing is set up.
#[must_use]
pub fn counts() -> SpanCounts {
    crate::installed().map(|Handles { spans, .. }| spans.clone()).unwrap_or_default()
}

/// Sends spans until it is stopped.
#[derive(Debug)]
pub(crate) struct Exporting {
    provider: SdkTracerProvider,
    /// For the connection only; batches are made by a thread of the SDK.
    runtime: Runtime,
}

impl Exporting {
    pub(crate) fn start(
        args: &TraceArgs,
        (service, version): (&'static str, &'static str),
        node: String,
        counts: SpanCounts,
    ) -> Result<Self, NotExporting> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .map_err(NotExporting::Thread)?;
        let exporter = {
            let _entered = runtime.enter();
            OtlpExporter::builder()
                .with_tonic()
                .with_endpoint(&args.otlp_endpoint)
                .with_timeout(TIMEOUT)
                // A receiver that is away must not keep the end of the program.
                .with_retry_policy(RetryPolicy::disabled())
                .build()
                .map_err(NotExporting::Endpoint)?
        };
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attributes([
                KeyValue::new("service.version", version),
                KeyValue::new("service.instance.id", node.clone()),
                KeyValue::new("host.name", node),
            ])
            .build();
        let queue = Arc::new(Queue {
            waiting: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            endpoint: args.otlp_endpoint.clone(),
            counts,
        });
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded::new(exporter, queue))
            .with_sampler(sampler(args.trace_sample))
            .with_resource(resource)
            .build();
        Ok(Self { provider, runtime })
    }

    /// Makes spans of those with the right target.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let ours = FilterFn::new(|it| it.is_span() && it.target() == TARGET)
            .with_max_level_hint(LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("mesh"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(ours)
            .boxed()
    }

    /// For spans of what is over.
    pub(crate) fn past(&self) -> PastSpans {
        PastSpans(self.provider.tracer("mesh"))
    }

    pub(crate) fn stop(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans are lost");
        }
        self.runtime.shutdown_background();
    }
}

/// What is recorded: what belongs to a trace that is recorded elsewhere, and of the rest this part.
/// Whoever sends a trace that it does not record leaves the decision to this program.
fn sampler(ratio: f64) -> ParentBasedSampler {
    let roots = Roots(Sampler::TraceIdRatioBased(ratio));
    ParentBasedSampler::new(roots.clone()).with_remote_parent_not_sampled(roots)
}

/// Begins traces, but not with a part of something that is not traced.
#[derive(Clone, Debug)]
struct Roots(Sampler);

impl ShouldSample for Roots {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace, name, kind, attributes, links);
        if *kind == SpanKind::Internal {
            result.decision = SamplingDecision::Drop;
        }
        result
    }
}

/// Counts what is on its way.
#[derive(Debug)]
struct Queue {
    waiting: AtomicUsize,
    /// Whether the last attempt has failed.
    away: AtomicBool,
    endpoint: String,
    counts: SpanCounts,
}

impl Queue {
    /// Whether there is room for one more, which takes it.
    fn enter(&self) -> bool {
        let more = |waiting| (waiting < QUEUE).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if entered.is_err() {
            self.counts.dropped.get_or_create_owned(&FULL).inc();
        }
        entered.is_ok()
    }

    fn sent(&self, spans: usize, result: &OTelSdkResult) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        let was_away = self.away.swap(result.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match result {
            Ok(()) => {
                self.counts.exported.inc_by(spans);
                if was_away {
                    tracing::info!(endpoint, "traces are received again");
                }
            }
            Err(error) => {
                self.counts.dropped.get_or_create_owned(&FAILED).inc_by(spans);
                if !was_away {
                    tracing::warn!(endpoint, %error, "traces are not received, and dropped");
                }
            }
        }
    }
}

/// The exporter, and what came of each batch.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    queue: Arc<Queue>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.queue.sent(spans, &result);
        result
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Takes spans as long as there is room: the SDK's queue drops as well, but tells nobody how many.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    queue: Arc<Queue>,
}

impl Bounded {
    fn new(exporter: impl SpanExporter + 'static, queue: Arc<Queue>) -> Self {
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let exporter = Counted { exporter, queue: Arc::clone(&queue) };
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Self { batches, queue }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.enter() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}
