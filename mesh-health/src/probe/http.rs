//! `GET` over HTTP/1.1: the status decides, the body is not read.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_api::model::HttpProbe;

use super::{Failure, Prepare, connect};

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const PROTOCOL: &str = "HTTP";

/// Sends the request and looks at the status.
pub(super) async fn get(
    address: SocketAddr,
    probe: &HttpProbe,
    prepare: Option<&Prepare>,
) -> Result<(), Failure> {
    let failed = |error: hyper::Error| Failure::protocol(PROTOCOL, &error);
    let host = probe.host.clone().unwrap_or_else(|| address.to_string());
    let request = http::Request::get(&probe.path)
        .header(http::header::HOST, host)
        .header(http::header::USER_AGENT, concat!("mesh-health/", env!("CARGO_PKG_VERSION")))
        .header(http::header::ACCEPT, "*/*")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::protocol(PROTOCOL, &error))?;
    let stream = connect::connect(address, prepare).await?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::pin!(connection);
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What was read before the end may hold the answer.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    let status = answer.map_err(failed)?.status().as_u16();
    let good = probe.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status));
    if good { Ok(()) } else { Err(Failure::Status(status)) }
}
