//! The store against a model: what is stored, its history, and what watches replay.

use std::collections::BTreeMap;

use mesh_api::model::ObjectRef;
use proptest::prelude::*;
use tempfile::TempDir;

use super::redb::{Limits, RedbStore};
use super::*;
use crate::testing::{endpoint, service};

const SMALL: Limits = Limits { history: 3, log: 8 };
const LARGE: Limits = Limits { history: 1000, log: 1000 };

/// Everything that ever happened.
#[derive(Default)]
struct Model {
    current: BTreeMap<ObjectRef, Stored>,
    log: Vec<Change>,
    revision: u64,
}

impl Model {
    /// The batch that puts the objects with content and deletes the others, where they exist.
    fn batch(&mut self, writes: &[(u8, Option<u8>)]) -> Batch {
        self.revision += 1;
        let mut batch =
            Batch { revision: self.revision, time_ms: 1000 + self.revision, writes: Vec::new() };
        for (at, content) in writes {
            let object = endpoint(&format!("shop/e-{at}"), "web", &format!("v{content:?}"));
            let reference = object.reference();
            let before = self.current.get(&reference);
            let taken = batch.writes.iter().any(|write| write.reference == reference);
            if taken || (before.is_none() && content.is_none()) {
                continue;
            }
            let replaces = before.map(|before| before.resource_version);
            let stored = content.map(|_| Stored { object, resource_version: self.revision });
            self.log.push(Change {
                revision: self.revision,
                time_ms: batch.time_ms,
                reference: reference.clone(),
                kind: match (&stored, replaces) {
                    (None, _) => ChangeKind::Deleted,
                    (Some(_), None) => ChangeKind::Created,
                    (Some(_), Some(_)) => ChangeKind::Configured,
                },
                object: stored.as_ref().map(|stored| stored.object.clone()),
            });
            match &stored {
                Some(stored) => drop(self.current.insert(reference.clone(), stored.clone())),
                None => drop(self.current.remove(&reference)),
            }
            batch.writes.push(Write { reference, object: stored.map(Arc::new), replaces });
        }
        if batch.writes.is_empty() {
            self.revision -= 1;
        }
        batch
    }
}

type Writes = Vec<(u8, Option<u8>)>;

fn groups() -> impl Strategy<Value = Vec<Vec<Writes>>> {
    let writes = prop::collection::vec((0..5_u8, proptest::option::of(0..3_u8)), 1..5);
    prop::collection::vec(prop::collection::vec(writes, 1..4), 1..8)
}

fn fill(store: &RedbStore, groups: &[Vec<Writes>]) -> Model {
    let mut model = Model::default();
    for group in groups {
        let batches = group.iter().map(|writes| model.batch(writes));
        let batches: Vec<Batch> = batches.filter(|batch| !batch.writes.is_empty()).collect();
        store.commit(&batches).unwrap();
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn everything_is_there_also_after_a_restart(groups in groups()) {
        let data = TempDir::new().unwrap();
        let store = RedbStore::open(data.path(), LARGE).unwrap();
        let model = fill(&store, &groups);
        drop(store);
        let store = RedbStore::open(data.path(), LARGE).unwrap();
        let (revision, objects) = store.load().unwrap();
        prop_assert_eq!(revision, model.revision);
        let expected: Vec<Stored> = model.current.values().cloned().collect();
        prop_assert_eq!(objects, expected);
        for at in 0..5 {
            let reference = endpoint(&format!("shop/e-{at}"), "web", "v").reference();
            let of = |change: &&Change| change.reference == reference;
            let expected: Vec<Change> = model.log.iter().rev().filter(of).cloned().collect();
            prop_assert_eq!(store.history(&reference).unwrap(), expected);
        }
    }

    #[test]
    fn replaying_from_any_revision_gives_the_current_state(groups in groups(), limit in 1..6_usize) {
        let data = TempDir::new().unwrap();
        let store = RedbStore::open(data.path(), LARGE).unwrap();
        let model = fill(&store, &groups);
        for from in 0..=model.revision {
            let mut state: BTreeMap<ObjectRef, Object> = BTreeMap::new();
            let (past, later): (Vec<&Change>, Vec<&Change>) =
                model.log.iter().partition(|change| change.revision <= from);
            for change in past {
                replay(&mut state, change);
            }
            let mut seen = Vec::new();
            let mut at = from;
            loop {
                let Changes::Since { changes, upto } = store.changes(at, limit).unwrap() else {
                    panic!("nothing was dropped");
                };
                // Whole revisions: the next piece starts with another one.
                prop_assert!(changes.iter().all(|it| at < it.revision && it.revision <= upto));
                seen.extend(changes);
                at = upto;
                if at == model.revision {
                    break;
                }
            }
            prop_assert_eq!(seen.iter().collect::<Vec<_>>(), later);
            for change in &seen {
                replay(&mut state, change);
            }
            let expected = model.current.values().map(|stored| &stored.object);
            prop_assert!(state.values().eq(expected));
        }
        prop_assert_eq!(store.changes(model.revision + 1, limit).unwrap(), Changes::Gone);
    }

    #[test]
    fn the_past_is_bounded_and_says_so(groups in groups()) {
        let data = TempDir::new().unwrap();
        let store = RedbStore::open(data.path(), SMALL).unwrap();
        let model = fill(&store, &groups);
        // The oldest revision from which on at most `log` changes are kept, whole.
        let mut kept = 0;
        let mut trimmed = model.revision;
        while trimmed > 0 {
            let size = model.log.iter().filter(|it| it.revision == trimmed).count();
            if kept + size > 8 {
                break;
            }
            kept += size;
            trimmed -= 1;
        }
        for from in 0..=model.revision {
            let answer = store.changes(from, usize::MAX).unwrap();
            let later = model.log.iter().filter(|it| it.revision > from).cloned();
            let expected = if from < trimmed {
                Changes::Gone
            } else {
                Changes::Since { changes: later.collect(), upto: model.revision }
            };
            prop_assert_eq!(answer, expected, "from {} of {}", from, model.revision);
        }
        for at in 0..5 {
            let reference = endpoint(&format!("shop/e-{at}"), "web", "v").reference();
            let of = |change: &&Change| change.reference == reference;
            let all: Vec<Change> = model.log.iter().rev().filter(of).cloned().collect();
            let history = store.history(&reference).unwrap();
            // The newest changes, and all that the log still has of them.
            prop_assert!(history.len() <= 3);
            prop_assert_eq!(&history, &all[..history.len()]);
            let in_log = all.iter().filter(|it| it.revision > trimmed).count();
            prop_assert!(history.len() >= in_log.min(3));
            // It ends early only where a deletion has left the log.
            if let Some(missing) = all.get(history.len()).filter(|_| history.len() < 3) {
                prop_assert!(missing.object.is_none() && missing.revision <= trimmed);
            }
            let gone = all.first().is_some_and(|it| it.object.is_none() && it.revision <= trimmed);
            prop_assert!(!gone || history.is_empty());
        }
    }
}

fn replay(state: &mut BTreeMap<ObjectRef, Object>, change: &Change) {
    match &change.object {
        Some(object) => drop(state.insert(change.reference.clone(), object.clone())),
        None => drop(state.remove(&change.reference)),
    }
}

#[test]
fn a_stale_write_stores_nothing_of_its_group() {
    let data = TempDir::new().unwrap();
    let store = RedbStore::open(data.path(), LARGE).unwrap();
    let write = |revision, at: u8, replaces| Batch {
        revision,
        time_ms: 0,
        writes: vec![Write {
            reference: service(&format!("shop/s-{at}"), "10.0.0.1", 80).reference(),
            object: Some(Arc::new(Stored {
                object: service(&format!("shop/s-{at}"), "10.0.0.1", 80),
                resource_version: revision,
            })),
            replaces,
        }],
    };
    store.commit(&[write(1, 1, None)]).unwrap();
    for stale in [write(3, 1, None), write(3, 1, Some(7)), write(3, 9, Some(1))] {
        let error = store.commit(&[write(2, 2, None), stale]).unwrap_err();
        assert!(matches!(error, StoreError::Stale { .. }), "{error}");
    }
    let (revision, objects) = store.load().unwrap();
    assert_eq!((revision, objects.len()), (1, 1));
    store.commit(&[write(2, 1, Some(1))]).unwrap();
}

#[test]
fn a_second_opener_is_refused_in_one_line() {
    let data = TempDir::new().unwrap();
    let _first = RedbStore::open(data.path(), LARGE).unwrap();
    let Err(error) = RedbStore::open(data.path(), LARGE) else {
        panic!("two writers");
    };
    let text = error.to_string();
    assert!(text.contains("in use") && text.contains("--data-dir"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn unusable_places_are_named() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let Err(error) = RedbStore::open(&file.join("below"), LARGE) else {
        panic!("a directory below a file");
    };
    assert!(error.to_string().contains("--data-dir"), "{error}");

    std::fs::write(data.path().join(redb::FILE_NAME), vec![7; 100_000]).unwrap();
    let Err(error) = RedbStore::open(data.path(), LARGE) else {
        panic!("not a database");
    };
    assert!(error.to_string().contains("mesh.redb"), "{error}");
}
