//! Ejections over time.

use proptest::prelude::*;

use super::*;

const POLICY: OutlierPolicy =
    OutlierPolicy { consecutive_failures: 3, base_ms: 100, max_ms: 350, max_ejected: 1 };

fn ejected_for(word: u64, now_ms: u64) -> u64 {
    time(word) - now_ms
}

#[test]
fn each_ejection_takes_longer_and_is_forgotten_after_a_while() {
    let mut word = 0;
    let mut now = 1_000;
    for expected in [100, 200, 300, 350, 350] {
        word = eject(word, &POLICY, now);
        assert_eq!(ejected_for(word, now), expected);
        now = time(word);
        let Admission::Back(back) = admit(word, now) else { panic!("still ejected") };
        word = back;
    }
    // Five ejections; back for three base times.
    word = eject(word, &POLICY, now + 300);
    assert_eq!(ejections(word), 3);
}

/// The word after a failure of now.
fn fail(word: u64) -> u64 {
    failed(word, time(word)).unwrap_or(word)
}

#[test]
fn failures_from_before_the_end_of_an_ejection_say_nothing() {
    let word = eject(fail(0), &POLICY, 1_000);
    assert_eq!(failed(word, 1_050), None);
    let Admission::Back(back) = admit(word, 1_100) else { panic!("still ejected") };
    assert_eq!(failed(back, 999), None);
    assert_eq!(failed(back, 1_099), None);
    assert_eq!(failed(back, 1_100).map(failures), Some(1));
}

#[test]
fn only_failures_in_a_row_count() {
    let mut word = 0;
    for _ in 0..10 {
        word = fail(fail(word));
        assert!(!is_due(word, &POLICY));
        word = succeeded(word);
        assert_eq!(failures(word), 0);
    }
    word = fail(fail(fail(word)));
    assert!(is_due(word, &POLICY));
    let word = eject(word, &POLICY, 5);
    assert!(is_ejected(word) && !is_due(word, &POLICY));
    assert_eq!(admit(word, 104), Admission::Ejected);
    assert_eq!(admit(word, 105), Admission::Back(back(word)));
    assert_eq!(failures(back(word)), 0);
}

proptest! {
    #[test]
    fn every_ejection_ends(
        steps in prop::collection::vec((0..3u8, 0..1_000_000u64), 0..200),
        base in 0..100_000u32,
        max in 0..1_000_000u32,
    ) {
        let policy = OutlierPolicy { base_ms: base, max_ms: max, ..POLICY };
        let (mut word, mut now) = (0, 0);
        for (step, pause) in steps {
            now += pause;
            match step {
                0 => word = failed(word, now).unwrap_or(word),
                1 => word = succeeded(word),
                _ => {
                    word = eject(word, &policy, now);
                    let long = ejected_for(word, now);
                    let base = u64::from(base.max(1));
                    let most = base * MAX_EJECTIONS;
                    let most = if u64::from(max) >= base { most.min(u64::from(max)) } else { most };
                    prop_assert!((base..=most.max(base)).contains(&long));
                }
            }
            if is_ejected(word) {
                prop_assert_eq!(admit(word, time(word)), Admission::Back(back(word)));
            } else {
                prop_assert_eq!(admit(word, now), Admission::Free);
            }
        }
    }
}
