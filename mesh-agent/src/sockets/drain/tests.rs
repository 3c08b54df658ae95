//! The schedule under any course of events.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn id(index: u32) -> BackendId {
    BackendId { index: BackendIndex { index }, generation: 1 }
}

fn removal(index: u32, protocol: Protocol, drain_timeout: Option<Duration>) -> Removal {
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    Removal { backend: id(index), address, protocol, drain_timeout }
}

#[test]
fn datagrams_at_once_streams_after_their_time() {
    let removed = [
        removal(1, Protocol::Udp, None),
        removal(2, Protocol::Tcp, Some(30 * SECOND)),
        removal(3, Protocol::Tcp, None),
    ];
    let mut drain = Drain::default();
    drain.sync(100 * SECOND, &removed);
    assert_eq!(drain.due(100 * SECOND), [removed[0]]);
    assert!(!drain.looked(100 * SECOND, id(1), Look::Done));
    assert_eq!(drain.next(), Some(101 * SECOND));
    drain.looked(101 * SECOND, id(1), Look::Done);
    drain.looked(111 * SECOND, id(1), Look::Done);
    assert_eq!(drain.next(), Some(130 * SECOND));
    assert!(drain.due(Duration::from_nanos(129_999_999_999)).is_empty());
    assert_eq!(drain.due(130 * SECOND), [removed[1]]);
    drain.looked(130 * SECOND, id(2), Look::Impossible);
    assert_eq!(drain.next(), None);
}

#[test]
fn a_changed_timeout_counts_from_the_removal() {
    let mut drain = Drain::default();
    drain.sync(SECOND, &[removal(1, Protocol::Tcp, None)]);
    drain.sync(50 * SECOND, &[removal(1, Protocol::Tcp, Some(60 * SECOND))]);
    assert_eq!(drain.next(), Some(61 * SECOND));
}

#[test]
fn what_comes_back_is_forgotten() {
    let mut drain = Drain::default();
    let removed = [removal(1, Protocol::Tcp, Some(SECOND))];
    drain.sync(Duration::ZERO, &removed);
    drain.sync(SECOND, &[]);
    assert_eq!(drain.next(), None);
    drain.sync(10 * SECOND, &removed);
    assert_eq!(drain.next(), Some(11 * SECOND), "its time begins anew");
}

#[derive(Clone, Debug)]
enum Event {
    Sync(Vec<Removal>),
    /// Seconds pass.
    Wait(u32),
    /// What is due is looked at, with these outcomes in turn.
    Look(Vec<Look>),
}

fn event() -> impl Strategy<Value = Event> {
    let timeout = prop::option::of((0u32..90).prop_map(|seconds| seconds * SECOND));
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let removals = prop::collection::btree_map(0u32..5, (protocol, timeout), 0..5);
    let look = prop_oneof![Just(Look::Done), Just(Look::Failed), Just(Look::Impossible)];
    prop_oneof![
        removals.prop_map(|all| Event::Sync(
            all.into_iter().map(|(index, (p, t))| removal(index, p, t)).collect()
        )),
        (0u32..40).prop_map(Event::Wait),
        prop::collection::vec(look, 1..4).prop_map(Event::Look),
    ]
}

proptest! {
    #[test]
    fn nothing_is_due_early_or_for_ever(events in prop::collection::vec(event(), 0..80)) {
        let mut drain = Drain::default();
        let mut now = Duration::ZERO;
        let mut since: BTreeMap<BackendId, Duration> = BTreeMap::new();
        let mut present: BTreeMap<BackendId, Removal> = BTreeMap::new();
        let mut looks: BTreeMap<BackendId, u32> = BTreeMap::new();
        for event in events {
            match event {
                Event::Sync(removed) => {
                    drain.sync(now, &removed);
                    present = removed.iter().map(|removal| (removal.backend, *removal)).collect();
                    since.retain(|backend, _| present.contains_key(backend));
                    looks.retain(|backend, _| present.contains_key(backend));
                    for backend in present.keys() {
                        since.entry(*backend).or_insert(now);
                    }
                }
                Event::Wait(seconds) => now += seconds * SECOND,
                Event::Look(outcomes) => {
                    let due = drain.due(now);
                    for (removal, look) in due.iter().zip(outcomes.iter().cycle()) {
                        *looks.entry(removal.backend).or_default() += 1;
                        drain.looked(now, removal.backend, *look);
                    }
                }
            }
            let due = drain.due(now);
            prop_assert_eq!(!due.is_empty(), drain.next().is_some_and(|next| next <= now));
            for removal in due {
                prop_assert_eq!(present.get(&removal.backend), Some(&removal));
                if !looks.contains_key(&removal.backend) {
                    let grace = match removal.protocol {
                        Protocol::Udp => Duration::ZERO,
                        Protocol::Tcp => removal.drain_timeout.expect("never without one"),
                    };
                    prop_assert!(now >= since[&removal.backend] + grace);
                }
            }
        }
        let most = 3 * MOST_FAILURES;
        prop_assert!(looks.values().all(|count| *count <= most), "{:?}", looks);
    }

    #[test]
    fn failures_end(failures in 1u32..20) {
        let mut drain = Drain::default();
        drain.sync(Duration::ZERO, &[removal(1, Protocol::Udp, None)]);
        let mut given_up = 0;
        for _ in 0..failures {
            let Some(now) = drain.next() else { break };
            given_up += u32::from(drain.looked(now, id(1), Look::Failed));
        }
        prop_assert_eq!(given_up, u32::from(failures >= MOST_FAILURES));
        prop_assert_eq!(drain.next().is_none(), failures >= MOST_FAILURES);
    }
}
