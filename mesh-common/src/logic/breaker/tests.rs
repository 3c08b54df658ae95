//! The breaker against a model that is written the long way.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const LIMITS: Thresholds = Thresholds {
    max_connections: 0,
    max_pending: 0,
    max_failures: 3,
    trials: 2,
    window_ms: 1_000,
    reset_ms: 500,
};

/// Of a connection that begins in the present round.
const fn free(word: u64) -> Ticket {
    Ticket { round: round(word), trial: false }
}

const fn trial(word: u64) -> Ticket {
    Ticket { round: round(word), trial: true }
}

fn fails(word: u64, now: u64) -> u64 {
    settle(word, &LIMITS, free(word), Outcome::Bad, now)
}

#[test]
fn opens_after_the_failures_within_the_window() {
    let mut word = fails(fails(0, 10), 20);
    assert_eq!((phase(word), count(word)), (Phase::CLOSED, 2));
    // The first is too long ago: the count begins anew.
    word = fails(word, 1_011);
    assert_eq!((phase(word), count(word), since(word)), (Phase::CLOSED, 1, 1_011));
    word = fails(fails(word, 1_012), 1_013);
    assert_eq!((phase(word), since(word)), (Phase::OPEN, 1_013));
    assert_eq!(admit(word, &LIMITS, 1_512), Admission::Refused);
}

#[test]
fn lets_exactly_the_trials_through() {
    let open = fails(fails(fails(0, 0), 0), 0);
    let Admission::Trial(first) = admit(open, &LIMITS, 500) else { panic!("no trial") };
    let Admission::Trial(second) = admit(first, &LIMITS, 501) else { panic!("no second") };
    assert_eq!(admit(second, &LIMITS, 502), Admission::Refused);
    let number = trial(second);
    let half = settle(second, &LIMITS, number, Outcome::Good, 503);
    assert_eq!(phase(half), Phase::HALF_OPEN);
    assert_eq!(admit(half, &LIMITS, 504), Admission::Refused);
    let closed = settle(half, &LIMITS, number, Outcome::Good, 505);
    assert_eq!((phase(closed), admit(closed, &LIMITS, 506)), (Phase::CLOSED, Admission::Free));
    let opened = settle(half, &LIMITS, number, Outcome::Bad, 505);
    assert_eq!((phase(opened), since(opened)), (Phase::OPEN, 505));
    // One that was never begun makes room for another.
    let unused = settle(second, &LIMITS, number, Outcome::Unknown, 503);
    assert!(matches!(admit(unused, &LIMITS, 504), Admission::Trial(_)));
}

#[test]
fn late_outcomes_do_not_touch_a_later_round() {
    let open = fails(fails(fails(0, 0), 0), 0);
    let Admission::Trial(half) = admit(open, &LIMITS, 500) else { panic!("no trial") };
    let late = trial(half);
    let before = free(open);
    let open = settle(half, &LIMITS, late, Outcome::Bad, 600);
    let Admission::Trial(half) = admit(open, &LIMITS, 1_100) else { panic!("no trial") };
    assert_eq!(settle(half, &LIMITS, late, Outcome::Good, 1_101), half);
    assert_eq!(settle(half, &LIMITS, late, Outcome::Bad, 1_101), half);
    assert_eq!(settle(half, &LIMITS, before, Outcome::Bad, 1_101), half);
    // Nor do those of connections from before the opening when it is closed again.
    let Admission::Trial(half) = admit(half, &LIMITS, 1_102) else { panic!("no trial") };
    let good = settle(half, &LIMITS, trial(half), Outcome::Good, 1_103);
    let closed = settle(good, &LIMITS, trial(half), Outcome::Good, 1_103);
    assert_eq!(phase(closed), Phase::CLOSED);
    assert_eq!(settle(closed, &LIMITS, before, Outcome::Bad, 1_104), closed);
    assert_ne!(settle(closed, &LIMITS, free(closed), Outcome::Bad, 1_104), closed);
}

#[test]
fn another_cpu_may_have_read_its_clock_a_moment_later() {
    assert_eq!(count(fails(fails(0, 20), 19)), 2);
    let open = fails(fails(fails(0, 20), 20), 20);
    assert_eq!(admit(open, &LIMITS, 19), Admission::Refused);
    let Admission::Trial(half) = admit(open, &LIMITS, 520) else { panic!("no trial") };
    let Admission::Trial(half) = admit(half, &LIMITS, 519) else { panic!("no second") };
    assert_eq!(admit(half, &LIMITS, 519), Admission::Refused);
}

#[test]
fn lost_trials_are_replaced_after_a_while() {
    let open = fails(fails(fails(0, 0), 0), 0);
    let Admission::Trial(half) = admit(open, &LIMITS, 500) else { panic!("no trial") };
    let Admission::Trial(half) = admit(half, &LIMITS, 500) else { panic!("no trial") };
    assert_eq!(admit(half, &LIMITS, TRIALS_MS + 999), Admission::Refused);
    assert!(matches!(admit(half, &LIMITS, TRIALS_MS + 1_000), Admission::Trial(_)));
}

#[test]
fn a_breaker_that_is_taken_away_lets_everything_through() {
    let open = fails(fails(fails(0, 0), 0), 0);
    let none = Thresholds { max_failures: 0, ..LIMITS };
    assert_eq!(admit(open, &none, 1), Admission::Free);
    assert_eq!(phase(settle(open, &none, free(open), Outcome::Good, 1)), Phase::CLOSED);
}

/// What it should be, without packing.
#[derive(Debug)]
enum Model {
    Closed { failures: Vec<u64> },
    Open { since: u64 },
    HalfOpen { begun: u32, good: u32, round: u64, since: u64 },
}

#[derive(Clone, Debug)]
enum Step {
    Connect,
    /// The end of the n-th connection under way.
    End(prop::sample::Index, Outcome),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Bad),
        3 => Just(Outcome::Good),
        1 => Just(Outcome::Unknown)
    ];
    let step = prop_oneof![
        Just(Step::Connect),
        (any::<prop::sample::Index>(), outcome).prop_map(|(which, how)| Step::End(which, how))
    ];
    prop::collection::vec((0..400u64, step), 0..300)
}

proptest! {
    #[test]
    fn does_what_the_model_does(
        steps in steps(),
        max_failures in 1..6u32,
        trials in 1..5u32,
        start in 0..1u64 << 37,
    ) {
        let limits = Thresholds { max_failures, trials, ..LIMITS };
        let (mut word, mut now, mut round_number) = (0, start, 0);
        let mut model = Model::Closed { failures: Vec::new() };
        let mut under_way: Vec<(u64, bool)> = Vec::new();
        for (pause, step) in steps {
            now += pause;
            match step {
                Step::Connect => {
                    let expected = match &mut model {
                        Model::Closed { .. } => Some(None),
                        Model::Open { since } if now - *since < 500 => None,
                        Model::HalfOpen { begun, round, .. } if *begun < trials => {
                            *begun += 1;
                            Some(Some(*round))
                        }
                        Model::HalfOpen { since, .. } if now - *since < TRIALS_MS + 500 => None,
                        Model::Open { .. } | Model::HalfOpen { .. } => {
                            round_number += 1;
                            model = Model::HalfOpen {
                                begun: 1, good: 0, round: round_number, since: now,
                            };
                            Some(Some(round_number))
                        }
                    };
                    match admit(word, &limits, now) {
                        Admission::Free => prop_assert_eq!(expected, Some(None)),
                        Admission::Refused => prop_assert_eq!(expected, None),
                        Admission::Trial(next) => {
                            word = next;
                            prop_assert_eq!(expected, Some(Some(round_number)));
                            prop_assert_eq!(round(word), round_number % 16);
                        }
                    }
                    if let Some(expected) = expected {
                        under_way.push((round_number, expected.is_some()));
                    }
                }
                Step::End(which, outcome) => {
                    if under_way.is_empty() {
                        continue;
                    }
                    let (began, trial) = under_way.swap_remove(which.index(under_way.len()));
                    let ticket = Ticket { round: began % 16, trial };
                    word = settle(word, &limits, ticket, outcome, now);
                    // Rounds that are 16 apart look the same.
                    under_way.retain(|(began, _)| began + 16 > round_number);
                    match (&mut model, trial, outcome) {
                        (Model::Closed { failures }, false, Outcome::Bad) if began == round_number => {
                            if failures.first().is_some_and(|first| now - first > 1_000) {
                                failures.clear();
                            }
                            failures.push(now);
                            if failures.len() >= usize::try_from(max_failures).unwrap() {
                                model = Model::Open { since: now };
                            }
                        }
                        (Model::HalfOpen { begun, good, round, .. }, true, _)
                            if *round == began =>
                        {
                            match outcome {
                                Outcome::Good => *good += 1,
                                Outcome::Unknown => *begun -= 1,
                                Outcome::Bad => {}
                            }
                            if outcome == Outcome::Bad {
                                model = Model::Open { since: now };
                            } else if *good == trials {
                                model = Model::Closed { failures: Vec::new() };
                            }
                        }
                        _ => {}
                    }
                }
            }
            let same = match &model {
                Model::Closed { failures } => {
                    phase(word) == Phase::CLOSED
                        && count(word) == u64::try_from(failures.len()).unwrap()
                }
                Model::Open { since: moment } => {
                    phase(word) == Phase::OPEN && since(word) == *moment
                }
                Model::HalfOpen { begun, good: fine, .. } => {
                    phase(word) == Phase::HALF_OPEN
                        && (count(word), good(word)) == (u64::from(*begun), u64::from(*fine))
                }
            };
            prop_assert!(same, "{:?} {:#x}", model, word);
        }
    }
}
