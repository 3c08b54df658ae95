//! The decisions under test: exact shares, every index in range, any weight vector.

#![expect(clippy::cast_precision_loss, reason = "statistics need no more than 52 bits")]

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::alias::{self, Entry};
use super::connect::{belongs, choose, hashed, place, sticks, turn, without_backend};
use crate::addr::IpKey;
use crate::affinity::Affinity;
use crate::backend::{Backend, BackendFlags, BackendIndex};
use crate::reason::Reason;
use crate::service::{Algorithm, ServiceFlags, ServiceHead, ServiceIndex};
use crate::slot::Slot;

const SERVICE: ServiceIndex = ServiceIndex { index: 7 };

fn head(slot_base: u32, slot_count: u32) -> ServiceHead {
    ServiceHead {
        slot_base,
        slot_count,
        generation: 1,
        algorithm: Algorithm::ALIAS,
        flags: ServiceFlags::default(),
        refuse_errno: 113,
        affinity_ms: 0,
    }
}

fn slots(entries: &[Entry]) -> Vec<Slot> {
    let backend = |at: usize| BackendIndex { index: u32::try_from(at + 1).unwrap() };
    entries
        .iter()
        .map(|entry| Slot {
            service: SERVICE,
            backend: backend(entry.primary),
            alias: backend(entry.alias),
            threshold: entry.threshold,
        })
        .collect()
}

/// The position that a random number leads to, by the code that runs in the kernel.
fn pick(slots: &[Slot], random: u32) -> usize {
    let head = head(0, u32::try_from(slots.len()).unwrap());
    let place = place(&head, random).unwrap();
    let slot = &slots[place.slot as usize];
    choose(slot, SERVICE, place.fraction).unwrap().index as usize - 1
}

/// The exact share of each position, from the table alone.
fn shares(entries: &[Entry], positions: usize) -> Vec<f64> {
    let mut shares = vec![0.0; positions];
    for entry in entries {
        let part = if entry.primary == entry.alias {
            1.0
        } else {
            f64::from(entry.threshold) / 2f64.powi(32)
        };
        shares[entry.primary] += part / entries.len() as f64;
        shares[entry.alias] += (1.0 - part) / entries.len() as f64;
    }
    shares
}

fn weights() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        prop::collection::vec(0..10u64, 0..40),
        prop::collection::vec(0..=alias::MAX_WEIGHT, 0..40),
        prop::collection::vec(prop_oneof![Just(0), Just(1), Just(alias::MAX_WEIGHT)], 0..200),
    ]
}

proptest! {
    #[test]
    fn any_weights_give_exact_shares(weights in weights()) {
        let entries = alias::build(&weights);
        let positive = weights.iter().filter(|weight| **weight > 0).count();
        prop_assert_eq!(entries.len(), positive);
        let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
        for (at, share) in shares(&entries, weights.len()).into_iter().enumerate() {
            let wanted = if total > 0.0 { weights[at] as f64 / total } else { 0.0 };
            prop_assert!((share - wanted).abs() < 1e-8, "{at}: {share} instead of {wanted}");
            if weights[at] == 0 {
                prop_assert!(entries.iter().all(|entry| entry.primary != at && entry.alias != at));
            }
        }
    }

    #[test]
    fn every_random_number_leads_to_a_slot_of_the_service(
        base in 0..1u32 << 30,
        count in 1..1u32 << 20,
        random: u32,
    ) {
        let place = place(&head(base, count), random).unwrap();
        prop_assert!((base..base + count).contains(&place.slot));
    }

    #[test]
    fn a_torn_read_is_never_used(service: u32, fraction: u32, threshold: u32) {
        prop_assume!(service != SERVICE.index);
        let slot = Slot {
            service: ServiceIndex { index: service },
            backend: BackendIndex { index: 1 },
            alias: BackendIndex { index: 2 },
            threshold,
        };
        prop_assert_eq!(choose(&slot, SERVICE, fraction), None);
        let backend = Backend {
            addr: IpKey::default(),
            port: 80,
            flags: BackendFlags::default(),
            service: ServiceIndex { index: service },
            generation: 1,
        };
        prop_assert!(!belongs(&backend, SERVICE));
    }
}

/// A million picks with a fixed generator: every share within three standard deviations.
#[test]
fn a_million_picks_are_within_three_sigma() {
    for weights in [
        &[1, 5, 94][..],
        &[90, 10],
        &[1, 1, 1, 1, 1, 1, 1],
        &[0, 3, 0, 7],
        &[1, 1_000_000],
        &[alias::MAX_WEIGHT, alias::MAX_WEIGHT / 3],
    ] {
        let slots = slots(&alias::build(weights));
        let mut counts = vec![0u32; weights.len()];
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let picks = 1_000_000;
        for _ in 0..picks {
            // xorshift64*, Marsaglia 2003
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let random = (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
            counts[pick(&slots, random)] += 1;
        }
        let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
        for (weight, count) in weights.iter().zip(counts) {
            let p = *weight as f64 / total;
            let mean = p * f64::from(picks);
            let sigma = (f64::from(picks) * p * (1.0 - p)).sqrt();
            assert!(
                (f64::from(count) - mean).abs() <= 3.0 * sigma,
                "{weights:?}: weight {weight} was picked {count} times, {mean} ± {sigma} expected"
            );
        }
    }
}

#[test]
fn a_service_without_slots_follows_its_flag() {
    let mut head = head(0, 0);
    assert_eq!(place(&head, 1), None);
    assert_eq!(without_backend(&head), Reason::NO_BACKEND_REFUSED);
    head.flags = ServiceFlags::PASS_THROUGH;
    assert_eq!(without_backend(&head), Reason::NO_BACKEND_PASSED);
}

#[test]
fn a_zeroed_slot_is_no_ones() {
    assert_eq!(choose(&Slot::default(), SERVICE, 0), None);
    assert_eq!(choose(&Slot::default(), ServiceIndex::NONE, 0), None);
}

#[test]
fn the_reason_names_a_missing_family() {
    let mut head = head(0, 0);
    head.flags = ServiceFlags::OTHER_FAMILY;
    assert_eq!(without_backend(&head), Reason::OTHER_FAMILY);
    head.flags.bits |= ServiceFlags::PASS_THROUGH.bits;
    assert_eq!(without_backend(&head), Reason::NO_BACKEND_PASSED);
}

proptest! {
    #[test]
    fn turns_walk_over_the_whole_table(base in 0..1u32 << 30, count in 1..1000u32, cursor: u64) {
        let cursor = cursor.min(u64::MAX - u64::from(count));
        let places = (0..u64::from(count)).map(|n| turn(&head(base, count), cursor + n).unwrap());
        let mut slots: Vec<u32> = places.map(|place| place.slot).collect();
        slots.sort_unstable();
        prop_assert_eq!(slots, (base..base + count).collect::<Vec<u32>>());
    }

    /// A chi-squared test over consecutive keys, as cookies are: of a fair hash, one sample in 10^9
    /// fails.
    #[test]
    fn consecutive_clients_are_spread_evenly(first in 0..1u64 << 48) {
        const SLOTS: usize = 101;
        let mut counts = vec![0u32; SLOTS];
        for client in first..first + 10_100 {
            counts[hashed(&head(0, 101), client).unwrap().slot as usize] += 1;
        }
        let chi: f64 = counts.iter().map(|count| (f64::from(*count) - 100.0).powi(2) / 100.0).sum();
        prop_assert!(chi < 210.0, "{chi}");
    }

    #[test]
    fn affinity_holds_for_its_time_only(used_ns in 0..1u64 << 60, ms in 1..1u32 << 30, by: u32) {
        let backend = Backend {
            addr: IpKey::default(),
            port: 80,
            flags: BackendFlags::default(),
            service: SERVICE,
            generation: 3,
        };
        let affinity = Affinity { backend: BackendIndex { index: 1 }, generation: 3, used_ns };
        let limit = u64::from(ms) * 1_000_000;
        let by = u64::from(by);
        let at = |now| sticks(&affinity, &backend, SERVICE, ms, now);
        prop_assert!(at(used_ns + by % limit));
        prop_assert!(!at(used_ns + limit + by));
        let draining = Backend { flags: BackendFlags::DRAINING, ..backend };
        prop_assert!(!sticks(&affinity, &draining, SERVICE, ms, used_ns));
        let other = Backend { generation: 4, ..backend };
        prop_assert!(!sticks(&affinity, &other, SERVICE, ms, used_ns));
    }
}
