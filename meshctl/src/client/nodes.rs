//! The calls that go through the control plane to a node.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as _;

use mesh_api::wire;
use tokio::time::error::Elapsed;
use tonic::{Code, Status};

use super::{Client, answered, timed, timed_out};
use crate::failure::Failure;

/// Most bytes that are taken from a node.
const MOST: usize = 128 << 20;

impl Client {
    /// What a node logs.
    pub(crate) async fn get_log(&mut self, node: &str) -> Result<wire::LogLevels, Failure> {
        let left = self.limit.left();
        let message = wire::GetLogRequest { node: node.to_owned() };
        let answer = tokio::time::timeout(left, self.nodes.get_log(timed(message, left))).await;
        node_answered(&self.server, answer).map(tonic::Response::into_inner)
    }

    /// Has a node log something else.
    pub(crate) async fn set_log(
        &mut self,
        node: &str,
        log: wire::SetLog,
    ) -> Result<wire::LogLevels, Failure> {
        let left = self.limit.left();
        let message = wire::SetLogRequest { node: node.to_owned(), log: Some(log) };
        let answer = tokio::time::timeout(left, self.nodes.set_log(timed(message, left))).await;
        node_answered(&self.server, answer).map(tonic::Response::into_inner)
    }

    /// What a node should serve against what its maps hold.
    pub(crate) async fn diff_node(&mut self, node: &str) -> Result<wire::NodeDiff, Failure> {
        let left = self.limit.left();
        let message = wire::DiffNodeRequest { node: node.to_owned() };
        let all = async {
            let mut stream = self.nodes.diff_node(timed(message, left)).await?.into_inner();
            let mut whole = wire::NodeDiff::default();
            while let Some(mut part) = stream.message().await? {
                part.objects.splice(..0, std::mem::take(&mut whole.objects));
                part.differences.splice(..0, std::mem::take(&mut whole.differences));
                part.rejections.splice(..0, std::mem::take(&mut whole.rejections));
                whole = part;
            }
            Ok(whole)
        };
        let answer = tokio::time::timeout(left, all).await;
        node_answered(&self.server, answer)
    }

    /// What a node knows of itself, or the control plane: files by name.
    pub(crate) async fn bundle(
        &mut self,
        node: &str,
        since_ms: u64,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let left = self.limit.left();
        let what = Some(wire::GetBundle { since_ms });
        let message = wire::GetBundleRequest { node: node.to_owned(), what };
        let all = async {
            let mut stream = self.nodes.get_bundle(timed(message, left)).await?.into_inner();
            let mut files: BTreeMap<String, String> = BTreeMap::new();
            let mut size = 0;
            while let Some(wire::Bundle { name, content, .. }) = stream.message().await? {
                size += content.len();
                if size > MOST {
                    return Err(Status::out_of_range("it sends more than a report takes"));
                }
                files.entry(name).or_default().push_str(&content);
            }
            Ok(files)
        };
        let answer = tokio::time::timeout(left, all).await;
        node_answered(&self.server, answer)
    }

    /// The open connections of a node, and how many more there are.
    pub(crate) async fn connections(
        &mut self,
        node: &str,
        what: wire::ListConnections,
    ) -> Result<(Vec<wire::Connection>, u64), Failure> {
        let left = self.limit.left();
        let message = wire::ListConnectionsRequest { node: node.to_owned(), what: Some(what) };
        let all = async {
            let mut stream = self.nodes.list_connections(timed(message, left)).await?.into_inner();
            let (mut connections, mut omitted) = (Vec::new(), 0);
            while let Some(mut part) = stream.message().await? {
                connections.append(&mut part.connections);
                omitted += part.omitted;
            }
            Ok((connections, omitted))
        };
        let answer = tokio::time::timeout(left, all).await;
        node_answered(&self.server, answer)
    }

    /// What becomes of a node's connections, as it happens.
    pub(crate) async fn tap(
        &mut self,
        node: &str,
        what: wire::Tap,
    ) -> Result<tonic::Streaming<wire::Tapped>, Failure> {
        let message = wire::TapRequest { node: node.to_owned(), what: Some(what) };
        let answer = tokio::time::timeout(self.limit.left(), self.nodes.tap(message)).await;
        node_answered(&self.server, answer).map(tonic::Response::into_inner)
    }

    /// What a stream about a node has ended with.
    pub(crate) fn node_failure(&self, status: Status) -> Failure {
        let Err(failure) = node_answered::<Infallible>(&self.server, Ok(Err(status)));
        failure
    }

    /// What comes from a stream that always has something to say.
    pub(crate) async fn in_time<T>(&self, next: impl Future<Output = T>) -> Result<T, Failure> {
        let next = tokio::time::timeout(self.limit.left(), next).await;
        next.map_err(|_elapsed| timed_out(&self.server))
    }
}

/// What the control plane says itself of a node that cannot be reached is not about the way to it.
fn node_answered<T>(
    server: &str,
    answer: Result<Result<T, Status>, Elapsed>,
) -> Result<T, Failure> {
    if let Ok(Err(status)) = &answer
        && status.source().is_none()
    {
        let message = status.message().to_owned();
        match status.code() {
            Code::DeadlineExceeded => return Err(Failure::TimedOut { message }),
            Code::Unavailable | Code::ResourceExhausted => {
                return Err(Failure::Declined { message });
            }
            // A control plane that does not know the call says nothing.
            Code::Unimplemented if !message.is_empty() => {
                return Err(Failure::Declined { message });
            }
            Code::Unimplemented => {
                let message = "this control plane cannot ask nodes: it is older than this meshctl";
                return Err(Failure::Declined { message: message.to_owned() });
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => {}
        }
    }
    answered(server, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_cannot_be_asked_is_no_control_plane_that_is_away() {
        let failure = |code| {
            let status = Status::new(code, "node a went away");
            node_answered::<()>("http://x", Ok(Err(status))).unwrap_err()
        };
        for (code, exit) in [
            (Code::Unavailable, 1),
            (Code::Unimplemented, 1),
            (Code::ResourceExhausted, 1),
            (Code::DeadlineExceeded, 124),
            (Code::NotFound, 4),
            (Code::InvalidArgument, 2),
        ] {
            let failure = failure(code);
            assert_eq!(failure.exit_code(), exit, "{code:?}");
            assert_eq!(failure.to_string(), "node a went away");
        }
        let old = Status::unimplemented("");
        let failure = node_answered::<()>("http://x", Ok(Err(old))).unwrap_err();
        assert!(failure.to_string().contains("older"), "{failure}");
    }
}
