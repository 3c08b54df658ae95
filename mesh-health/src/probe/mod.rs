//! One check of one endpoint: a fresh connection, and what the protocol says about it. One
//! timeout is over all of it.

mod connect;
mod failure;
mod grpc;
mod http;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::{HealthCheck, Probe};
use tokio::time::{Instant, timeout_at};

pub use failure::{Failure, Kind};

/// Prepares the socket of a check before it connects, such as to keep it out of the mesh.
#[derive(Clone)]
pub struct Prepare(Arc<Hook>);

type Hook = dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync;

impl Prepare {
    /// Has `hook` called with each socket. Where it fails, the check was not done.
    pub fn new(hook: impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }
}

impl std::fmt::Debug for Prepare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepare")
    }
}

/// What came out of a check.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the endpoint was found good.
    pub result: Result<(), Failure>,
    /// From its beginning until the answer, or until it was given up.
    pub latency: Duration,
}

/// Checks an endpoint once.
pub async fn run(address: SocketAddr, check: &HealthCheck, prepare: Option<&Prepare>) -> Outcome {
    let begin = Instant::now();
    let deadline = begin + check.timeout;
    let good = |()| http::Answer { result: Ok(()), rest: None };
    let probe = async {
        match &check.probe {
            Probe::Tcp => connect::reachable(address, prepare).await.map(good),
            // Boxed: they are large, and most checks are neither.
            Probe::Http(probe) => Box::pin(http::get(address, probe, prepare)).await,
            Probe::Grpc { service } => {
                Box::pin(grpc::check(address, service, prepare)).await.map(good)
            }
        }
    };
    let answer = timeout_at(deadline, probe).await;
    let latency = begin.elapsed();
    let result = match answer {
        Ok(Ok(http::Answer { result, rest })) => {
            if let Some(rest) = rest {
                // It changes nothing about the result whether the end comes in time.
                timeout_at(deadline, rest.read()).await.unwrap_or_default();
            }
            result
        }
        Ok(Err(failure)) => Err(failure),
        Err(_elapsed) => Err(Failure::Timeout { limit: check.timeout }),
    };
    Outcome { result, latency }
}
