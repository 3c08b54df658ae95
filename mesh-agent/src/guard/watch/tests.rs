//! A model of the programs changes a word; the ring loses, delays and mixes up what it tells.

use mesh_common::backend::BackendIndex;
use mesh_common::event::EventKind;
use mesh_common::logic::breaker::{Admission, Outcome, Ticket, admit, settle};
use mesh_common::logic::{breaker, outlier};
use mesh_common::policy::{OutlierPolicy, Policy, Thresholds};
use mesh_common::service::ServiceIndex;
use proptest::prelude::*;

use super::*;
use crate::compile::Family;
use crate::guard::directory::{Entry, Holder};
use crate::guard::line::Line;
use crate::guard::states::Phase;

const SERVICE: ServiceIndex = ServiceIndex { index: 3 };
const BACKEND: BackendIndex = BackendIndex { index: 7 };
const MS: u64 = 1_000_000;

/// Of a connection that begins now.
const fn ticket(word: u64, trial: bool) -> Ticket {
    Ticket { round: breaker::round(word), trial }
}

const LIMITS: Thresholds = Thresholds {
    max_connections: 0,
    max_pending: 0,
    max_failures: 2,
    trials: 1,
    window_ms: 10_000,
    reset_ms: 100,
};
const OUTLIER: OutlierPolicy =
    OutlierPolicy { consecutive_failures: 2, base_ms: 30_000, max_ms: 60_000, max_ejected: 1 };

fn directory() -> Directory {
    let policy = Policy { service: LIMITS, backend: LIMITS, outlier: OUTLIER, ..Policy::default() };
    let endpoint = "one".parse().unwrap();
    let entry = Entry {
        index: SERVICE,
        name: "default/web".parse().unwrap(),
        port: 80,
        family: Family::V4,
        percentage: None,
        policy,
        backends: vec![Holder { index: BACKEND, generation: 5, endpoint }],
    };
    Directory { services: vec![entry], counts_active: false }
}

fn said(changes: &[Change]) -> Vec<String> {
    let directory = directory();
    let entry = directory.find(SERVICE).unwrap();
    changes.iter().map(|change| Line::of(entry, change).message).collect()
}

fn transition(key: Key, time_ns: u64, before: u64, after: u64) -> Transition {
    let kind = if key.what == What::Breaker { EventKind::BREAKER } else { EventKind::OUTLIER };
    let generation = if key.backend == BACKEND { 5 } else { 0 };
    Transition {
        kind,
        service: key.service,
        backend: key.backend,
        generation,
        time_ns,
        before,
        after,
    }
}

fn watch() -> Watch {
    let mut watch = Watch::default();
    assert_eq!(watch.sync(&directory(), 0, |_| 0), (Vec::new(), Vec::new()));
    watch
}

#[test]
fn a_breaker_is_told_in_words() {
    let key = Key::breaker(SERVICE, BackendIndex::NONE);
    let mut watch = watch();
    let failing = settle(0, &LIMITS, ticket(0, false), Outcome::Bad, 1_000);
    let open = settle(failing, &LIMITS, ticket(failing, false), Outcome::Bad, 1_001);
    let Admission::Trial(half) = admit(open, &LIMITS, 1_200) else { panic!("{open:x}") };
    let closed = settle(half, &LIMITS, ticket(half, true), Outcome::Good, 1_201);
    let mut lines = said(&watch.hear(vec![transition(key, 1_001 * MS, failing, open)]));
    assert_eq!(watch.standing().count(), 1);
    // In one batch, and the wrong way round.
    let both =
        vec![transition(key, 1_200 * MS, half, closed), transition(key, 1_201 * MS, open, half)];
    lines.extend(said(&watch.hear(both)));
    let expected = [
        "2 failed connects within 10s: breaker open for 100ms",
        "half-open: 1 trial",
        "closed: 1 trial succeeded",
    ];
    assert_eq!(lines, expected);
    assert_eq!(watch.look(2_000 * MS, |_| 0), [], "the first look suspects only");
}

#[test]
fn an_ejection_is_told_in_words_and_one_that_the_ring_lost_as_well() {
    let key = Key::outlier(SERVICE, BACKEND);
    let mut watch = watch();
    let failed = outlier::failed(0, 0).and_then(|word| outlier::failed(word, 0)).unwrap();
    let ejected = outlier::eject(failed, &OUTLIER, 90_000);
    let lines = said(&watch.hear(vec![transition(key, 90_000 * MS, failed, ejected)]));
    assert_eq!(lines, ["ejected for 30s (1. ejection): 2 failed connects in a row"]);
    assert_eq!(watch.ejected().collect::<Vec<_>>(), [(key, 5, 120_000)]);
    let back = outlier::back(ejected);
    let read = |word: u64| move |at: Key| if at == key { word } else { 0 };
    assert_eq!(watch.look(121_000 * MS, read(back)), []);
    assert_eq!(said(&watch.look(121_250 * MS, read(back))), ["back"]);
    assert_eq!(watch.look(121_500 * MS, read(back)), []);
    // What the ring tells too late is known.
    assert_eq!(watch.hear(vec![transition(key, 120_500 * MS, ejected, back)]), []);
    assert_eq!(watch.ejected().count(), 0);
}

#[test]
fn what_was_before_the_first_look_is_told_and_what_is_left_is_handed_out() {
    let key = Key::outlier(SERVICE, BACKEND);
    let ejected = outlier::eject(2, &OUTLIER, 1_000);
    let mut watch = Watch::default();
    let (found, left) =
        watch.sync(&directory(), 5_000 * MS, |at| if at == key { ejected } else { 0 });
    assert_eq!(said(&found), ["ejected for 26s (1. ejection): 2 failed connects in a row"]);
    assert_eq!(left, []);
    let (found, left) = watch.sync(&Directory::default(), 6_000 * MS, |_| 0);
    assert_eq!((found, left), (Vec::new(), vec![(key, 5)]));
}

#[test]
fn an_earlier_holder_of_the_index_is_not_heard() {
    let key = Key::outlier(SERVICE, BACKEND);
    let mut told = transition(key, MS, 2, outlier::eject(2, &OUTLIER, 1));
    told.generation = 4;
    assert_eq!(watch().hear(vec![told]), []);
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Fail,
    Succeed,
    Connect,
    Wait(u64),
    /// What the ring holds arrives, but for some that are lost.
    Arrive(u8),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            3 => Just(Step::Fail),
            2 => Just(Step::Succeed),
            3 => Just(Step::Connect),
            2 => (1..200u64).prop_map(Step::Wait),
            2 => any::<u8>().prop_map(Step::Arrive),
            2 => Just(Step::Look),
        ],
        0..80,
    )
}

proptest! {
    #[test]
    fn each_change_is_told_once_and_what_lasts_is_never_lost(steps in steps()) {
        let key = Key::breaker(SERVICE, BACKEND);
        let state = |word| State::of(What::Breaker, word);
        let mut watch = watch();
        let (mut word, mut now_ms) = (0, 1_000);
        let (mut ring, mut told) = (Vec::new(), Vec::new());
        // All states that there were, in order.
        let mut were = vec![state(0)];
        for step in steps {
            let before = word;
            let trial = ticket(word, breaker::phase(word) == breaker::Phase::HALF_OPEN);
            match step {
                Step::Fail => word = settle(word, &LIMITS, trial, Outcome::Bad, now_ms),
                Step::Succeed => word = settle(word, &LIMITS, trial, Outcome::Good, now_ms),
                Step::Connect => if let Admission::Trial(after) = admit(word, &LIMITS, now_ms) {
                    word = after;
                },
                Step::Wait(ms) => now_ms += ms,
                Step::Arrive(lost) => {
                    let kept = ring.drain(..).enumerate();
                    let kept = kept.filter(|(at, _)| lost >> (at % 8) & 1 == 0);
                    told.extend(watch.hear(kept.map(|(_, it)| it).collect()));
                }
                Step::Look => told.extend(watch.look(now_ms * MS, |at| if at == key { word } else { 0 })),
            }
            if state(before) != state(word) {
                were.push(state(word));
                ring.push(transition(key, now_ms * MS, before, word));
            }
            now_ms += 1;
        }
        for _ in 0..2 {
            told.extend(watch.look(now_ms * MS, |at| if at == key { word } else { 0 }));
            now_ms += 1;
        }
        // Every change goes on where the one before ended, forward through what there was.
        let mut at = 0;
        for change in &told {
            prop_assert_eq!(change.before, were[at]);
            let next = were[at + 1..].iter().position(|it| *it == change.after);
            let next = next.map(|next| at + 1 + next);
            prop_assert!(next.is_some(), "{:?} was not, or was told before", change);
            at = next.unwrap();
        }
        prop_assert_eq!(were[at], state(word));
        prop_assert_eq!(watch.hear(ring), [], "told twice");
        let open = matches!(state(word), State::Breaker { phase: Phase::Open, .. });
        let standing = watch.standing().find(|it| it.key == key);
        prop_assert!(!open || standing.is_some_and(|it| !it.state.is_quiet()));
    }
}
