//! Parts of an answer on their way from a node to who asked. They wait in bounded memory: nothing
//! makes the node's stream wait, and who does not read is given up.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_api::wire::node_answer::Answer;
use tokio::sync::Notify;

/// Most parts of an answer that wait for their reader: more than all connections of a node take.
const MOST: usize = 256;
/// Most messages of a tap that wait: what comes beyond is counted, and left out.
const MOST_TAPPED: usize = 32;
/// How long a part waits.
pub(super) const UNREAD: Duration = Duration::from_secs(30);

/// Parts of one answer.
#[derive(Debug, Default)]
pub(super) struct Parts {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first, with the moment from which it waits.
    waiting: VecDeque<(Instant, Answer)>,
    ended: bool,
    /// Events of a tap that found no room.
    unread: u64,
}

impl Parts {
    /// Adds one; false where the reader is given up, because too many wait.
    pub(super) fn push(&self, answer: Answer, now: Instant) -> bool {
        let mut state = self.lock();
        let taken = state.push(answer, now);
        drop(state);
        self.changed.notify_one();
        taken
    }

    /// Whether one has waited for too long.
    pub(super) fn are_unread(&self, now: Instant) -> bool {
        let state = self.lock();
        let oldest = state.waiting.front();
        oldest.is_some_and(|(since, _)| now.saturating_duration_since(*since) >= UNREAD)
    }

    /// No more will come; what waits is still read.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    /// No more will come, and what waits is dropped.
    pub(super) fn give_up(&self) {
        self.lock().give_up();
        self.changed.notify_one();
    }

    /// The next; `None`: there will be none.
    pub(super) async fn next(&self) -> Option<Answer> {
        loop {
            {
                let mut state = self.lock();
                if let Some(answer) = state.pop() {
                    return Some(answer);
                }
                if state.ended {
                    return None;
                }
            }
            // There is one reader: what has come in between has left a permit.
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, mut answer: Answer, now: Instant) -> bool {
        if self.ended {
            return false;
        }
        if let Answer::Tapped(tapped) = &mut answer
            && self.waiting.len() >= MOST_TAPPED
        {
            let events = tapped.events.drain(..).len();
            self.unread = self.unread.saturating_add(u64::try_from(events).unwrap_or(u64::MAX));
            if tapped.more {
                return true;
            }
        }
        if self.waiting.len() >= MOST {
            self.give_up();
            return false;
        }
        self.waiting.push_back((now, answer));
        true
    }

    fn pop(&mut self) -> Option<Answer> {
        let (_, mut answer) = self.waiting.pop_front()?;
        if let Answer::Tapped(tapped) = &mut answer {
            tapped.left_out.get_or_insert_default().unread = self.unread;
        }
        Some(answer)
    }

    fn give_up(&mut self) {
        self.waiting = VecDeque::new();
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::wire::{ConnectionEvent, LogLevels, Tapped};

    use super::*;

    fn tapped(events: usize, more: bool) -> Answer {
        let events = vec![ConnectionEvent::default(); events];
        Answer::Tapped(Tapped { events, left_out: None, more })
    }

    fn log() -> Answer {
        Answer::Log(LogLevels::default())
    }

    #[tokio::test]
    async fn a_slow_reader_of_a_tap_is_told_what_it_missed_and_its_end() {
        let (parts, now) = (Parts::default(), Instant::now());
        for _ in 0..MOST_TAPPED + 3 {
            assert!(parts.push(tapped(2, true), now));
        }
        assert!(parts.push(tapped(5, false), now));
        let mut seen = 0;
        for _ in 0..MOST_TAPPED {
            let Some(Answer::Tapped(part)) = parts.next().await else { panic!() };
            assert_eq!(part.left_out.unwrap().unread, 11);
            seen += part.events.len();
        }
        assert_eq!(seen, 2 * MOST_TAPPED);
        let Some(Answer::Tapped(last)) = parts.next().await else { panic!() };
        assert_eq!((last.events.len(), last.more), (0, false));
    }

    #[tokio::test]
    async fn who_does_not_read_is_given_up_and_keeps_no_memory() {
        let (parts, now) = (Parts::default(), Instant::now());
        assert!(parts.push(log(), now));
        assert!(!parts.are_unread(now));
        assert!(parts.are_unread(now + UNREAD));
        for _ in 1..MOST {
            assert!(parts.push(log(), now));
        }
        assert!(!parts.push(log(), now));
        assert_eq!(parts.next().await, None);
        assert!(!parts.are_unread(now + UNREAD));
    }

    #[tokio::test]
    async fn what_came_before_the_end_is_read() {
        let (parts, now) = (Parts::default(), Instant::now());
        parts.push(log(), now);
        parts.end();
        assert!(!parts.push(log(), now));
        assert_eq!(parts.next().await, Some(log()));
        assert_eq!(parts.next().await, None);
        let parts = Parts::default();
        let (next, ()) = tokio::join!(parts.next(), async { parts.give_up() });
        assert_eq!(next, None);
    }
}
