//! Shares as slots, in the way that the algorithm reads them.

use mesh_common::logic::maglev::{Candidate, identity};
use mesh_common::logic::{alias, maglev, round_robin};
use mesh_common::service::Algorithm;

use super::Share;

/// Longest table of [`Algorithm::ROUND_ROBIN`]; short in tests that look at every write.
const TURNS: usize = if cfg!(test) { 16 } else { round_robin::MAX_TURNS };
/// Length of a table of [`Algorithm::MAGLEV`]; short in tests that look at every write.
const MAGLEV_SIZE: usize = if cfg!(test) { 31 } else { maglev::SIZE };

/// A slot, with places in the list of shares where backends will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Taken when the fraction is below `threshold`.
    pub primary: usize,
    /// Taken otherwise.
    pub alias: usize,
    /// In units of 2^-32.
    pub threshold: u32,
}

/// The table of these shares.
#[must_use]
pub fn table(algorithm: Algorithm, shares: &[Share]) -> Vec<Cell> {
    let weights = || shares.iter().map(|share| share.weight).collect::<Vec<u64>>();
    match algorithm {
        Algorithm::ROUND_ROBIN => whole(&round_robin::build(&weights(), TURNS)),
        Algorithm::MAGLEV => {
            let candidates: Vec<Candidate> = shares
                .iter()
                .map(|share| Candidate {
                    identity: identity(&share.addr, share.port),
                    weight: share.weight,
                })
                .collect();
            whole(&maglev::build(&candidates, MAGLEV_SIZE))
        }
        _ => alias::build(&weights())
            .into_iter()
            .map(|alias::Entry { primary, alias, threshold }| Cell { primary, alias, threshold })
            .collect(),
    }
}

/// Slots of one backend each: both ways lead to it.
fn whole(places: &[usize]) -> Vec<Cell> {
    let cell = |at: &usize| Cell { primary: *at, alias: *at, threshold: u32::MAX };
    places.iter().map(cell).collect()
}
