//! The order of writes as a theorem: whatever a program sees between any two of them is the old or
//! the new state, also when an operation fails, and the maps always get to the world.

use mesh_common::affinity::Affinity;
use mesh_common::backend::{Backend, BackendFlags};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::reason::Reason;
use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use super::same::canonical;
use super::*;
use crate::maps::faulty::FaultyMaps;
use crate::maps::memory::{Client, Outcome, Reader};

fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::Backend(backend) => crate::image::Address(&backend.addr, backend.port).to_string(),
        Outcome::Other(reason) => format!("{reason:?}"),
    }
}

/// Everything that a client of `key` can meet, backends by address. A client whose own backend
/// goes while it connects may choose as any other client of that moment.
fn possible(image: &MapImage, key: &FrontendKey, client: &Client) -> BTreeSet<String> {
    let other = |reason| BTreeSet::from([describe(Outcome::Other(reason))]);
    let Some(index) = image.frontends.get(key) else { return other(Reason::NOT_A_SERVICE) };
    let head = image.services.at(*index);
    let mut found = BTreeSet::new();
    let mut add = |index| {
        found.insert(describe(Outcome::Backend(image.backends.at(index))));
    };
    for slot in image.table(&head) {
        add(slot.backend);
        add(slot.alias);
    }
    let mut own = Vec::new();
    if let Some((at, generation)) = client.flow {
        own.push((at, generation, image.backends.at(at).flags.keeps_old()));
    }
    if let Some((service, affinity)) = client.affinity
        && service == *index
        && head.affinity_ms != 0
        && head.slot_count != 0
    {
        let flags = image.backends.at(affinity.backend).flags;
        own.push((affinity.backend, affinity.generation, flags.takes_new()));
    }
    for (at, generation, goes_on) in own {
        let backend = image.backends.at(at);
        if goes_on && backend.service == *index && backend.generation == generation {
            add(at);
        }
    }
    if head.slot_count == 0 {
        found.extend(other(mesh_common::logic::connect::without_backend(&head)));
    }
    found
}

/// Whether a backend is where the image has it, on this node or elsewhere.
fn is_in_place(found: &Backend, image: &MapImage) -> bool {
    let is_local = |backend: &Backend| backend.flags.contains(BackendFlags::LOCAL);
    let same = |it: &Backend| {
        let place = (it.service, it.addr, it.port) == (found.service, found.addr, found.port);
        place && is_local(it) == is_local(found)
    };
    image.backends.iter().any(|(_, backend)| same(backend))
}

/// What the maps were told, and what they held when an update was complete.
#[derive(Default)]
struct History {
    ops: Vec<MapOp>,
    /// After how many operations, and the image.
    states: Vec<(usize, MapImage)>,
}

/// Maps that write down what they are told.
pub(super) struct Recording<M> {
    pub(super) maps: M,
    pub(super) ops: Vec<MapOp>,
}

impl<M> Recording<M> {
    pub(super) const fn new(maps: M) -> Self {
        Self { maps, ops: Vec::new() }
    }
}

impl<M: MapStore> MapStore for Recording<M> {
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        self.maps.apply(op)?;
        self.ops.push(*op);
        Ok(())
    }
    fn read(&self) -> Result<MapImage, MapError> {
        self.maps.read()
    }
    fn limits(&self) -> Limits {
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
    fn service_counters(
        &self,
        index: ServiceIndex,
    ) -> Result<mesh_common::counter::ServiceCounters, MapError> {
        self.maps.service_counters(index)
    }
    fn edges(&self) -> Result<Vec<(EdgeKey, EdgeCounters)>, MapError> {
        self.maps.edges()
    }
    fn refusals(&self) -> Result<Vec<(RefusalKey, RefusalCounters)>, MapError> {
        self.maps.refusals()
    }
    fn delete_refusals(&mut self, keys: &[RefusalKey]) -> Result<(), MapError> {
        self.maps.delete_refusals(keys)
    }
    fn delete_edges(&mut self, keys: &[EdgeKey]) -> Result<(), MapError> {
        self.maps.delete_edges(keys)
    }
}

/// Goes through the worlds, with a failure at one operation, from which it recovers.
fn history(first: &Objects, then: &[(Objects, bool)], fail_at: usize) -> (MapImage, History) {
    let old = fresh(first).actual().clone();
    let mut maps = MemoryMaps::new(LIMITS);
    maps.set_image(old.clone());
    let maps = Recording::new(FaultyMaps::new(maps, fail_at));
    let mut reconciler = opened_over(maps);
    let mut history = History { ops: Vec::new(), states: vec![(0, old.clone())] };
    let mut before = Objects::default();
    for (stamp, (objects, retires)) in (2..).zip(then) {
        reconciler.change(changes(&before, objects));
        while reconciler.install(stamp).is_err() {}
        history.states.push((reconciler.maps().ops.len(), reconciler.actual().clone()));
        if *retires && reconciler.retire(NOW).is_err() {
            while reconciler.install(stamp).is_err() {}
        }
        before = objects.clone();
    }
    assert_eq!(reconciler.maps().read().unwrap(), *reconciler.actual());
    history.ops.clone_from(&reconciler.maps().ops);
    (old, history)
}

/// A program starts before any operation, and lets any number of operations happen between its
/// lookups, but never a grace period, which waits for it.
fn check(old: &MapImage, history: &History, clients: &[(Client, u32)], gaps: &[usize]) {
    let keys = keys(&history.states.iter().map(|(_, image)| image).collect::<Vec<_>>());
    let mut image = old.clone();
    for start in 0..=history.ops.len() {
        if let Some(op) = start.checked_sub(1).map(|at| history.ops[at]) {
            op.apply_to(&mut image);
        }
        // One client per place, so that each key meets all of them over the places.
        for (turn, key) in keys.iter().enumerate() {
            let first = history.states.iter().rposition(|(done, _)| *done <= start).unwrap();
            let client = &clients[(start + turn) % clients.len()];
            let (client, random) = with_memory(client, key, &history.states[first].1);
            let mut reader = Reader::new(*key, client);
            let mut now = image.clone();
            let (mut at, mut steps) = (start, turn + start);
            let outcome = loop {
                if let Some(outcome) = reader.step(&now, random) {
                    break outcome;
                }
                for op in history.ops[at..].iter().take(gaps[steps % gaps.len()]) {
                    if matches!(op, MapOp::Grace) {
                        break;
                    }
                    op.apply_to(&mut now);
                    at += 1;
                }
                steps += 1;
            };
            let last = history.states.iter().position(|(done, _)| *done >= at);
            let last = last.unwrap_or(history.states.len() - 1).max(first);
            let allowed: BTreeSet<String> = history.states[first..=last]
                .iter()
                .flat_map(|(_, state)| possible(state, key, &client))
                .collect();
            assert!(
                allowed.contains(&describe(outcome)),
                "{outcome:?} is neither old nor new: {allowed:?} {client:?} {:?}",
                &history.ops[start..at],
            );
            assert!(!reader.was_torn());
            if let Outcome::Backend(found) = outcome {
                let states = &history.states[first..=last];
                let knows = |state: &(usize, MapImage)| is_in_place(&found, &state.1);
                assert!(states.iter().any(knows), "{found:?}: a place that it never had");
            }
            if let Some((service, policy)) = reader.policy() {
                let states = &history.states[first..=last];
                let is_of = |image: &MapImage| image.policies.at(service) == policy;
                let zero = policy == mesh_common::policy::Policy::default();
                assert!(!zero, "{service:?}: a policy that is not there");
                assert!(states.iter().any(|(_, it)| is_of(it)), "{service:?}: {policy:?}");
            }
        }
    }
}

/// A client that has been served by a backend of the last complete state; flows are of the frontend.
fn with_memory(
    (client, random): &(Client, u32),
    key: &FrontendKey,
    image: &MapImage,
) -> (Client, u32) {
    let service = image.frontends.get(key);
    let is_own = |backend: &Backend| Some(&backend.service) == service;
    let any = |used: Vec<(BackendIndex, &Backend)>| {
        used.get(*random as usize % used.len().max(1)).map(|(index, backend)| (*index, **backend))
    };
    let own = any(image.backends.iter().filter(|(_, backend)| is_own(backend)).collect());
    let flow = own.filter(|_| client.flow.is_some());
    let affinity = any(image.backends.iter().collect()).filter(|_| client.affinity.is_some());
    let affinity = affinity.map(|(index, backend)| {
        let generation = backend.generation;
        (backend.service, Affinity { backend: index, generation, used_ns: 0 })
    });
    let flow = flow.map(|(index, backend)| (index, backend.generation));
    (Client { affinity, flow, ..*client }, *random)
}

/// Often nothing happens between two lookups, so that short moments are met.
fn a_gap() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 0..40usize]
}

fn a_client() -> impl Strategy<Value = (Client, u32)> {
    (any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>(), 0..3u8).prop_map(
        |(key, cursor, random, second_is_idler, flow, affinity)| {
            let flow = flow.then_some((BackendIndex::NONE, 0));
            let affinity = (affinity == 0).then(|| (ServiceIndex::NONE, Affinity::default()));
            (Client { key, affinity, flow, cursor, second_is_idler }, random)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_program_sees_old_or_new(
        before in world(),
        then in prop::collection::vec((world(), any::<bool>()), 1..4),
        clients in prop::collection::vec(a_client(), 5),
        gaps in prop::collection::vec(a_gap(), 7),
    ) {
        let (old, history) = history(&before, &then, usize::MAX);
        check(&old, &history, &clients, &gaps);
    }

    #[test]
    fn a_program_sees_old_or_new_when_an_operation_fails(
        before in world(),
        then in prop::collection::vec((world(), any::<bool>()), 1..3),
        clients in prop::collection::vec(a_client(), 5),
        gaps in prop::collection::vec(a_gap(), 7),
        fail_at in 0..150usize,
    ) {
        let (old, history) = history(&before, &then, fail_at);
        check(&old, &history, &clients, &gaps);
    }

    /// Any operation may fail; the next attempt gets there, and nothing is left over.
    #[test]
    fn a_failed_operation_is_recovered(
        before in world(),
        after in world(),
        fail_at in 0..150usize,
    ) {
        let maps = fresh(&before).maps().clone();
        let mut reconciler = opened_over(FaultyMaps::new(maps, fail_at));
        reconciler.change(changes(&Objects::default(), &after));
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
            prop_assert_eq!(canonical(&held, key), canonical(expected.actual(), key));
        }
        prop_assert_eq!(held.frontends.len(), expected.actual().frontends.len());
        prop_assert_eq!(held.services.len(), expected.actual().services.len());
        prop_assert_eq!(held.slots.len(), expected.actual().slots.len());
        let taking = |image: &MapImage| {
            image.backends.iter().filter(|(_, backend)| backend.flags.takes_new()).count()
        };
        prop_assert_eq!(taking(&held), taking(expected.actual()));
    }
}
