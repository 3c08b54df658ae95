//! Whether the control plane does its work, for `/healthz`.

use std::sync::{Mutex, PoisonError};

/// How it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The store is being opened.
    #[default]
    Starting,
    /// It takes writes and serves agents.
    Ready,
    /// It serves agents, but cannot store anything.
    StoreFailed,
    /// It is ending.
    Stopping,
}

impl State {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting: opening the store",
            Self::Ready => "ok",
            Self::StoreFailed => "the store has failed: see the log, then restart",
            Self::Stopping => "stopping",
        }
    }
}

/// The current state.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<State>);

impl Readiness {
    /// How it is now.
    pub fn get(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves on, but never back from a failure to ready.
    pub fn set(&self, to: State) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (*state, to) {
            (State::StoreFailed | State::Stopping, State::Starting | State::Ready) => *state,
            (State::Stopping, State::StoreFailed) => State::Stopping,
            _ => to,
        };
    }
}
