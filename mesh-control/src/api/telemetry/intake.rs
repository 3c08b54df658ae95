//! The door for reports: how large one may be, how many are read at a time, and how much memory one
//! may become. An edge takes two bytes on the wire at the least and hundreds in memory, so a report
//! is weighed before anything is made of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mesh_api::wire::telemetry_reports_server::{SERVICE_NAME, TelemetryReports as _};
use mesh_api::wire::{ReportTrafficRequest, ReportTrafficResponse};
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use tokio::sync::Semaphore;
use tonic::codec::{
    Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings, EncodeBuf, Encoder,
};
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::TelemetryApi;
use super::weigh::{Weight, weigh};

/// Largest report once it is decompressed, in bytes. Agents cut theirs to it.
const MAX_REPORT: usize = 16 << 20;
/// Reports that are read at a time; others wait.
const READERS: usize = 16;
/// How long reading one may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `mesh.v1.TelemetryReports`, as agents call it.
#[derive(Clone, Debug)]
pub struct Intake {
    api: TelemetryApi,
    readers: Arc<Semaphore>,
}

impl Intake {
    pub(super) fn new(api: TelemetryApi) -> Self {
        Self { api, readers: Arc::new(Semaphore::new(READERS)) }
    }
}

impl NamedService for Intake {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for Intake
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let Self { api, readers } = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/mesh.v1.TelemetryReports/Report" {
                return Ok(Status::unimplemented("there is only Report").into_http());
            }
            let mut encodings = EnabledCompressionEncodings::default();
            encodings.enable(CompressionEncoding::Gzip);
            let mut grpc = Grpc::new(Reports { api: api.clone() })
                .apply_compression_config(encodings, EnabledCompressionEncodings::default())
                .apply_max_message_size_config(Some(MAX_REPORT), None);
            let read = async {
                let turn = readers.acquire().await;
                let response = grpc.unary(Take(api), request).await;
                drop(turn);
                response
            };
            let late = |_| {
                let advice = "too many reports at a time, or a slow line: report less often";
                Status::resource_exhausted(advice).into_http()
            };
            Ok(tokio::time::timeout(TIMEOUT, read).await.unwrap_or_else(late))
        })
    }
}

struct Take(TelemetryApi);

impl UnaryService<ReportTrafficRequest> for Take {
    type Response = ReportTrafficResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<ReportTrafficRequest>) -> Self::Future {
        let api = self.0.clone();
        Box::pin(async move { api.report(request).await })
    }
}

/// Reads reports, but for those that would take too much memory.
#[derive(Clone, Debug)]
struct Reports {
    api: TelemetryApi,
}

impl Codec for Reports {
    type Encode = ReportTrafficResponse;
    type Decode = ReportTrafficRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        self.clone()
    }

    fn decoder(&mut self) -> Self::Decoder {
        self.clone()
    }
}

impl Encoder for Reports {
    type Item = ReportTrafficResponse;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.encoded_len().saturating_sub(to.remaining_mut()));
        item.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Reports {
    type Item = ReportTrafficRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let read = weigh(from.chunk()).map_err(Status::invalid_argument).and_then(|weight| {
            weight.check()?;
            ReportTrafficRequest::decode(from)
                .map_err(|error| Status::invalid_argument(error.to_string()))
        });
        if let Err(status) = &read {
            self.api.refuse(None, status);
        }
        read.map(Some)
    }
}

impl Weight {
    fn check(&self) -> Result<(), Status> {
        let Self { edges, causes } = *self;
        if edges > super::report::MAX_EDGES || causes > super::report::MAX_EDGES * 8 {
            return Err(Status::resource_exhausted(format!(
                "{edges} edges with {causes} causes are too many for one report: report {} edges at \
                 most, and how many are omitted",
                super::report::MAX_EDGES
            )));
        }
        Ok(())
    }
}
