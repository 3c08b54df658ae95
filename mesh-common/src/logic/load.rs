//! How many connections a service or a backend has, in one word, so that both numbers change at
//! once: the low half counts all, the high half those that are not established yet.
//!
//! A place is taken before the connection is made, by compare-and-exchange, so that no limit is
//! ever exceeded, and given back at the connection's end.

use crate::policy::Thresholds;

/// One connection that is not established yet.
pub const PENDING: u64 = (1 << 32) | 1;
/// What an established connection has no longer.
pub const ESTABLISHED: u64 = 1 << 32;
/// An established connection.
pub const OPEN: u64 = 1;

/// All connections.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub const fn active(word: u64) -> u32 {
    word as u32
}

/// Those that are not established yet.
#[must_use]
#[inline(always)]
pub const fn pending(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `max_connections` are there.
    Connections,
    /// `max_pending` are not established yet.
    Pending,
}

/// The word with one more connection.
///
/// # Errors
///
/// Where a limit is reached.
#[inline(always)]
pub const fn reserve(word: u64, limits: &Thresholds) -> Result<u64, Full> {
    if limits.max_connections != 0 && active(word) >= limits.max_connections {
        return Err(Full::Connections);
    }
    if limits.max_pending != 0 && pending(word) >= limits.max_pending {
        return Err(Full::Pending);
    }
    Ok(word.wrapping_add(PENDING))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn limits_hold_and_places_come_back(
            steps in prop::collection::vec(0..4u8, 0..500),
            max_connections in 0..20u32,
            max_pending in 0..10u32,
        ) {
            let limits = Thresholds { max_connections, max_pending, ..Thresholds::default() };
            let (mut word, mut open, mut making) = (0u64, 0u32, 0u32);
            for step in steps {
                match step {
                    0 | 1 => match reserve(word, &limits) {
                        Ok(next) => {
                            word = next;
                            making += 1;
                        }
                        Err(Full::Connections) => prop_assert_eq!(open + making, max_connections),
                        Err(Full::Pending) => prop_assert_eq!(making, max_pending),
                    },
                    2 if making > 0 => {
                        word -= ESTABLISHED;
                        making -= 1;
                        open += 1;
                    }
                    3 if open > 0 => {
                        word -= OPEN;
                        open -= 1;
                    }
                    _ => {}
                }
                prop_assert_eq!((active(word), pending(word)), (open + making, making));
                prop_assert!(max_connections == 0 || open + making <= max_connections);
                prop_assert!(max_pending == 0 || making <= max_pending);
            }
        }
    }
}
