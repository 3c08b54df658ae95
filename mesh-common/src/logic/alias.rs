//! Alias tables (A. J. Walker; construction by M. D. Vose, IEEE TSE 17(9), 1991): exact weighted
//! choice in one lookup, with as many slots as there are backends.

use alloc::vec::Vec;

/// One entry: positions into the weights that the table was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Taken when the fraction is below `threshold`.
    pub primary: usize,
    /// Taken otherwise.
    pub alias: usize,
    /// In units of 2^-32.
    pub threshold: u32,
}

/// Largest weight; the sum over 2^32 weights still fits the arithmetic.
pub const MAX_WEIGHT: u64 = 1 << 62;

/// Builds the table. Positions with weight 0 get no entry and are never chosen. Empty where all
/// weights are 0.
///
/// The share of each position is its weight over the sum, within 2^-32 per entry. The result
/// depends on the weights alone, so equal configurations give equal tables.
#[must_use]
pub fn build(weights: &[u64]) -> Vec<Entry> {
    let positions: Vec<usize> =
        weights.iter().enumerate().filter(|(_, weight)| **weight != 0).map(|(at, _)| at).collect();
    let count = positions.len() as u128;
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();

    // Scaled so that the average is `total`: below it a slot needs an alias, above it is one.
    let mut small: Vec<(usize, u128)> = Vec::new();
    let mut large: Vec<(usize, u128)> = Vec::new();
    for (at, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0).rev() {
        let scaled = u128::from(*weight).saturating_mul(count);
        if scaled < total {
            small.push((at, scaled));
        } else {
            large.push((at, scaled));
        }
    }

    let mut entries = Vec::with_capacity(positions.len());
    while let Some((at, scaled)) = small.pop() {
        let Some((alias, rest)) = large.pop() else {
            entries.push(whole(at));
            continue;
        };
        entries.push(Entry { primary: at, alias, threshold: threshold(scaled, total) });
        let rest = rest.saturating_sub(total.saturating_sub(scaled));
        if rest < total {
            small.push((alias, rest));
        } else {
            large.push((alias, rest));
        }
    }
    entries.extend(large.into_iter().rev().map(|(at, _)| whole(at)));
    entries
}

/// A slot of one backend only: both ways lead to it.
const fn whole(at: usize) -> Entry {
    Entry { primary: at, alias: at, threshold: u32::MAX }
}

/// `scaled / total` in units of 2^-32, rounded to nearest. `scaled` is below `total`.
fn threshold(scaled: u128, total: u128) -> u32 {
    // Drop low bits that the result cannot show, so that the shift does not overflow.
    let excess = (128 - scaled.leading_zeros()).saturating_sub(90);
    let (scaled, total) = (scaled >> excess, (total >> excess).max(1));
    let quotient = ((scaled << 32) + total / 2) / total;
    u32::try_from(quotient).unwrap_or(u32::MAX)
}
