//! `mesh.v1.NodeCommands` and `mesh.v1.Nodes`: passes on what people ask a node to the stream that its
//! agent has opened, and its answers back.

mod attend;
mod bundle;
mod diff;
mod own;
mod parts;
mod relay;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use mesh_api::wire;
use mesh_api::wire::node_answer::Answer;
use mesh_api::wire::node_command::Command;
use mesh_api::wire::node_commands_server::{NodeCommands, NodeCommandsServer};
use mesh_api::wire::nodes_server::{Nodes as NodesService, NodesServer};
use mesh_telemetry::keeper::LogKeeper;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::xds::{NodeState, Nodes};
use attend::Shell;
pub use bundle::Own;
pub use diff::Stored;
use relay::{Answers, NotAsked, Relay};

/// How long a node may take for an answer, or for a part of one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after its other stream an agent may take to attend.
const LATE: Duration = Duration::from_secs(15);
/// The name by which the control plane itself is asked.
const OWN: &str = "control-plane";

/// Both services.
#[derive(Clone, Debug)]
pub struct NodesApi {
    relay: Arc<Relay>,
    nodes: Arc<Nodes>,
    log: Arc<LogKeeper>,
    stored: Stored,
    own: Own,
    shutdown: CancellationToken,
    patience: Duration,
}

impl NodesApi {
    /// Asks these nodes.
    #[must_use]
    pub fn new(
        nodes: Arc<Nodes>,
        log: Arc<LogKeeper>,
        stored: Stored,
        own: Own,
        shutdown: CancellationToken,
    ) -> Self {
        Self { relay: Arc::default(), nodes, log, stored, own, shutdown, patience: PATIENCE }
    }

    /// What agents call.
    #[must_use]
    pub fn for_agents(&self) -> NodeCommandsServer<Self> {
        NodeCommandsServer::new(self.clone())
    }

    /// What meshctl calls.
    #[must_use]
    pub fn for_people(&self) -> NodesServer<Self> {
        NodesServer::new(self.clone())
    }

    fn ask(&self, node: &str, command: Command) -> Result<Answers, Status> {
        let now = Instant::now();
        self.relay.ask(node, command).map_err(|why| match why {
            NotAsked::Busy => Status::resource_exhausted(format!(
                "node {node} has not answered what it was asked before: try again"
            )),
            NotAsked::Away => not_attending(node, self.nodes.lock().node(node), now),
        })
    }

    /// One answer, or the failure that the node reports.
    async fn next(&self, node: &str, answers: &mut Answers) -> Result<Answer, Status> {
        let answer = tokio::select! {
            answer = tokio::time::timeout(self.patience, answers.next()) => answer,
            () = self.shutdown.cancelled() => return Err(super::errors::shutting_down()),
        };
        match answer {
            Ok(Some(Answer::Failed(wire::CommandFailed { code, message }))) => {
                Err(Status::new(Code::from_i32(code), message))
            }
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                Err(Status::unavailable(format!("node {node} went away before it answered")))
            }
            Err(_) => {
                let patience = self.patience.as_secs();
                let text = format!("node {node} has not answered within {patience} s");
                Err(Status::deadline_exceeded(text))
            }
        }
    }

    async fn log(&self, node: &str, command: Command) -> Result<wire::LogLevels, Status> {
        let mut answers = self.ask(node, command)?;
        let Answer::Log(levels) = self.next(node, &mut answers).await? else {
            return Err(confused(node));
        };
        Ok(levels)
    }

    /// An answer in parts, which `part` takes out of what the node says; with whether more follow.
    fn parts<T: Send + 'static>(
        &self,
        node: String,
        answers: Answers,
        part: fn(Answer) -> Option<(T, bool)>,
    ) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>> {
        let state = Some((self.clone(), node, answers));
        Box::pin(futures::stream::unfold(state, move |state| async move {
            let (api, node, mut answers) = state?;
            let answer = api.next(&node, &mut answers).await;
            match answer.and_then(|it| part(it).ok_or_else(|| confused(&node))) {
                Ok((part, more)) => Some((Ok(part), more.then_some((api, node, answers)))),
                Err(status) => Some((Err(status), None)),
            }
        }))
    }
}

/// Why a node that does not attend cannot be asked.
fn not_attending(node: &str, state: Option<&NodeState>, now: Instant) -> Status {
    let Some(state) = state else {
        return Status::not_found(format!(
            "there is no node {node}: nodes appear when their agents connect, see `meshctl status`"
        ));
    };
    let since = now.saturating_duration_since(state.since);
    if !state.connected {
        return Status::unavailable(format!(
            "node {node} went away {} s ago: see `meshctl status`",
            since.as_secs()
        ));
    }
    if since < LATE {
        return Status::unavailable(format!("node {node} has just connected: try again"));
    }
    Status::unimplemented(format!(
        "the agent of node {node} takes no commands: it has version {:?}, this is {}",
        state.version,
        env!("CARGO_PKG_VERSION")
    ))
}

fn confused(node: &str) -> Status {
    Status::internal(format!("node {node} has answered something else than it was asked"))
}

type Commands = Pin<Box<dyn Stream<Item = Result<wire::NodeCommand, Status>> + Send>>;

#[tonic::async_trait]
impl NodeCommands for NodesApi {
    type AttendStream = Commands;

    async fn attend(
        &self,
        request: Request<Streaming<wire::NodeAnswer>>,
    ) -> Result<Response<Commands>, Status> {
        let mut answers = request.into_inner();
        let node = attend::hello(&mut answers).await?;
        if node == OWN {
            let text = format!("{OWN} stands for the control plane: give the node another name");
            return Err(Status::invalid_argument(text));
        }
        tracing::debug!(node, "attends to commands");
        let (attendance, commands) = self.relay.attend(node);
        let shutdown = self.shutdown.clone();
        let tidy = attend::tidy();
        let shell = Shell { answers, commands, attendance, shutdown, tidy };
        Ok(Response::new(Box::pin(shell.into_stream())))
    }
}

type Tapped = Pin<Box<dyn Stream<Item = Result<wire::Tapped, Status>> + Send>>;
type Connections = Pin<Box<dyn Stream<Item = Result<wire::OpenConnections, Status>> + Send>>;

#[tonic::async_trait]
impl NodesService for NodesApi {
    async fn get_log(
        &self,
        request: Request<wire::GetLogRequest>,
    ) -> Result<Response<wire::LogLevels>, Status> {
        let node = request.into_inner().node;
        if node == OWN {
            return Ok(Response::new(own::levels(&self.log)));
        }
        let command = Command::GetLog(wire::GetLog {});
        self.log(&node, command).await.map(Response::new)
    }

    async fn set_log(
        &self,
        request: Request<wire::SetLogRequest>,
    ) -> Result<Response<wire::LogLevels>, Status> {
        let wire::SetLogRequest { node, log } = request.into_inner();
        let log = log.unwrap_or_default();
        if node == OWN {
            return own::set(&self.log, log).map(Response::new);
        }
        self.log(&node, Command::SetLog(log)).await.map(Response::new)
    }

    type ListConnectionsStream = Connections;

    async fn list_connections(
        &self,
        request: Request<wire::ListConnectionsRequest>,
    ) -> Result<Response<Connections>, Status> {
        let wire::ListConnectionsRequest { node, what } = request.into_inner();
        if node == OWN {
            let text = "no connections go through the control plane: name a node";
            return Err(Status::invalid_argument(text));
        }
        let answers = self.ask(&node, Command::ListConnections(what.unwrap_or_default()))?;
        Ok(Response::new(self.parts(node, answers, |answer| {
            let Answer::Connections(part) = answer else { return None };
            let more = part.more;
            Some((part, more))
        })))
    }

    type TapStream = Tapped;

    async fn tap(&self, request: Request<wire::TapRequest>) -> Result<Response<Tapped>, Status> {
        let wire::TapRequest { node, what } = request.into_inner();
        if node == OWN {
            let text = "no connections go through the control plane: name a node";
            return Err(Status::invalid_argument(text));
        }
        let answers = self.ask(&node, Command::Tap(what.unwrap_or_default()))?;
        Ok(Response::new(self.parts(node, answers, |answer| {
            let Answer::Tapped(part) = answer else { return None };
            let more = part.more;
            Some((part, more))
        })))
    }

    type DiffNodeStream = diff::Parts;

    async fn diff_node(
        &self,
        request: Request<wire::DiffNodeRequest>,
    ) -> Result<Response<diff::Parts>, Status> {
        let node = request.into_inner().node;
        if node == OWN {
            let text = "the control plane programs nothing: name a node";
            return Err(Status::invalid_argument(text));
        }
        self.diff(&node).await.map(Response::new)
    }

    type GetBundleStream = bundle::Parts;

    async fn get_bundle(
        &self,
        request: Request<wire::GetBundleRequest>,
    ) -> Result<Response<bundle::Parts>, Status> {
        let wire::GetBundleRequest { node, what } = request.into_inner();
        self.bundle(node, what.unwrap_or_default()).map(Response::new)
    }
}
