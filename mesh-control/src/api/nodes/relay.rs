//! Which nodes attend to commands, and who waits for their answers. No I/O: messages go into queues.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mesh_api::wire::node_answer::Answer;
use mesh_api::wire::node_command::Command;
use mesh_api::wire::{Cancel, NodeAnswer, NodeCommand};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel};

use super::parts::Parts;

/// Most commands that a node has not answered.
const MAX_PENDING: usize = 16;

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
    parts: Arc<Parts>,
    /// Room to tell the node that nobody waits any more, where it would not end by itself.
    cancel: Option<OwnedPermit<NodeCommand>>,
}

impl Pending {
    /// Nobody waits for the rest.
    fn cancel(self, id: u64) {
        self.parts.give_up();
        if let Some(room) = self.cancel {
            let command = Some(Command::Cancel(Cancel { id }));
            room.send(NodeCommand { id: 0, command });
        }
    }
}

/// Whoever waits for an answer is told that the stream has ended.
impl Drop for Attending {
    fn drop(&mut self) {
        for pending in self.pending.values() {
            pending.parts.end();
        }
    }
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
        // Each may have to be cancelled.
        let (commands, to_send) = channel(2 * MAX_PENDING);
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
        let not_asked = |is_full: bool| if is_full { NotAsked::Busy } else { NotAsked::Away };
        let cancel = if matches!(command, Command::Tap(_)) {
            let room = attending.commands.clone().try_reserve_owned();
            Some(room.map_err(|error| not_asked(matches!(error, TrySendError::Full(_))))?)
        } else {
            None
        };
        let command = NodeCommand { id, command: Some(command) };
        let sent = attending.commands.try_send(command);
        sent.map_err(|error| not_asked(matches!(error, TrySendError::Full(_))))?;
        let parts = Arc::<Parts>::default();
        attending.pending.insert(id, Pending { parts: Arc::clone(&parts), cancel });
        let (relay, node) = (Arc::clone(self), node.to_owned());
        Ok(Answers { relay, node, id, parts })
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
    pub(super) fn answered(&self, NodeAnswer { id, answer }: NodeAnswer, now: Instant) {
        self.with_pending(|pending| {
            let (Some(waiting), Some(answer)) = (pending.get_mut(&id), answer) else { return };
            if ends(&answer) {
                waiting.cancel = None;
            }
            if !waiting.parts.push(answer, now)
                && let Some(waiting) = pending.remove(&id)
            {
                waiting.cancel(id);
            }
        });
    }

    /// Gives up who has not read for long, and lets others ask in their place.
    pub(super) fn tidy(&self, now: Instant) {
        self.with_pending(|pending| {
            for (id, unread) in pending.extract_if(.., |_, it| it.parts.are_unread(now)) {
                unread.cancel(id);
            }
        });
    }

    fn with_pending(&self, work: impl FnOnce(&mut BTreeMap<u64, Pending>)) {
        let mut state = self.relay.lock();
        let attending = state.nodes.get_mut(&self.node).filter(|it| it.stream == self.stream);
        if let Some(attending) = attending {
            work(&mut attending.pending);
        }
    }
}

/// Whether nothing follows an answer.
const fn ends(answer: &Answer) -> bool {
    match answer {
        Answer::Failed(_) => true,
        Answer::Tapped(tapped) => !tapped.more,
        Answer::Hello(_)
        | Answer::Log(_)
        | Answer::Connections(_)
        | Answer::Programmed(_)
        | Answer::Bundle(_) => false,
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
    parts: Arc<Parts>,
}

impl Answers {
    /// The next one; `None`: there will be none, because the stream has ended, or because nobody has
    /// read for too long.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.parts.next().await
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut state = self.relay.lock();
        let attending = state.nodes.get_mut(&self.node);
        if let Some(pending) = attending.and_then(|it| it.pending.remove(&self.id)) {
            pending.cancel(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::wire::{GetLog, LogLevels, Tap, Tapped};

    use super::super::parts::UNREAD;
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
        let answer = |id, text| {
            attendance.answered(NodeAnswer { id, answer: Some(log(text)) }, Instant::now());
        };
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
        old.answered(NodeAnswer { id, answer: Some(log("old")) }, Instant::now());
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
        // Whoever gives up makes room; but what the node has not been sent yet stays bounded.
        asked.pop();
        drop(relay.ask("a", get()).unwrap());
        let unsent = (0..100).take_while(|_| relay.ask("a", get()).is_ok()).count();
        assert_eq!(unsent, MAX_PENDING - 1);
        commands.recv().await.unwrap();
        drop(relay.ask("a", get()).unwrap());
    }

    fn tap() -> Command {
        Command::Tap(Tap::default())
    }

    fn tapped(id: u64, more: bool) -> NodeAnswer {
        let answer = Answer::Tapped(Tapped { more, ..Tapped::default() });
        NodeAnswer { id, answer: Some(answer) }
    }

    #[tokio::test]
    async fn a_node_is_told_when_nobody_looks_any_more() {
        let relay = Arc::new(Relay::default());
        let (attendance, mut commands) = relay.attend("a".to_owned());
        let now = Instant::now();
        let cancelled = |command: NodeCommand| match command.command {
            Some(Command::Cancel(Cancel { id })) => id,
            other => panic!("{other:?}"),
        };
        // The reader goes, also where the node has not read its commands for long.
        let looking = relay.ask("a", tap()).unwrap();
        let rest: Vec<_> = (1..MAX_PENDING).map(|_| relay.ask("a", get()).unwrap()).collect();
        drop((looking, rest));
        let id = commands.recv().await.unwrap().id;
        for _ in 1..MAX_PENDING {
            assert_eq!(commands.recv().await.unwrap().command, Some(get()));
        }
        assert_eq!(cancelled(commands.recv().await.unwrap()), id);
        // It stays, but does not read: its place is another's.
        let mut stuck = relay.ask("a", tap()).unwrap();
        let id = commands.recv().await.unwrap().id;
        attendance.answered(tapped(id, true), now);
        attendance.tidy(now);
        assert!(commands.try_recv().is_err());
        attendance.tidy(now + UNREAD);
        assert_eq!(cancelled(commands.recv().await.unwrap()), id);
        assert_eq!(stuck.next().await, None);
        // What has ended by itself is not cancelled.
        let done = relay.ask("a", tap()).unwrap();
        let id = commands.recv().await.unwrap().id;
        attendance.answered(tapped(id, false), now);
        drop((done, stuck));
        assert!(commands.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_does_not_read_gives_its_place_back() {
        let relay = Arc::new(Relay::default());
        let (attendance, mut commands) = relay.attend("a".to_owned());
        let now = Instant::now();
        let mut asked = Vec::new();
        for _ in 0..MAX_PENDING {
            asked.push(relay.ask("a", get()).unwrap());
            let id = commands.recv().await.unwrap().id;
            attendance.answered(NodeAnswer { id, answer: Some(log("unread")) }, now);
        }
        assert_eq!(relay.ask("a", get()).unwrap_err(), NotAsked::Busy);
        attendance.tidy(now + UNREAD);
        relay.ask("a", get()).unwrap();
    }
}
