//! The life of a connection: what each TCP state change means for the counters.
//!
//! ```text
//! CHOSEN ──SYN sent──► CONNECTING ──established──► OPEN ──close──► DONE (closed)
//!                           └────────close─────────────────────► DONE (failed)
//! ```

use super::breaker::Outcome;
use super::payload::state;
use crate::conn::{ConnFlags, Stage};

/// What a state change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing to count.
    None,
    /// The connection got established.
    Opened,
    /// An established connection ended.
    Closed,
    /// The connection ended without having been established.
    Failed,
    /// Our side is closed and acknowledged; remember the receive counter.
    HalfClosed,
}

impl Change {
    /// The stage after it.
    #[must_use]
    #[inline(always)]
    pub const fn stage(self, before: Stage) -> Stage {
        match self {
            Self::None | Self::HalfClosed => before,
            Self::Opened => Stage::OPEN,
            Self::Closed | Self::Failed => Stage::DONE,
        }
    }
}

/// What a connection that did not get established says about the backend. An application that
/// gives up before the SYN was due to be sent again, as one does that tries two addresses at once,
/// says nothing.
#[must_use]
#[inline(always)]
pub const fn failure(flags: ConnFlags, retransmits: u32) -> Outcome {
    if flags.contains(ConnFlags::ABANDONED) && retransmits == 0 {
        Outcome::Unknown
    } else {
        Outcome::Bad
    }
}

/// What it means that a socket at `stage` enters the TCP state `entered`.
#[must_use]
#[inline(always)]
pub const fn on_state(stage: Stage, entered: u32) -> Change {
    match (stage, entered) {
        (Stage::CONNECTING, state::ESTABLISHED) => Change::Opened,
        (Stage::CONNECTING, state::CLOSE) => Change::Failed,
        (Stage::OPEN, state::CLOSE) => Change::Closed,
        (Stage::OPEN, state::FIN_WAIT2) => Change::HalfClosed,
        _ => Change::None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_connection_is_counted_once(entered in prop::collection::vec(1..13u32, 0..40)) {
            let mut stage = Stage::CONNECTING;
            let (mut opened, mut ended) = (0, 0);
            for state in entered.into_iter().chain([state::CLOSE]) {
                let change = on_state(stage, state);
                match change {
                    Change::Opened => opened += 1,
                    Change::Closed => {
                        prop_assert_eq!(opened, 1);
                        ended += 1;
                    }
                    Change::Failed => {
                        prop_assert_eq!(opened, 0);
                        ended += 1;
                    }
                    Change::None | Change::HalfClosed => {}
                }
                stage = change.stage(stage);
            }
            prop_assert_eq!(ended, 1);
        }
    }
}
