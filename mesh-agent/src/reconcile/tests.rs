//! The order of writes as a theorem: whatever a `connect()` sees between any two of them is the
//! old or the new state, also when an operation fails, and the maps always get to the world.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_common::frontend::FrontendKey;
use mesh_common::reason::Reason;
use proptest::prelude::*;

use super::*;
use crate::maps::Held;
use crate::maps::faulty::FaultyMaps;
use crate::maps::memory::{MemoryMaps, Outcome, Reader};
use crate::testing::{LIMITS, changes, endpoint, name, put, service, world};

/// Any moment: nothing here has open connections.
const NOW: Duration = Duration::ZERO;

fn fresh(world: &World) -> Reconciler<MemoryMaps> {
    let mut reconciler = Reconciler::open(MemoryMaps::new(LIMITS), Journal::in_memory()).unwrap();
    reconciler.change(changes(&World::default(), world));
    reconciler.install(1).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler
}

/// Everything a `connect()` to `key` can end with, backends by address.
fn possible(image: &MapImage, key: &FrontendKey) -> BTreeSet<String> {
    let Some(head) = image.frontends.get(key).and_then(|at| image.services.get(at)) else {
        return [describe(Outcome::Other(Reason::NOT_A_SERVICE))].into();
    };
    if head.slot_count == 0 {
        let reason = mesh_common::logic::connect::without_backend(head);
        return [describe(Outcome::Other(reason))].into();
    }
    image
        .table(head)
        .flat_map(|slot| [slot.backend, slot.alias])
        .map(|index| describe(Outcome::Backend(image.backends[&index])))
        .collect()
}

fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::Backend(backend) => crate::image::Address(&backend.addr, backend.port).to_string(),
        Outcome::Other(reason) => format!("{reason:?}"),
    }
}

const FIRST: BackendIndex = BackendIndex { index: 1 };

/// A service with one endpoint, whose connections are counted so far.
fn counted(counters: BackendCounters) -> Reconciler<MemoryMaps> {
    let mut reconciler = Reconciler::open(MemoryMaps::new(LIMITS), Journal::in_memory()).unwrap();
    reconciler.change([put(service("a", &[1], &[80])), put(endpoint("a", "v1", 1, 1))]);
    reconciler.install(1).unwrap();
    reconciler.maps_mut().count(FIRST, counters);
    reconciler
}

fn remove_endpoint() -> Change {
    use mesh_api::model::{Kind, ObjectRef};

    Change::Remove(ObjectRef { kind: Kind::Endpoint, name: name("a-v1-1") })
}

/// Opened connections by version.
fn opened(reconciler: &Reconciler<MemoryMaps>) -> Vec<(String, u64)> {
    let totals = reconciler.totals().unwrap();
    let version = |account: Account| account.version.map(|v| v.to_string()).unwrap_or_default();
    totals.into_iter().map(|(name, counters)| (version(name), counters.opened)).collect()
}

#[test]
fn an_endpoint_replaced_at_its_address_starts_from_zero() {
    let five = BackendCounters { opened: 5, closed: 5, ..BackendCounters::default() };
    let mut reconciler = counted(five);
    reconciler.change([remove_endpoint(), put(endpoint("a", "v2", 1, 1))]);
    reconciler.install(2).unwrap();
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 5), ("v2".to_owned(), 0)]);
    reconciler.maps_mut().count(FIRST, BackendCounters { opened: 7, closed: 7, ..five });
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 5), ("v2".to_owned(), 2)]);
}

#[test]
fn a_backend_stays_until_its_last_connection_ends() {
    let open = BackendCounters { attempts: 2, opened: 2, closed: 1, ..BackendCounters::default() };
    let mut reconciler = counted(open);
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    assert!(reconciler.actual().backends.contains_key(&FIRST));
    reconciler.maps_mut().count(FIRST, BackendCounters { closed: 2, ..open });
    reconciler.retire(NOW).unwrap();
    assert!(!reconciler.actual().backends.contains_key(&FIRST));
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 2)]);

    // Whoever gets the entry next begins at 0.
    reconciler.change([put(endpoint("a", "v2", 2, 1))]);
    reconciler.install(3).unwrap();
    let more = BackendCounters { opened: 5, closed: 5, ..open };
    reconciler.maps_mut().count(FIRST, more);
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 2), ("v2".to_owned(), 3)]);
}

#[test]
fn a_connect_under_way_is_waited_for_but_not_for_ever() {
    let mut reconciler = counted(BackendCounters { attempts: 1, ..BackendCounters::default() });
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler.retire(NOW + CONNECTING / 2).unwrap();
    assert!(reconciler.actual().backends.contains_key(&FIRST));
    reconciler.retire(NOW + CONNECTING).unwrap();
    assert!(!reconciler.actual().backends.contains_key(&FIRST));
}

/// All operations of a change, as the maps get them.
#[derive(Default)]
struct Recorder {
    ops: std::cell::RefCell<Vec<MapOp>>,
}

struct Recording<'a> {
    maps: MemoryMaps,
    recorder: &'a Recorder,
}

impl MapStore for Recording<'_> {
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        self.recorder.ops.borrow_mut().push(*op);
        self.maps.apply(op)
    }
    fn read(&self) -> Result<MapImage, MapError> {
        self.maps.read()
    }
    fn limits(&self) -> crate::compile::Limits {
        self.maps.limits()
    }
    fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.maps.set_held(held)
    }
    fn held(&self) -> Result<Held, MapError> {
        self.maps.held()
    }
    fn backend_counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        self.maps.backend_counters(index)
    }
    fn service_counters(&self, index: ServiceIndex) -> Result<ServiceCounters, MapError> {
        self.maps.service_counters(index)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A reader that starts before any operation, and lets any number of operations happen
    /// between its lookups (but never a grace period, which waits for it), ends as it could have
    /// in the old state or in the new one.
    #[test]
    fn a_reader_sees_old_or_new(
        before in world(),
        after in world(),
        randoms in prop::collection::vec(any::<u32>(), 8),
        gaps in prop::collection::vec(0..40usize, 8),
    ) {
        let old = fresh(&before).actual().clone();
        let mut maps = MemoryMaps::new(LIMITS);
        for op in diff(&MapImage::default(), &old).install {
            maps.apply(&op).unwrap();
        }
        let recorder = Recorder::default();
        let mut reconciler =
            Reconciler::open(Recording { maps, recorder: &recorder }, Journal::in_memory()).unwrap();
        reconciler.change(changes(&World::default(), &after));
        reconciler.install(2).unwrap();
        let new = reconciler.actual().clone();
        reconciler.retire(NOW).unwrap();
        let ops = recorder.ops.borrow();

        let keys: BTreeSet<FrontendKey> =
            old.frontends.keys().chain(new.frontends.keys()).copied().collect();
        for start in 0..=ops.len() {
            let mut image = old.clone();
            for op in &ops[..start] {
                op.apply_to(&mut image);
            }
            for key in &keys {
                let mut reader = Reader::new(*key);
                let mut now = image.clone();
                let mut at = start;
                let mut turn = 0;
                let outcome = loop {
                    if let Some(outcome) = reader.step(&now, randoms[turn % 8]) {
                        break outcome;
                    }
                    for op in ops[at..].iter().take(gaps[turn % 8]) {
                        if matches!(op, MapOp::Grace) {
                            break;
                        }
                        op.apply_to(&mut now);
                        at += 1;
                    }
                    turn += 1;
                };
                let allowed: BTreeSet<String> =
                    possible(&old, key).union(&possible(&new, key)).cloned().collect();
                prop_assert!(
                    allowed.contains(&describe(outcome)),
                    "{outcome:?} is neither old nor new: {allowed:?}"
                );
                prop_assert!(!reader.was_torn());
            }
        }
    }

    /// Any operation may fail; the next attempt gets there, and nothing is left over.
    #[test]
    fn a_failed_operation_is_recovered(before in world(), after in world(), fail_at in 0..80usize) {
        let maps = fresh(&before).maps().clone();
        let mut reconciler = Reconciler::open(FaultyMaps::new(maps, fail_at), Journal::in_memory()).unwrap();
        reconciler.change(changes(&World::default(), &after));
        for stamp in 2..5 {
            let installed = reconciler.install(stamp).is_ok();
            if installed && reconciler.retire(NOW).is_ok() {
                break;
            }
        }
        prop_assert_eq!(reconciler.retire(NOW).unwrap(), 0);
        let held = reconciler.maps().read().unwrap();
        prop_assert_eq!(&held, reconciler.actual());
        let expected = fresh(&after);
        // What a rejected service had before stays, so the past matters there.
        prop_assume!(expected.report().rejections.is_empty());
        for key in expected.actual().frontends.keys() {
            prop_assert_eq!(possible(&held, key), possible(expected.actual(), key));
        }
        prop_assert_eq!(held.frontends.len(), expected.actual().frontends.len());
        prop_assert_eq!(held.services.len(), expected.actual().services.len());
        prop_assert_eq!(held.slots.len(), expected.actual().slots.len());
        prop_assert_eq!(held.backends.len(), expected.actual().backends.len());
    }

    /// A new agent over the maps of an old one, with the same world, writes nothing.
    #[test]
    fn a_restart_writes_nothing(world in world()) {
        let maps = fresh(&world).maps().clone();
        let recorder = Recorder::default();
        let mut restarted = Reconciler::open(Recording { maps, recorder: &recorder }, Journal::in_memory()).unwrap();
        restarted.change(changes(&World::default(), &world));
        restarted.install(9).unwrap();
        restarted.retire(NOW).unwrap();
        prop_assert_eq!(recorder.ops.borrow().len(), 0);
    }
}
