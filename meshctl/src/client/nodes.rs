//! The calls that go through the control plane to a node.

use std::error::Error as _;

use mesh_api::wire;
use tokio::time::error::Elapsed;
use tonic::{Code, Status};

use super::{Client, answered, timed};
use crate::failure::Failure;

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
