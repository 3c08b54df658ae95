//! What happens on each connection, from a seed and its number alone: both ends, and whoever
//! repeats the run, come to the same.

/// Bytes that each end sends before the data: the client the connection's number, the server a
/// greeting.
pub(super) const PREFIX: u64 = 8;

/// An end of a connection, and the direction in which it sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finish {
    /// Each end half-closes when it has sent everything, and reads to the end.
    HalfClose,
    /// The client closes as soon as it has sent everything; the server sends only its greeting.
    Close,
    /// One end closes in the midst, with a reset or without.
    Cut { by: Side, reset: bool },
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    up: u64,
    down: u64,
    pub(super) finish: Finish,
    seed: u64,
}

/// Of ten connections so many do not end with two half-closes.
const ABRUPT: u64 = 3;

impl Plan {
    /// The plan of a connection whose directions carry at most `largest` bytes each.
    pub(super) const fn new(seed: u64, number: u64, largest: u64) -> Self {
        let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (up, mut down) = (random.size(largest), random.size(largest));
        let finish = if random.below(10) >= ABRUPT {
            Finish::HalfClose
        } else if random.below(3) == 0 {
            down = 0;
            Finish::Close
        } else {
            let by = if random.below(2) == 0 { Side::Client } else { Side::Server };
            Finish::Cut { by, reset: random.below(2) == 0 }
        };
        Self { up, down, finish, seed: random.next() }
    }

    /// Bytes of one direction, with the prefix, if nothing cuts it off.
    pub(super) const fn total(&self, by: Side) -> u64 {
        PREFIX
            + match by {
                Side::Client => self.up,
                Side::Server => self.down,
            }
    }

    /// Bytes that this end sends at most.
    pub(super) fn limit(&self, by: Side) -> u64 {
        let total = self.total(by);
        match self.finish {
            Finish::Cut { by: cutter, .. } if cutter == by => {
                PREFIX + self.random(by, 0).below(total - PREFIX)
            }
            Finish::HalfClose | Finish::Close | Finish::Cut { .. } => total,
        }
    }

    /// Whether every byte must arrive.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.finish, Finish::HalfClose | Finish::Close)
    }

    /// Randomness for one of the tasks of a direction.
    pub(super) const fn random(&self, by: Side, task: u64) -> Random {
        let side = match by {
            Side::Client => 1,
            Side::Server => 2,
        };
        Random::new(self.seed ^ (side + 4 * task))
    }
}

/// The generator `SplitMix64`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 where that is 0.
    pub(super) const fn below(&mut self, end: u64) -> u64 {
        let next = self.next();
        if end == 0 { 0 } else { next % end }
    }

    /// From 1 to `largest`, each power of two as likely as the others.
    pub(super) const fn size(&mut self, largest: u64) -> u64 {
        let low = 1 << self.below((u64::BITS - largest.leading_zeros()) as u64);
        let size = low + self.below(low);
        if size < largest { size } else { largest }
    }
}

/// Bytes that both ends know. A prime number of them, so that a stream repeats itself far from any
/// size that a kernel deals in.
pub(super) struct Pattern(Vec<u8>);

const LENGTH: usize = 1_048_573;

impl Pattern {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let words = std::iter::repeat_with(|| random.next().to_le_bytes());
        Self(words.flatten().take(LENGTH).collect())
    }

    /// What a direction carries from a position on: at most `most` bytes, at least one.
    pub(super) fn at(&self, start: u64, position: u64, most: usize) -> &[u8] {
        let length = u64::try_from(LENGTH).unwrap_or(u64::MAX);
        let from = usize::try_from((start % length + position % length) % length).unwrap_or(0);
        let to = LENGTH.min(from.saturating_add(most));
        self.0.get(from..to).unwrap_or_default()
    }

    /// How many of the first bytes are right.
    pub(super) fn right(&self, start: u64, mut position: u64, mut bytes: &[u8]) -> usize {
        let mut right = 0;
        while !bytes.is_empty() {
            let expected = self.at(start, position, bytes.len());
            let (piece, rest) = bytes.split_at(expected.len());
            if piece != expected {
                let same = piece.iter().zip(expected).take_while(|(one, other)| one == other);
                return right + same.count();
            }
            right += piece.len();
            position += u64::try_from(piece.len()).unwrap_or(0);
            bytes = rest;
        }
        right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_repeat_and_keep_their_bounds() {
        for number in 0..10_000 {
            let (one, other) = (Plan::new(7, number, 1 << 23), Plan::new(7, number, 1 << 23));
            for side in [Side::Client, Side::Server] {
                assert_eq!(one.total(side), other.total(side));
                assert_eq!(one.limit(side), other.limit(side));
                assert!(one.limit(side) <= one.total(side));
                assert!(one.total(side) <= PREFIX + (1 << 23));
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_found_at_its_place() {
        let pattern = Pattern::new(3);
        let length = u64::try_from(LENGTH).unwrap();
        let mut bytes = pattern.at(5, length - 10, 100).to_vec();
        bytes.extend(pattern.at(5, length - 5, 100));
        assert_eq!(pattern.right(5, length - 10, &bytes), bytes.len());
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(pattern.right(5, length - 10, &bytes), last);
    }
}
