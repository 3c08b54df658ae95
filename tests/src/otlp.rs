//! A receiver of traces, as a collector is one: OTLP over gRPC inside a namespace. It keeps what it
//! gets, for tests that look at it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::netns::NetNs;
use crate::wait::PATIENCE;

/// Where it listens, inside the namespace.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4317);

/// One span, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `service.name`.
    pub service: String,
    /// `host.name`.
    pub host: String,
    /// In hexadecimal digits.
    pub trace: String,
    /// In hexadecimal digits.
    pub id: String,
    /// The same; empty where it begins the trace.
    pub parent: String,
    pub name: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// As text.
    pub attributes: BTreeMap<String, String>,
    /// Traces and spans that it is linked to.
    pub links: Vec<(String, String)>,
    pub failed: bool,
    /// What it says about its failure.
    pub message: String,
    /// Of kind CLIENT.
    pub is_client: bool,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A receiver; it ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    spans: Spans,
    runtime: Option<Runtime>,
}

impl Receiver {
    /// Starts one at [`ADDRESS`].
    pub fn start(netns: &NetNs) -> anyhow::Result<Self> {
        let listener = netns.run(|| TcpListener::bind(ADDRESS))?.context("listening for traces")?;
        listener.set_nonblocking(true)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let spans = Spans::default();
        let service = TraceServiceServer::new(Collector(Arc::clone(&spans)));
        let incoming = {
            let _entered = runtime.enter();
            TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?)
        };
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(Self { spans, runtime: Some(runtime) })
    }

    /// The URL for `--otlp-endpoint`.
    #[must_use]
    pub fn url() -> String {
        format!("http://{ADDRESS}")
    }

    /// Everything received so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans of one trace so far, by when they began.
    #[must_use]
    pub fn trace(&self, trace: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace == trace);
        spans.sort_by_key(|span| span.start);
        spans
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Until nobody listens any more: another one may follow.
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

struct Collector(Spans);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let of = resource.resource.map(|it| attributes(&it.attributes)).unwrap_or_default();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| received(&of, span)));
        }
        drop(all);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn received(of: &BTreeMap<String, String>, span: WireSpan) -> Span {
    let of = |key: &str| of.get(key).cloned().unwrap_or_default();
    let status = span.status.unwrap_or_default();
    let failed = status.code == i32::from(StatusCode::Error);
    Span {
        service: of("service.name"),
        host: of("host.name"),
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        name: span.name,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        links: span
            .links
            .iter()
            .map(|link| (hexadecimal(&link.trace_id), hexadecimal(&link.span_id)))
            .collect(),
        failed,
        message: status.message,
        is_client: span.kind == i32::from(SpanKind::Client),
    }
}

fn attributes(wire: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    wire.iter().map(|it| (it.key.clone(), text(it))).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
