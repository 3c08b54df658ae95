//! Tables for choosing one after the other: how many turns each position gets, and in which
//! order, so that turns of one position are spread as evenly as they can be.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// The longest table to use, unless there are more positions than that.
pub const MAX_TURNS: usize = 1024;

/// The table for these weights: positions, in the order of their turns. Positions with weight 0
/// have none. Empty where all weights are 0.
///
/// Where the weights, divided by their greatest common divisor, add up to `most` or less, or
/// are all equal, the shares are exact. Otherwise there are `most` turns, or one for
/// each position if these are more: each share is then within one turn of what its weight says,
/// but for positions that would have none: they get one, and those with the most turns give it.
#[must_use]
pub fn build(weights: &[u64], most: usize) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, gcd);
    if divisor == 0 {
        return Vec::new();
    }
    let turns: u128 = weights.iter().map(|weight| u128::from(weight / divisor)).sum();
    let positive = weights.iter().filter(|weight| **weight > 0).count();
    let longest = most.max(positive);
    let turns = usize::try_from(turns).map_or(longest, |turns| turns.min(longest));
    schedule(&quotas(weights, turns))
}

/// Greatest common divisor (Euclid); of 0 and another number, the other.
#[must_use]
pub const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Deals `turns` out in proportion to the weights, by largest remainders (Hamilton's method), so
/// that each position has its exact share rounded up or down. A position with a positive weight
/// has at least one turn, where there are as many turns as such positions.
#[must_use]
pub fn quotas(weights: &[u64], turns: usize) -> Vec<usize> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if total == 0 {
        return weights.iter().map(|_| 0).collect();
    }
    let mut quotas = Vec::with_capacity(weights.len());
    // What is left of each share; positions in ascending order among equals.
    let mut remainders = Vec::with_capacity(weights.len());
    for (at, weight) in weights.iter().enumerate() {
        let exact = u128::from(*weight).saturating_mul(turns as u128);
        quotas.push(usize::try_from(exact / total).unwrap_or(turns));
        if *weight > 0 {
            remainders.push((Reverse(exact % total), at));
        }
    }
    remainders.sort_unstable();
    let missing = turns.saturating_sub(quotas.iter().sum());
    for (_, at) in remainders.iter().take(missing) {
        if let Some(quota) = quotas.get_mut(*at) {
            *quota += 1;
        }
    }
    for (_, at) in remainders {
        if quotas.get(at) == Some(&0) {
            raise(&mut quotas, at);
        }
    }
    quotas
}

/// Gives one turn of the position with the most to one that has none.
fn raise(quotas: &mut [usize], at: usize) {
    let most = quotas.iter().copied().max().unwrap_or_default();
    if most > 1
        && let Some(giver) = quotas.iter_mut().find(|quota| **quota == most)
    {
        *giver -= 1;
        if let Some(quota) = quotas.get_mut(at) {
            *quota += 1;
        }
    }
}

/// Orders the turns: the k-th of a position with `q` of `L` falls into the window from
/// `floor((k-1) L / q)` to `ceil(k L / q)`, and of those whose window is open, the one that closes
/// first has the turn, or the one that opened first of these. So after any number of turns every position has had its share of them,
/// rounded up or down (P-fairness: Baruah, Cohen, Plaxton, Varvel, Algorithmica 15, 1996; that
/// earliest deadline first meets all windows is Horn 1974). There must be fewer than 2^31 turns.
#[must_use]
pub fn schedule(quotas: &[usize]) -> Vec<usize> {
    let turns: usize = quotas.iter().sum();
    let window = |quota: usize, turn: usize| {
        let opens = turn * turns / quota;
        let closes = ((turn + 1) * turns).div_ceil(quota);
        (opens, closes)
    };
    let mut order = Vec::with_capacity(turns);
    // By when it opens, and by when it closes; the last of these are position and turn.
    let mut waiting = BinaryHeap::new();
    let mut open = BinaryHeap::new();
    for (at, quota) in quotas.iter().enumerate().filter(|(_, quota)| **quota > 0) {
        open.push(Reverse((window(*quota, 0).1, 0, at, 0)));
    }
    for now in 0..turns {
        while let Some(Reverse((opens, closes, at, turn))) = waiting.peek().copied() {
            if opens > now {
                break;
            }
            waiting.pop();
            open.push(Reverse((closes, opens, at, turn)));
        }
        let Some(Reverse((_, _, at, turn))) = open.pop() else {
            continue;
        };
        order.push(at);
        let quota = quotas.get(at).copied().unwrap_or_default();
        if turn + 1 < quota {
            let (opens, closes) = window(quota, turn + 1);
            waiting.push(Reverse((opens, closes, at, turn + 1)));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(build(&[7, 7, 0, 7], MAX_TURNS), [0, 1, 3]);
        assert_eq!(build(&vec![3; 5000], MAX_TURNS).len(), 5000);
    }

    #[test]
    fn turns_of_one_position_are_spread() {
        assert_eq!(build(&[2, 1], MAX_TURNS), [0, 1, 0]);
        let table = build(&[4, 1, 1, 1, 1], MAX_TURNS);
        assert!(table.windows(2).all(|pair| pair != [0, 0]), "{table:?}");
        assert_eq!(build(&[0, 0], MAX_TURNS), Vec::<usize>::new());
    }

    fn weights() -> impl Strategy<Value = Vec<u64>> {
        prop_oneof![
            prop::collection::vec(0..10u64, 1..60),
            prop::collection::vec(0..1u64 << 62, 1..60),
            prop::collection::vec(prop_oneof![Just(1), Just(1u64 << 40)], 1..1200),
        ]
    }

    proptest! {
        #[test]
        fn quotas_are_shares_rounded(weights in weights(), more in 0..2000usize) {
            let positive = weights.iter().filter(|weight| **weight > 0).count();
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            prop_assume!(total > 0);
            let turns = positive + more;
            let quotas = quotas(&weights, turns);
            prop_assert_eq!(quotas.iter().sum::<usize>(), turns);
            let tiny = weights.iter().any(|weight| {
                *weight > 0 && u128::from(*weight) * (turns as u128) < total
            });
            for (weight, quota) in weights.iter().zip(quotas) {
                prop_assert_eq!(*weight > 0, quota > 0);
                let exact = u128::from(*weight) * turns as u128;
                if !tiny {
                    let (quota, one) = (quota as u128 * total, total);
                    prop_assert!(quota < exact + one && exact < quota + one);
                }
            }
        }

        /// At any moment, nobody is a whole turn ahead or behind.
        #[test]
        fn after_any_number_of_turns_all_have_had_their_share(weights in weights()) {
            let table = build(&weights, MAX_TURNS);
            let turns = table.len();
            let mut quotas = vec![0usize; weights.len()];
            for at in &table {
                quotas[*at] += 1;
            }
            let mut had = vec![0usize; weights.len()];
            for (now, at) in table.iter().enumerate() {
                had[*at] += 1;
                let share = quotas[*at] * (now + 1);
                prop_assert!(had[*at] * turns < share + turns);
                if now % 7 == 0 {
                    for (had, quota) in had.iter().zip(&quotas) {
                        let share = quota * (now + 1);
                        prop_assert!(had * turns < share + turns && share < had * turns + turns);
                    }
                }
            }
            prop_assert_eq!(had, quotas);
        }
    }
}
