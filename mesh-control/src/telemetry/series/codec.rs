//! Steps of time as bytes: who is known, and what was counted on which edge. Only numbers that are
//! not 0 take room, and the four that follow from others are written as the difference to what
//! these say, which is mostly 0: a busy edge takes some 16 bytes a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::telemetry::collector::{Attendance, EdgeId, NodeId};
use crate::telemetry::counts::{Counts, NUMBERS};

/// A step that is over.
pub type Record = Arc<[u8]>;

/// Writes a step.
#[must_use]
pub fn encode(attendance: &Attendance, edges: &BTreeMap<EdgeId, Counts>) -> Record {
    let mut out = Vec::new();
    for nodes in [&attendance.known, &attendance.late] {
        put(&mut out, u64::try_from(nodes.len()).unwrap_or(u64::MAX));
        let mut before = 0;
        for NodeId(id) in nodes {
            put(&mut out, id.wrapping_sub(before));
            before = *id;
        }
    }
    let mut before = 0;
    for (EdgeId(id), counts) in edges {
        put(&mut out, id.wrapping_sub(before));
        before = *id;
        let numbers = fold(*counts).to_array();
        let present = numbers.iter().enumerate().filter(|(_, number)| **number != 0);
        put(&mut out, present.map(|(bit, _)| 1 << bit).sum());
        for number in numbers.into_iter().filter(|number| *number != 0) {
            put(&mut out, number);
        }
    }
    out.into()
}

/// Reads a step: the edges, after who is known.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    before: u64,
}

impl<'a> Reader<'a> {
    /// Who is known, and the rest.
    #[must_use]
    pub fn new(record: &'a [u8]) -> (Attendance, Self) {
        let mut it = Self { rest: record, before: 0 };
        let known = it.nodes();
        let late = it.nodes();
        (Attendance { known, late }, it)
    }

    fn nodes(&mut self) -> Vec<NodeId> {
        let mut before = 0;
        let mut nodes = Vec::new();
        for _ in 0..self.get().unwrap_or(0) {
            let Some(more) = self.get() else { break };
            before = more.wrapping_add(before);
            nodes.push(NodeId(before));
        }
        nodes
    }

    fn get(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl Iterator for Reader<'_> {
    type Item = (EdgeId, Counts);

    fn next(&mut self) -> Option<Self::Item> {
        self.before = self.get()?.wrapping_add(self.before);
        let present = self.get()?;
        let mut numbers = [0; NUMBERS];
        for (bit, number) in numbers.iter_mut().enumerate() {
            if present >> bit & 1 == 1 {
                *number = self.get()?;
            }
        }
        Some((EdgeId(self.before), unfold(Counts::from_array(numbers))))
    }
}

/// LEB128.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// Small numbers for small differences, whichever is larger.
const fn zigzag(is: u64, expected: u64) -> u64 {
    let difference = is.wrapping_sub(expected).cast_signed();
    (difference << 1 ^ difference >> 63).cast_unsigned()
}

const fn unzigzag(value: u64, expected: u64) -> u64 {
    (value >> 1 ^ (value & 1).wrapping_neg()).wrapping_add(expected)
}

fn causes(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
}

/// A connection that was tried is open or has failed; one that was opened is closed soon; each
/// failure and each refusal has a cause.
fn fold(it: Counts) -> Counts {
    Counts {
        attempts: zigzag(it.attempts, it.opened.wrapping_add(it.failed)),
        closed: zigzag(it.closed, it.opened),
        failed: zigzag(it.failed, causes(&it.failures)),
        refused: zigzag(it.refused, causes(&it.refusals)),
        ..it
    }
}

fn unfold(it: Counts) -> Counts {
    let failed = unzigzag(it.failed, causes(&it.failures));
    Counts {
        attempts: unzigzag(it.attempts, it.opened.wrapping_add(failed)),
        closed: unzigzag(it.closed, it.opened),
        failed,
        refused: unzigzag(it.refused, causes(&it.refusals)),
        ..it
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts() -> impl Strategy<Value = Counts> {
        let number = prop_oneof![Just(0), 0..200_u64, any::<u64>()];
        let numbers = prop::collection::vec(number, NUMBERS);
        numbers.prop_map(|numbers| Counts::from_array(numbers.try_into().unwrap()))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            edges in prop::collection::btree_map(any::<u64>().prop_map(EdgeId), counts(), 0..20),
            known in prop::collection::btree_set(any::<u64>(), 0..5),
            late in prop::collection::btree_set(0..9_u64, 0..5),
        ) {
            let attendance = Attendance {
                known: known.into_iter().map(NodeId).collect(),
                late: late.into_iter().map(NodeId).collect(),
            };
            let record = encode(&attendance, &edges);
            let (read, rest) = Reader::new(&record);
            prop_assert_eq!(read, attendance);
            prop_assert_eq!(rest.collect::<BTreeMap<_, _>>(), edges);
        }
    }

    #[test]
    fn a_busy_edge_takes_few_bytes() {
        let counts = Counts {
            attempts: 90,
            opened: 90,
            closed: 88,
            bytes_sent: 40_000,
            bytes_received: 900_000,
            rtt_us: 9_000,
            duration_us: 1_800_000,
            ..Counts::default()
        };
        let record = encode(&Attendance::default(), &BTreeMap::from([(EdgeId(7), counts)]));
        assert_eq!(record.len(), 2 + 1 + 2 + 1 + 1 + 3 + 3 + 2 + 3);
    }
}
