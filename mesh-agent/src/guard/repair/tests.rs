//! What is put right, and what is left alone.

use std::collections::HashSet;
use std::time::Duration;

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnFlags, ConnRecord, Stage};
use mesh_common::logic::{breaker, load};
use mesh_common::policy::{Policy, Thresholds};
use mesh_common::service::ServiceIndex;
use proptest::prelude::*;

use super::apply::{correct, release};
use super::leak::{Entry, Leaks};
use super::surplus::{Surplus, Wrong, sums};
use super::*;
use crate::maps::guards::{GuardStore as _, Word};
use crate::maps::memory::guards::MemoryGuards;

const SERVICE: ServiceIndex = ServiceIndex { index: 3 };
const BACKEND: BackendIndex = BackendIndex { index: 7 };

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn entry(cookie: u64, stage: Stage, started: Duration) -> Entry {
    let record = ConnRecord {
        service: SERVICE,
        backend: BACKEND,
        generation: 5,
        stage,
        flags: ConnFlags::GUARDED.and(ConnFlags::ACTIVE),
        started_ns: u64::try_from(started.as_nanos()).unwrap(),
        ..ConnRecord::default()
    };
    Entry { place: 40, cookie, record }
}

#[test]
fn a_record_is_lost_after_two_looks_without_its_socket() {
    let lost = [entry(1, Stage::OPEN, seconds(0)), entry(2, Stage::CONNECTING, seconds(0))];
    let nobody = HashSet::new();
    let mut leaks = Leaks::default();
    assert_eq!(leaks.look(seconds(9), &lost, Some(&nobody)), [], "too young");
    assert_eq!(leaks.look(seconds(10), &lost, Some(&nobody)), []);
    assert_eq!(leaks.look(seconds(19), &lost, Some(&nobody)), [], "too early");
    assert_eq!(leaks.look(seconds(25), &lost, None), [], "a look in vain");
    // One of them has turned up.
    assert_eq!(leaks.look(seconds(26), &lost, Some(&HashSet::from([2]))), [lost[0]]);
    assert_eq!(leaks.look(seconds(27), &lost[1..], Some(&nobody)), []);
    assert_eq!(leaks.look(seconds(37), &lost[1..], Some(&nobody)), [lost[1]]);
}

#[test]
fn a_socket_that_was_given_a_backend_has_a_minute_to_connect() {
    let chosen = [entry(1, Stage::CHOSEN, Duration::ZERO)];
    let mut leaks = Leaks::default();
    for at in [0, 10, 59] {
        assert_eq!(leaks.look(seconds(at), &chosen, None), []);
    }
    let mut again = chosen;
    again[0].record.generation = 6;
    assert_eq!(leaks.look(seconds(60), &again, None), [], "it was given another");
    assert_eq!(leaks.look(seconds(120), &again, None), again);
}

#[test]
fn a_lost_connection_leaves_loads_trials_and_active_ones() {
    let limits = Thresholds { max_failures: 1, trials: 1, reset_ms: 100, ..Thresholds::default() };
    let mut store = MemoryGuards::default();
    store.set_policy(SERVICE, Policy { backend: limits, ..Policy::default() });
    store.set_generation(BACKEND, 5);
    let open = breaker::settle(
        0,
        &limits,
        breaker::Ticket { round: 0, trial: false },
        breaker::Outcome::Bad,
        1_000,
    );
    let breaker::Admission::Trial(half) = breaker::admit(open, &limits, 1_100) else { panic!() };
    for (word, value) in [
        (Word::ServiceLoad(SERVICE), load::PENDING + load::OPEN),
        (Word::BackendLoad(BACKEND), load::PENDING + load::OPEN),
        (Word::BackendBreaker(BACKEND), half),
        (Word::Active(BACKEND), 2),
    ] {
        store.set(word, value);
    }
    let mut lost = entry(1, Stage::CONNECTING, Duration::ZERO);
    lost.record.flags =
        lost.record.flags.with_ticket(breaker::Ticket { round: breaker::round(half), trial: true });
    release(&store, &lost, 5_000);
    assert_eq!(store.read(Word::ServiceLoad(SERVICE)), load::OPEN);
    assert_eq!(store.read(Word::BackendLoad(BACKEND)), load::OPEN);
    assert_eq!(store.read(Word::Active(BACKEND)), 1);
    assert_eq!(breaker::count(store.read(Word::BackendBreaker(BACKEND))), 0, "may be tried again");
    // A backend that has its index no longer is left alone.
    store.set_generation(BACKEND, 6);
    release(&store, &entry(2, Stage::OPEN, Duration::ZERO), 5_000);
    assert_eq!(store.read(Word::ServiceLoad(SERVICE)), 0);
    assert_eq!(store.read(Word::BackendLoad(BACKEND)), load::OPEN);
    // Nothing goes below 0.
    release(&store, &entry(3, Stage::OPEN, Duration::ZERO), 5_000);
    assert_eq!(store.read(Word::ServiceLoad(SERVICE)), 0);
}

#[test]
fn a_load_is_put_right_after_three_equal_looks_unless_it_moves() {
    let word = Word::ServiceLoad(SERVICE);
    let records = [entry(1, Stage::OPEN, Duration::ZERO), entry(2, Stage::CHOSEN, Duration::ZERO)];
    let sum = sums(&records, |_| true)[&word];
    assert_eq!(sum.load, load::OPEN + load::PENDING);
    let wrong = Wrong { word, is: 5, should: sum.load, print: sum.print };
    let mut surplus = Surplus::default();
    assert_eq!(surplus.look(seconds(1), vec![wrong]), []);
    assert!(!surplus.is_open(), "it may be moving");
    assert_eq!(surplus.look(Duration::from_millis(1_500), vec![wrong]), [], "too early");
    assert_eq!(surplus.look(seconds(2), vec![wrong]), []);
    assert!(surplus.is_open());
    let moved = Wrong { print: 1, ..wrong };
    assert_eq!(surplus.look(seconds(3), vec![moved]), []);
    assert!(!surplus.is_open(), "it has moved");
    assert_eq!(surplus.look(seconds(4), vec![moved]), []);
    assert_eq!(surplus.look(seconds(5), vec![moved]), [moved]);
    assert!(!surplus.is_open());

    let store = MemoryGuards::default();
    let mut repairs = Repairs::default();
    store.set(word, 5);
    assert!(correct(&store, &moved, &mut repairs));
    assert!(!correct(&store, &moved, &mut repairs), "it is another by now");
    assert_eq!((store.read(word), repairs.services), (sum.load, 1));
}

proptest! {
    #[test]
    fn another_record_is_another_print(
        cookies in prop::collection::btree_set(1..u64::MAX, 2..40), place in any::<prop::sample::Index>(),
    ) {
        let entries: Vec<Entry> =
            cookies.iter().map(|cookie| entry(*cookie, Stage::OPEN, Duration::ZERO)).collect();
        let word = Word::BackendLoad(BACKEND);
        let all = sums(&entries, |_| true)[&word];
        let mut other = entries.clone();
        let at = place.index(other.len());
        other[at].record.stage = Stage::CONNECTING;
        prop_assert_ne!(all.print, sums(&other, |_| true)[&word].print);
        other.remove(at);
        prop_assert_ne!(all.print, sums(&other, |_| true)[&word].print);
        other.reverse();
        other.push(entries[at]);
        prop_assert_eq!(all, sums(&other, |_| true)[&word]);
        prop_assert!(!sums(&entries, |_| false).contains_key(&word));
    }
}
