//! The schedule against a simulated clock: rhythm, bounds, no bursts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const STEADY: Rhythm = Rhythm { interval: SECOND, jitter_percent: 0 };

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn all(schedule: &mut Schedule, now: Duration) -> Vec<CheckId> {
    std::iter::from_fn(|| schedule.pop(now, || 0.5)).map(|due| due.check).collect()
}

#[test]
fn a_late_beginning_does_not_move_the_next() {
    let mut schedule = Schedule::new(8);
    let id = schedule.insert(STEADY, ms(0), 0.25);
    assert_eq!(schedule.next_due(), Some(ms(250)));
    assert_eq!(schedule.pop(ms(249), || 0.0), None);
    assert_eq!(schedule.pop(ms(600), || 0.0), Some(Due { check: id, late: ms(350) }));
    schedule.done(id);
    assert_eq!(schedule.next_due(), Some(ms(1250)));
}

#[test]
fn a_long_interval_does_not_delay_the_first_check() {
    let mut schedule = Schedule::new(8);
    schedule.insert(Rhythm { interval: SECOND * 3600, jitter_percent: 50 }, ms(0), 1.0);
    assert_eq!(schedule.next_due(), Some(FIRST_WITHIN));
}

#[test]
fn a_check_under_way_is_not_begun_again() {
    let mut schedule = Schedule::new(8);
    let id = schedule.insert(STEADY, ms(0), 0.0);
    assert_eq!(all(&mut schedule, ms(0)), [id]);
    assert_eq!(all(&mut schedule, ms(1000)), []);
    assert_eq!(schedule.take_skipped(), Skipped { busy: 1, missed: 0 });
    schedule.done(id);
    assert_eq!(all(&mut schedule, ms(2000)), [id]);
}

#[test]
fn no_burst_follows_a_suspend() {
    let mut schedule = Schedule::new(10_000);
    for number in 0..1_000 {
        schedule.insert(STEADY, ms(0), f64::from(number) / 1_000.0);
    }
    // Nobody asks for an hour.
    let now = SECOND * 3601;
    let mut random = 0;
    let mut spread = || {
        random += 1;
        f64::from(random % 1_000) / 1_000.0
    };
    assert!(schedule.pop(now, &mut spread).is_none_or(|due| due.late < ms(2)));
    let skipped = schedule.take_skipped();
    assert!((3_598_000..=3_601_000).contains(&skipped.missed), "{skipped:?}");
    let soon = std::iter::from_fn(|| schedule.pop(now + ms(100), &mut spread)).count();
    assert!((90..=110).contains(&soon), "{soon} within a tenth of the interval");
}

#[test]
fn no_more_than_the_permits_are_under_way() {
    let mut schedule = Schedule::new(3);
    let ids: Vec<_> = (0..5).map(|_| schedule.insert(STEADY, ms(0), 0.0)).collect();
    let begun = all(&mut schedule, ms(10));
    assert_eq!((begun.len(), schedule.next_due()), (3, None));
    schedule.done(begun[0]);
    assert_eq!(schedule.next_due(), Some(ms(0)));
    // Removed while it is under way: its permit comes back when it is done.
    schedule.remove(begun[1]);
    assert_eq!(all(&mut schedule, ms(20)).len(), 1);
    assert_eq!(schedule.next_due(), None);
    schedule.done(begun[1]);
    assert_eq!(all(&mut schedule, ms(30)).len(), 1);
    assert_eq!(schedule.len(), ids.len() - 1);
}

#[test]
fn what_is_removed_leaves_no_beats_behind() {
    let mut schedule = Schedule::new(3);
    let long = Rhythm { interval: SECOND * 3600, jitter_percent: 0 };
    for _ in 0..10_000 {
        let id = schedule.insert(long, ms(0), 1.0);
        schedule.retime(id, STEADY, ms(0), 1.0);
        schedule.remove(id);
    }
    assert!(schedule.heap.len() <= 65 && schedule.checks.len() == 1 && schedule.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u8),
    Remove(usize),
    Retime(usize, u64),
    Done(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (50u64..3_000, 0u8..=50).prop_map(|(interval, jitter)| Step::Insert(interval, jitter)),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => (any::<usize>(), 50u64..3_000).prop_map(|(at, interval)| Step::Retime(at, interval)),
        4 => any::<usize>().prop_map(Step::Done),
        6 => (0u64..400).prop_map(Step::Wait),
        1 => (0u64..100_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn bounds_hold_whatever_happens(
        most in 1usize..5,
        steps in proptest::collection::vec(step(), 1..200),
        random in proptest::collection::vec(0.0f64..=1.0, 1..20),
    ) {
        let mut schedule = Schedule::new(most);
        let mut now = Duration::ZERO;
        let mut random = random.into_iter().cycle();
        let mut random01 = || random.next().unwrap();
        let mut live: BTreeMap<CheckId, Rhythm> = BTreeMap::new();
        // When each may begin at the earliest.
        let mut earliest: BTreeMap<CheckId, Duration> = BTreeMap::new();
        let mut under_way: Vec<CheckId> = Vec::new();
        for step in steps {
            let at = |index: usize| live.keys().nth(index % live.len().max(1)).copied();
            match step {
                Step::Insert(interval, jitter_percent) => {
                    let rhythm = Rhythm { interval: ms(interval), jitter_percent };
                    live.insert(schedule.insert(rhythm, now, random01()), rhythm);
                }
                Step::Remove(index) => if let Some(id) = at(index) {
                    schedule.remove(id);
                    live.remove(&id);
                },
                Step::Retime(index, interval) => if let Some(id) = at(index) {
                    let rhythm = Rhythm { interval: ms(interval), jitter_percent: 0 };
                    schedule.retime(id, rhythm, now, random01());
                    live.insert(id, rhythm);
                    earliest.remove(&id);
                },
                Step::Done(index) => if !under_way.is_empty() {
                    let id = under_way.swap_remove(index % under_way.len());
                    schedule.done(id);
                },
                Step::Wait(time) => now += ms(time),
            }
            while let Some(due) = schedule.pop(now, &mut random01) {
                let rhythm = live.get(&due.check).copied();
                prop_assert!(rhythm.is_some(), "a removed check is due");
                let rhythm = rhythm.unwrap();
                prop_assert!(due.late < rhythm.interval, "a missed beat is made up for");
                prop_assert!(!under_way.contains(&due.check), "begun twice");
                prop_assert!(earliest.get(&due.check).is_none_or(|earliest| now >= *earliest));
                let jitter = rhythm.interval * u32::from(rhythm.jitter_percent) / 100;
                let due_at = now.saturating_sub(due.late);
                earliest.insert(due.check, (due_at + rhythm.interval).saturating_sub(jitter));
                under_way.push(due.check);
                prop_assert!(under_way.len() <= most);
            }
            // Whoever sleeps until then misses nothing.
            if under_way.len() < most && !live.is_empty() {
                let next = schedule.next_due();
                prop_assert!(next.is_some_and(|next| next > now));
                prop_assert!(next.unwrap() <= now + ms(10_000));
            }
            prop_assert_eq!(schedule.len(), live.len());
        }
    }
}
