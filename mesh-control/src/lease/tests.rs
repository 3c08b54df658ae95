//! Leases against a model that looks at every lease at every step.

use proptest::prelude::*;

use super::*;

fn name(at: u8) -> ObjectName {
    format!("shop/e-{at}").parse().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Option<u64>),
    Heartbeat(u8),
    Remove(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8, proptest::option::of(1..20_u64)).prop_map(|(at, ttl)| Step::Set(at, ttl)),
        (0..6_u8).prop_map(Step::Heartbeat),
        (0..6_u8).prop_map(Step::Remove),
        (0..15_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn exactly_the_overdue_expire(steps in prop::collection::vec(step(), 0..60)) {
        let mut now = Instant::now();
        let mut leases = Leases::default();
        // Name → (ttl, last sign of life).
        let mut model: BTreeMap<u8, (Duration, Instant)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Set(at, ttl) => {
                    let ttl = ttl.map(Duration::from_secs);
                    leases.set(&name(at), ttl, now);
                    match ttl {
                        Some(ttl) => drop(model.insert(at, (ttl, now))),
                        None => drop(model.remove(&at)),
                    }
                }
                Step::Heartbeat(at) => {
                    let known = model.get_mut(&at).map(|lease| {
                        lease.1 = now;
                        lease.0
                    });
                    prop_assert_eq!(leases.heartbeat(&name(at), now), known);
                }
                Step::Remove(at) => {
                    leases.remove(&name(at));
                    model.remove(&at);
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    let mut expired = leases.take_expired(now);
                    expired.sort();
                    let over = |lease: &(Duration, Instant)| lease.1 + lease.0 <= now;
                    let expected: Vec<ObjectName> = model
                        .iter()
                        .filter(|(_, lease)| over(lease))
                        .map(|(at, _)| name(*at))
                        .collect();
                    prop_assert_eq!(expired, expected);
                    model.retain(|_, lease| !over(lease));
                }
            }
            let next = model.values().map(|(ttl, seen)| *seen + *ttl).min();
            prop_assert_eq!(leases.next_deadline(), next);
            prop_assert_eq!(leases.len(), model.len());
        }
    }
}

#[test]
fn sync_keeps_running_leases_and_starts_new_ones() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut leases = Leases::default();
    leases.set(&name(1), Some(10 * second), start);
    leases.set(&name(2), Some(10 * second), start);
    let later = start + 5 * second;
    let endpoints = [(name(1), Some(10 * second)), (name(3), Some(10 * second)), (name(4), None)];
    leases.sync(endpoints.into_iter(), later);
    assert_eq!(leases.len(), 2);
    assert_eq!(leases.take_expired(start + 10 * second), [name(1)]);
    assert_eq!(leases.take_expired(start + 14 * second), []);
    assert_eq!(leases.take_expired(later + 10 * second), [name(3)]);
    assert!(leases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_book_wakes_for_a_sooner_deadline() {
    let book = std::sync::Arc::new(LeaseBook::default());
    let waiting = std::sync::Arc::clone(&book);
    let due = tokio::spawn(async move { waiting.due().await });
    tokio::task::yield_now().await;
    book.lock().set(&name(1), Some(Duration::ZERO), Instant::now());
    book.announce();
    due.await.unwrap();
}
