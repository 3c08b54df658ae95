//! Which nodes attend to commands, and who waits for their answers. No I/O: messages go into queues.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_api::wire::node_answer::Answer;
use mesh_api::wire::node_command::Command;
use mesh_api::wire::{NodeAnswer, NodeCommand};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel};
use tokio::sync::mpsc::{error::TrySendError, unbounded_channel};

/// Most commands that a node has not answered.
const MAX_PENDING: usize = 16;
/// Most parts of an answer that wait for their reader: more than all connections of a node take.
const MAX_PARTS: usize = 256;

/// All nodes that attend.
#[derive(Debug, Default)]
pub(super) struct Relay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last number given out, to a stream or to a command.
    last: u64,
    nodes: BTreeMap<String, Attending>,
}

/// A node's stream.
#[derive(Debug)]
struct Attending {
    stream: u64,
    commands: Sender<NodeCommand>,
    pending: BTreeMap<u64, Pending>,
}

#[derive(Debug)]
struct Pending {
    answers: UnboundedSender<Answer>,
    parts: usize,
}

/// Why a node is not asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAsked {
    /// It does not attend.
    Away,
    /// It has not answered what it was asked before.
    Busy,
}

impl Relay {
    /// A node attends from now on, instead of on an earlier stream.
    pub(super) fn attend(self: &Arc<Self>, node: String) -> (Attendance, Receiver<NodeCommand>) {
        let (commands, to_send) = channel(MAX_PENDING);
        let mut state = self.lock();
        state.last += 1;
        let stream = state.last;
        let attending = Attending { stream, commands, pending: BTreeMap::new() };
        // Whoever waits for an answer on the earlier stream is told that it has ended.
        state.nodes.insert(node.clone(), attending);
        drop(state);
        (Attendance { relay: Arc::clone(self), node, stream }, to_send)
    }

    /// Asks a node. What it answers comes from what is returned, which ends with its stream.
    pub(super) fn ask(self: &Arc<Self>, node: &str, command: Command) -> Result<Answers, NotAsked> {
        let mut state = self.lock();
        state.last += 1;
        let id = state.last;
        let attending = state.nodes.get_mut(node).ok_or(NotAsked::Away)?;
        if attending.pending.len() >= MAX_PENDING {
            return Err(NotAsked::Busy);
        }
        let command = NodeCommand { id, command: Some(command) };
        attending.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => NotAsked::Busy,
            TrySendError::Closed(_) => NotAsked::Away,
        })?;
        let (answers, receiver) = unbounded_channel();
        attending.pending.insert(id, Pending { answers, parts: 0 });
        let (relay, node) = (Arc::clone(self), node.to_owned());
        Ok(Answers { relay, node, id, receiver })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's part in the relay; its node is away when this is dropped.
#[derive(Debug)]
pub(super) struct Attendance {
    relay: Arc<Relay>,
    node: String,
    stream: u64,
}

impl Attendance {
    /// Passes on an answer. One that nobody waits for any more is dropped.
    pub(super) fn answered(&self, NodeAnswer { id, answer }: NodeAnswer) {
        let mut state = self.relay.lock();
        let attending = state.nodes.get_mut(&self.node).filter(|it| it.stream == self.stream);
        let Some(attending) = attending else { return };
        let (Some(pending), Some(answer)) = (attending.pending.get_mut(&id), answer) else {
            return;
        };
        pending.parts += 1;
        if pending.parts > MAX_PARTS || pending.answers.send(answer).is_err() {
            attending.pending.remove(&id);
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut state = self.relay.lock();
        // A newer stream of the same node is none of its business.
        if state.nodes.get(&self.node).is_some_and(|it| it.stream == self.stream) {
            state.nodes.remove(&self.node);
        }
    }
}

/// The answers to one command.
#[derive(Debug)]
pub(super) struct Answers {
    relay: Arc<Relay>,
    node: String,
    id: u64,
    receiver: UnboundedReceiver<Answer>,
}

impl Answers {
    /// The next one; `None`: there will be none, because the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.receiver.recv().await
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut state = self.relay.lock();
        if let Some(attending) = state.nodes.get_mut(&self.node) {
            attending.pending.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::wire::{GetLog, LogLevels};

    use super::*;

    fn get() -> Command {
        Command::GetLog(GetLog {})
    }

    fn log(text: &str) -> Answer {
        Answer::Log(LogLevels { directives: text.to_owned(), ..LogLevels::default() })
    }

    #[tokio::test]
    async fn answers_go_to_who_asked() {
        let relay = Arc::new(Relay::default());
        assert_eq!(relay.ask("a", get()).unwrap_err(), NotAsked::Away);
        let (attendance, mut commands) = relay.attend("a".to_owned());
        let (mut one, mut two) = (relay.ask("a", get()).unwrap(), relay.ask("a", get()).unwrap());
        let (first, second) = (commands.recv().await.unwrap(), commands.recv().await.unwrap());
        assert_eq!(first.command, Some(get()));
        let answer = |id, text| attendance.answered(NodeAnswer { id, answer: Some(log(text)) });
        answer(second.id, "second");
        answer(first.id, "first");
        answer(99, "nobody's");
        assert_eq!(one.next().await, Some(log("first")));
        assert_eq!(two.next().await, Some(log("second")));
        drop(two);
        answer(second.id, "too late");
        drop(attendance);
        assert_eq!(one.next().await, None);
        assert_eq!(relay.ask("a", get()).unwrap_err(), NotAsked::Away);
    }

    #[tokio::test]
    async fn a_newer_stream_takes_over() {
        let relay = Arc::new(Relay::default());
        let (old, mut old_commands) = relay.attend("a".to_owned());
        let mut asked = relay.ask("a", get()).unwrap();
        let id = old_commands.recv().await.unwrap().id;
        let (_new, mut commands) = relay.attend("a".to_owned());
        assert_eq!(asked.next().await, None);
        assert_eq!(old_commands.recv().await, None);
        old.answered(NodeAnswer { id, answer: Some(log("old")) });
        drop(old);
        let _asked = relay.ask("a", get()).unwrap();
        assert_eq!(commands.recv().await.unwrap().command, Some(get()));
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_not_asked_for_ever() {
        let relay = Arc::new(Relay::default());
        let (_attendance, mut commands) = relay.attend("a".to_owned());
        let mut asked: Vec<_> = (0..MAX_PENDING).map(|_| relay.ask("a", get()).unwrap()).collect();
        assert_eq!(relay.ask("a", get()).unwrap_err(), NotAsked::Busy);
        // Whoever gives up makes room, once the command has been sent.
        asked.pop();
        assert_eq!(relay.ask("a", get()).unwrap_err(), NotAsked::Busy);
        commands.recv().await.unwrap();
        drop(relay.ask("a", get()).unwrap());
    }
}
