//! The gRPC health protocol (`grpc.health.v1.Health/Check`) over a fresh HTTP/2 connection, all of
//! it driven by the future of the check: nothing is spawned, so nothing outlives its timeout.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::FuturesUnordered;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::failure::cut;
use super::{Failure, Prepare, connect};

/// Longest answer, in bytes: it is an enum.
const MAX_ANSWER: usize = 4 * 1024;
const PROTOCOL: &str = "gRPC";

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Asks for the status of a service.
pub(super) async fn check(
    address: SocketAddr,
    service: &str,
    prepare: Option<&Prepare>,
) -> Result<(), Failure> {
    let failed = |error: hyper::Error| Failure::protocol(PROTOCOL, &error);
    let origin = format!("http://{address}")
        .parse::<http::Uri>()
        .map_err(|error| Failure::protocol(PROTOCOL, &error))?;
    let stream = connect::connect(address, prepare).await?;
    let (background, mut work) = unbounded();
    let builder = http2::Builder::new(Background(background));
    let ask = async {
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let mut client = HealthClient::with_origin(Channel(sender), origin)
            .max_decoding_message_size(MAX_ANSWER);
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = client.check(request);
        tokio::pin!(answer, connection);
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => return Err(failed(error)),
            },
        };
        judge(answer)
    };
    tokio::pin!(ask);
    let mut running = FuturesUnordered::<Work>::new();
    loop {
        tokio::select! {
            biased;
            result = &mut ask => return result,
            Some(new) = work.next() => running.push(new),
            Some(()) = running.next() => {}
        }
    }
}

fn judge(
    answer: Result<tonic::Response<tonic_health::pb::HealthCheckResponse>, tonic::Status>,
) -> Result<(), Failure> {
    match answer.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(other) => Err(Failure::NotServing(other.as_str_name())),
        // Of an answer that never came, what is below says more.
        Err(status) if status.code() == tonic::Code::Unknown => {
            Err(Failure::protocol(PROTOCOL, &status))
        }
        Err(status) => Err(Failure::Grpc { code: status.code(), message: cut(status.message()) }),
    }
}

/// Takes what hyper would spawn.
#[derive(Clone)]
struct Background(UnboundedSender<Work>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Background {
    fn execute(&self, future: F) {
        // The check has ended where nobody listens.
        self.0.unbounded_send(Box::pin(future)).unwrap_or_default();
    }
}

/// One connection as a channel of tonic.
struct Channel(http2::SendRequest<Body>);

impl GrpcService<Body> for Channel {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<http::Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
