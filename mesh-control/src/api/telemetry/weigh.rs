//! How much is in a report, seen from its bytes alone. Pure.

/// Numbers of the fields of `mesh.v1.telemetry`.
const EDGES: u64 = 5;
const MOVES: u64 = 8;
/// Of an edge with its traffic, and of a move.
const TRAFFIC: u64 = 2;
const MOVED: u64 = 3;
/// Of traffic: what is repeated in it.
const FAILURES: u64 = 12;
const REFUSALS: u64 = 13;

/// What a report is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub(super) struct Weight {
    /// Edges, also those that something moves to or from.
    pub(super) edges: usize,
    /// Parts of their counts.
    pub(super) causes: usize,
}

/// Weighs a report.
pub(super) fn weigh(report: &[u8]) -> Result<Weight, &'static str> {
    let mut weight = Weight::default();
    let mut report = Fields(report);
    while let Some((number, field)) = report.next()? {
        let traffic = match number {
            EDGES => {
                weight.edges += 1;
                TRAFFIC
            }
            MOVES => {
                weight.edges += 2;
                MOVED
            }
            _ => continue,
        };
        let mut row = Fields(field);
        while let Some((number, field)) = row.next()? {
            if number == traffic {
                let mut counts = Fields(field);
                while let Some((number, _)) = counts.next()? {
                    weight.causes += usize::from(matches!(number, FAILURES | REFUSALS));
                }
            }
        }
    }
    Ok(weight)
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Number of the next field, and its bytes if it has a length.
    fn next(&mut self) -> Result<Option<(u64, &'a [u8])>, &'static str> {
        const CUT: &str = "the report ends within a field";
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.number().ok_or(CUT)?;
        let field = match key & 7 {
            0 => {
                self.number().ok_or(CUT)?;
                &[]
            }
            1 => self.take(8).ok_or(CUT)?,
            2 => {
                let length = self.number().ok_or(CUT)?;
                self.take(usize::try_from(length).map_err(|_too_long| CUT)?).ok_or(CUT)?
            }
            5 => self.take(4).ok_or(CUT)?,
            _ => return Err("the report has a field of a kind that there is not"),
        };
        Ok(Some((key >> 3, field)))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    /// LEB128.
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::wire::{Cause, Edge, EdgeTraffic, Move, ReportTrafficRequest, Traffic};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn traffic(causes: usize) -> Traffic {
        let cause = Cause { name: "refused".to_owned(), count: 300 };
        let mut failures = vec![cause; causes];
        let refusals = failures.split_off(causes / 2);
        Traffic { opened: 5, failures, refusals, ..Traffic::default() }
    }

    proptest! {
        #[test]
        fn what_is_in_a_report_is_counted(
            edges in prop::collection::vec(0..4_usize, 0..20),
            moves in prop::collection::vec(0..4_usize, 0..5),
            cut in 1..20_usize,
        ) {
            let edge = || Some(Edge { service: "web".to_owned(), ..Edge::default() });
            let row = |causes: &usize| EdgeTraffic { edge: edge(), traffic: Some(traffic(*causes)) };
            let shift =
                |causes: &usize| Move { from: edge(), into: edge(), traffic: Some(traffic(*causes)) };
            let report = ReportTrafficRequest {
                node: "n1".to_owned(),
                sequence: u64::MAX,
                edges: edges.iter().map(row).collect(),
                moves: moves.iter().map(shift).collect(),
                ..ReportTrafficRequest::default()
            };
            let bytes = report.encode_to_vec();
            let expected = Weight {
                edges: edges.len() + 2 * moves.len(),
                causes: edges.iter().chain(&moves).sum(),
            };
            prop_assert_eq!(weigh(&bytes), Ok(expected));
            // Whatever it says, it ends.
            let less = weigh(&bytes[..bytes.len() - cut.min(bytes.len())]);
            prop_assert!(less.is_err() || less <= Ok(expected));
        }
    }

    #[test]
    fn what_is_cut_is_refused() {
        let edge = EdgeTraffic { edge: None, traffic: Some(traffic(1)) };
        let report = ReportTrafficRequest { edges: vec![edge], ..ReportTrafficRequest::default() };
        let bytes = report.encode_to_vec();
        assert!(weigh(&bytes[..bytes.len() - 1]).is_err());
        assert!(weigh(&[0x2f]).is_err());
        assert_eq!(weigh(&[]), Ok(Weight::default()));
    }
}
