//! `GET` over HTTP/1.1: the status decides. A server that says it will end the connection is given
//! the time to: one that is cut off in the middle of its answer would log an error for each check.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_api::model::HttpProbe;
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{Failure, Prepare, connect};

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How much of an answer is read for the sake of its end, in bytes.
const MAX_REST: u64 = 64 * 1024;
const PROTOCOL: &str = "HTTP";

/// What is known as soon as the status is.
pub(super) struct Answer {
    pub(super) result: Result<(), Failure>,
    /// Where the server will end the connection.
    pub(super) rest: Option<Rest>,
}

/// The end of an answer, not read yet. Dropped, it ends with a reset.
pub(super) struct Rest(TcpStream);

impl Rest {
    /// Reads to the end, unless it is too long, and closes in the ordinary way if it was there.
    /// The server ended first, so that nothing stays in `TIME_WAIT` on this side.
    pub(super) async fn read(self) {
        let Self(stream) = self;
        let mut rest = stream.take(MAX_REST);
        let read = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        if read.is_ok_and(|read| read < MAX_REST) {
            // Otherwise it is a reset after all.
            drop(SockRef::from(rest.get_ref()).set_linger(None));
        }
    }
}

/// Sends the request and looks at the status.
pub(super) async fn get(
    address: SocketAddr,
    probe: &HttpProbe,
    prepare: Option<&Prepare>,
) -> Result<Answer, Failure> {
    let failed = |error: hyper::Error| Failure::protocol(PROTOCOL, &error);
    let host = probe.host.clone().unwrap_or_else(|| address.to_string());
    let request = http::Request::get(&probe.path)
        .header(http::header::HOST, host)
        .header(http::header::USER_AGENT, concat!("mesh-health/", env!("CARGO_PKG_VERSION")))
        .header(http::header::ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::protocol(PROTOCOL, &error))?;
    let stream = connect::connect(address, prepare).await?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, mut connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What was read before the end may hold the answer. Not shut down: whoever ends first has
        // the connection in `TIME_WAIT`.
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    let answer = answer.map_err(failed)?;
    let status = answer.status().as_u16();
    let good = probe.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status));
    let result = if good { Ok(()) } else { Err(Failure::Status(status)) };
    let ends = ends(answer.version(), answer.headers());
    let rest = ends.then(|| Rest(connection.into_parts().io.into_inner()));
    Ok(Answer { result, rest })
}

/// Whether the server ends the connection after the answer (RFC 9112, 9.3). One that does not
/// say so may wait for the next request, whatever it was asked.
fn ends(version: http::Version, headers: &HeaderMap) -> bool {
    let says = |what: &str| {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(what))
    };
    says("close") || (version < http::Version::HTTP_11 && !says("keep-alive"))
}
