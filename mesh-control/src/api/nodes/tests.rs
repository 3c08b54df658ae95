//! Questions over real sockets, to a node that a test plays.

use mesh_api::wire::node_commands_client::NodeCommandsClient;
use mesh_api::wire::nodes_client::NodesClient;
use mesh_api::wire::{LogLevels, NodeAnswer, NodeCommand, OpenConnections};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use super::*;
use crate::testing::{PATIENCE, Running};

pub(super) struct Agent {
    answers: mpsc::Sender<NodeAnswer>,
    commands: Streaming<NodeCommand>,
}

impl Agent {
    async fn attend(control: &Running, first: Option<Answer>) -> Result<Self, Status> {
        let address = format!("http://{}", control.bound.grpc);
        let mut client = NodeCommandsClient::connect(address).await.unwrap();
        let (answers, receiver) = mpsc::channel(300);
        answers.send(NodeAnswer { id: 0, answer: first }).await.unwrap();
        let sent = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|answer| (answer, receiver))
        });
        let commands = client.attend(sent).await?.into_inner();
        Ok(Self { answers, commands })
    }

    pub(super) async fn named(control: &Running, node: &str) -> Result<Self, Status> {
        let hello = wire::Hello { node: node.to_owned(), version: String::new() };
        Self::attend(control, Some(Answer::Hello(hello))).await
    }

    pub(super) async fn next(&mut self) -> NodeCommand {
        let next = tokio::time::timeout(PATIENCE, self.commands.message()).await;
        next.unwrap().unwrap().unwrap()
    }

    pub(super) async fn answer(&self, id: u64, answer: Answer) {
        self.answers.send(NodeAnswer { id, answer: Some(answer) }).await.unwrap();
    }
}

pub(super) async fn people(control: &Running) -> NodesClient<Channel> {
    NodesClient::connect(format!("http://{}", control.bound.grpc)).await.unwrap()
}

fn about(node: &str) -> wire::GetLogRequest {
    wire::GetLogRequest { node: node.to_owned() }
}

fn connections(count: u64, more: bool) -> Answer {
    let connection = |cookie| wire::Connection { cookie, ..wire::Connection::default() };
    let connections = (0..count).map(connection).collect();
    Answer::Connections(OpenConnections { connections, omitted: 0, more })
}

#[tokio::test]
async fn a_question_goes_to_the_node_and_its_answer_back() {
    let control = Running::start().await;
    let mut agent = Agent::named(&control, "n1").await.unwrap();
    let mut asking = people(&control).await;
    let set = wire::SetLog { directives: "debug".to_owned(), for_ms: 5, ..wire::SetLog::default() };
    let request = wire::SetLogRequest { node: "n1".to_owned(), log: Some(set.clone()) };
    let asked = async {
        let NodeCommand { id, command } = agent.next().await;
        assert_eq!(command, Some(Command::SetLog(set)));
        let levels = LogLevels { directives: "debug".to_owned(), ..LogLevels::default() };
        agent.answer(id, Answer::Log(levels)).await;
    };
    let (levels, ()) = tokio::join!(asking.set_log(request), asked);
    assert_eq!(levels.unwrap().into_inner().directives, "debug");

    let request = wire::ListConnectionsRequest { node: "n1".to_owned(), what: None };
    let mut parts = asking.list_connections(request).await.unwrap().into_inner();
    let id = agent.next().await.id;
    agent.answer(id, connections(2, true)).await;
    agent.answer(id, connections(1, false)).await;
    let first = parts.message().await.unwrap().unwrap();
    assert_eq!((first.connections.len(), first.more), (2, true));
    assert_eq!(parts.message().await.unwrap().unwrap().connections.len(), 1);
    assert!(parts.message().await.unwrap().is_none());

    // What a node refuses is said in its words.
    let refused = async {
        let id = agent.next().await.id;
        let message = "not this".to_owned();
        let failed = wire::CommandFailed { code: Code::InvalidArgument.into(), message };
        agent.answer(id, Answer::Failed(failed)).await;
    };
    let (answer, ()) = tokio::join!(asking.get_log(about("n1")), refused);
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "not this"));

    let gone = async {
        agent.next().await;
        drop(agent);
    };
    let (answer, ()) = tokio::join!(asking.get_log(about("n1")), gone);
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    control.stop().await;
}

#[tokio::test]
async fn who_is_not_there_is_said_with_the_next_step() {
    let control = Running::start().await;
    let mut asking = people(&control).await;
    let status = asking.get_log(about("n9")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("meshctl status"), "{status}");

    let own = asking.get_log(about(OWN)).await.unwrap().into_inner();
    assert_eq!((own.access_log, own.remaining_ms), (false, 0));
    let set = wire::SetLog { access_log: Some(true), ..wire::SetLog::default() };
    let request = wire::SetLogRequest { node: OWN.to_owned(), log: Some(set) };
    assert_eq!(asking.set_log(request).await.unwrap_err().code(), Code::InvalidArgument);
    let request = wire::ListConnectionsRequest { node: OWN.to_owned(), what: None };
    let refused = asking.list_connections(request).await.map(drop);
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let refused = Agent::attend(&control, Some(connections(0, false))).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for name in ["", "a b", OWN] {
        let refused = Agent::named(&control, name).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name:?}");
    }
    control.stop().await;
}

#[tokio::test]
async fn a_node_that_says_nothing_is_given_up() {
    let shutdown = CancellationToken::new();
    let nodes = Arc::new(Nodes::new(Arc::default()));
    let keeper = Arc::new(LogKeeper::new(None, false, |_, _| {}));
    let (stored, _data) = diff::tests::stored();
    let (metrics, readiness) = (Arc::default(), Arc::default());
    let own = Own { flags: "".into(), metrics, readiness };
    let patience = Duration::from_millis(10);
    let api = NodesApi { patience, ..NodesApi::new(nodes, keeper, stored, own, shutdown) };
    let (_attendance, mut commands) = api.relay.attend("n1".to_owned());
    let status = api.get_log(Request::new(about("n1"))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(commands.recv().await.is_some());
}

#[test]
fn a_node_without_commands_is_away_new_or_old() {
    let now = Instant::now();
    let state = |connected| NodeState {
        stream: 1,
        version: "0.5.0".to_owned(),
        connected,
        since: now,
        live: None,
        sent: 0,
        rejections: Vec::new(),
    };
    let code = |state, later| not_attending("n1", state, now + later).code();
    let (away, there) = (state(false), state(true));
    assert_eq!(code(None, LATE), Code::NotFound);
    assert_eq!(code(Some(&away), LATE), Code::Unavailable);
    assert_eq!(code(Some(&there), Duration::from_secs(1)), Code::Unavailable);
    assert_eq!(code(Some(&there), LATE), Code::Unimplemented);
}

#[tokio::test]
async fn a_bundle_comes_in_parts_and_the_control_plane_has_its_own() {
    let control = Running::start().await;
    let mut agent = Agent::named(&control, "n1").await.unwrap();
    let mut asking = people(&control).await;
    let request = |node: &str| wire::GetBundleRequest { node: node.to_owned(), what: None };
    let answered = async {
        let NodeCommand { id, command } = agent.next().await;
        assert_eq!(command, Some(Command::Bundle(wire::GetBundle { since_ms: 0 })));
        for more in [true, false] {
            let (name, content) = ("dump.txt".to_owned(), "x".to_owned());
            agent.answer(id, Answer::Bundle(wire::Bundle { name, content, more })).await;
        }
    };
    let (parts, ()) = tokio::join!(asking.get_bundle(request("n1")), answered);
    let mut parts = parts.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        all.push((part.name, part.more));
    }
    assert_eq!(all, [("dump.txt".to_owned(), true), ("dump.txt".to_owned(), false)]);

    let mut parts = asking.get_bundle(request(OWN)).await.unwrap().into_inner();
    let mut own = std::collections::BTreeMap::new();
    while let Some(part) = parts.message().await.unwrap() {
        own.insert(part.name, part.content);
    }
    assert_eq!(own["ready.txt"], "ok\n");
    assert!(own["flags.txt"].contains("--listen 127.0.0.1:0\n"), "{own:?}");
    assert!(own["metrics.txt"].contains("mesh_control_revision"), "{own:?}");
    assert!(own["version.txt"].starts_with("mesh-control "), "{own:?}");
    control.stop().await;
}
