//! Asks Envoy's admin interface, over one connection: its end is the first sign that Envoy has ended,
//! whoever started it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long Envoy's main thread, which also takes updates, may be busy with something else.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of an answer; a listener takes some hundred.
const MOST: usize = 64 << 20;

/// Why Envoy has not answered.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens there.
    #[error("nobody answers at {address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It takes too long.
    #[error("{0} takes longer than {PATIENCE:?} to answer")]
    Slow(SocketAddr),
    /// The connection has ended.
    #[error("the connection has ended")]
    Ended,
    /// It is not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The answer is not what Envoy says.
    #[error("not the answer of an Envoy: {0}")]
    Answer(String),
}

impl AdminError {
    /// Whether Envoy may be well, and only busy.
    #[must_use]
    pub const fn is_slow(&self) -> bool {
        matches!(self, Self::Slow(_))
    }
}

/// A connection to the admin interface.
pub struct Line {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
    connection: Pin<Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
}

impl Line {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, AdminError> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_elapsed| AdminError::Slow(address))?;
        let stream = stream.map_err(|source| AdminError::Connect { address, source })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { address, sender, connection: Box::pin(connection) })
    }

    /// Reads a page. After an error, nothing more comes over this connection.
    pub async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), AdminError> {
        let request = Request::get(path)
            .header(header::HOST, self.address.to_string())
            .body(Empty::new())
            .map_err(|error| AdminError::Answer(error.to_string()))?;
        let Self { address, sender, connection } = self;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST).collect().await;
            let body = body.map_err(|error| AdminError::Answer(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        let answered = async {
            tokio::select! {
                biased;
                answer = answer => answer,
                ended = connection => ended.map_err(AdminError::from).and(Err(AdminError::Ended)),
            }
        };
        timeout(PATIENCE, answered).await.map_err(|_elapsed| AdminError::Slow(*address))?
    }

    /// Waits for the end of the connection.
    pub async fn ended(&mut self) {
        // Why does not matter.
        drop((&mut self.connection).await);
    }
}
