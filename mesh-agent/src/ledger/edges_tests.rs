//! The book of edges against a model: whatever goes, and wherever the agent dies, every connection
//! is counted once, for who has made it.

use std::collections::BTreeMap;
use std::path::Path;

use mesh_api::model::Label;
use mesh_common::backend::BackendIndex;
use mesh_common::edge::{EdgeCounters, EdgeKey};
use proptest::prelude::*;

use super::{Account, EdgeBook, EdgeStep, Journal, MOVES, Sources};
use crate::edges::{Edges, Seat, Source, add};
use crate::testing::{label, name};

const KEYS: u8 = 4;

fn sources(edges: u32) -> Sources {
    let boot = "boot".to_owned();
    Sources { boot, backends: 1, services: 1, reasons: 1, edges, ..Sources::default() }
}

fn account(at: u8) -> Account {
    Account { version: Some(label(&format!("v{at}"))), ..Account::of_service(name("web")) }
}

fn workload(at: u8) -> Label {
    label(&format!("client-{at}"))
}

fn client(at: u8) -> Source {
    Source::Workload(workload(at))
}

fn key(at: u8) -> EdgeKey {
    let backend = BackendIndex { index: 7 };
    EdgeKey { cgroup: at.into(), backend, generation: 3 }
}

fn counters(opened: u64) -> EdgeCounters {
    EdgeCounters { opened, failed: [0, opened, 0, 0], ..EdgeCounters::ZERO }
}

/// Where the agent dies while it takes an edge out of the map.
#[derive(Clone, Copy, Debug)]
enum Death {
    None,
    BeforeCommit,
    BeforeDelete,
    BeforeDrop,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Count(u8, u64),
    /// The account changes while it is used.
    Rename(u8, u8),
    /// The edge goes from the map.
    Harvest(u8, Death),
    Crash,
    /// A client that has gone is counted with others.
    Fold(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let death = prop_oneof![
        Just(Death::None),
        Just(Death::BeforeCommit),
        Just(Death::BeforeDelete),
        Just(Death::BeforeDrop)
    ];
    prop_oneof![
        4 => (0..KEYS, 1..100u64).prop_map(|(key, count)| Event::Count(key, count)),
        2 => (0..KEYS, 0..3u8).prop_map(|(key, who)| Event::Rename(key, who)),
        3 => (0..KEYS, death).prop_map(|(key, death)| Event::Harvest(key, death)),
        1 => Just(Event::Crash),
        1 => (0..KEYS).prop_map(Event::Fold),
    ]
}

struct Model<'a> {
    directory: &'a Path,
    journal: Journal,
    map: BTreeMap<EdgeKey, EdgeCounters>,
    accounts: BTreeMap<u8, u8>,
    truth: Edges,
}

impl<'a> Model<'a> {
    fn new(directory: &'a Path) -> Self {
        let journal = Journal::open(directory, &sources(1), None).unwrap();
        let (map, accounts, truth) = (BTreeMap::new(), BTreeMap::new(), Edges::new());
        Self { directory, journal, map, accounts, truth }
    }

    fn account(&self, at: u8) -> Account {
        account(self.accounts.get(&at).copied().unwrap_or(0))
    }

    fn restart(&mut self) {
        self.journal = Journal::open(self.directory, &sources(1), None).unwrap();
        assert!(!self.journal.edges_are_new());
        let gone = self.journal.edges().marks().map(|(key, _)| *key);
        let gone: Vec<_> = gone.filter(|key| !self.map.contains_key(key)).collect();
        for key in gone {
            self.journal.enter_edge(EdgeStep::Drop(key));
        }
        self.journal.commit().unwrap();
    }

    fn settle(&mut self, at: u8) {
        if let Some(raw) = self.map.get(&key(at)) {
            let step = EdgeStep::Settle(key(at), client(at), self.account(at), *raw);
            self.journal.enter_edge(step);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Count(at, count) => {
                let raw = self.map.entry(key(at)).or_default();
                *raw = super::Count::and(raw, &counters(count));
                let account = self.account(at);
                add(&mut self.truth, client(at), &account, &counters(count));
            }
            Event::Rename(at, who) => {
                self.settle(at);
                self.accounts.insert(at, who);
            }
            Event::Harvest(at, death) => {
                self.settle(at);
                if matches!(death, Death::BeforeCommit) {
                    return self.restart();
                }
                self.journal.commit().unwrap();
                if matches!(death, Death::BeforeDelete) {
                    return self.restart();
                }
                self.map.remove(&key(at));
                if matches!(death, Death::BeforeDrop) {
                    return self.restart();
                }
                self.journal.enter_edge(EdgeStep::Drop(key(at)));
            }
            Event::Crash => self.restart(),
            Event::Fold(at) => {
                // Only of one that has gone.
                if !self.map.contains_key(&key(at)) {
                    self.journal.enter_edge(EdgeStep::Seat(Seat::Fold(workload(at))));
                    let of_it = |(source, _): &&(Source, Account)| *source == client(at);
                    let keys: Vec<_> = self.truth.keys().filter(of_it).cloned().collect();
                    for key in keys {
                        let counters = self.truth.remove(&key).unwrap();
                        add(&mut self.truth, Source::Other, &key.1, &counters);
                    }
                }
            }
        }
        self.journal.commit().unwrap();
    }

    fn edges(&self) -> Edges {
        let mut edges = self.journal.edges().settled().clone();
        for at in 0..KEYS {
            let raw = self.map.get(&key(at)).copied().unwrap_or_default();
            if raw != EdgeCounters::ZERO {
                let counted = self.journal.edges().counted(&key(at), &raw);
                add(&mut edges, client(at), &self.account(at), &counted);
            }
        }
        edges.retain(|_, counters| *counters != EdgeCounters::ZERO);
        edges
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_connection_is_counted_once_for_who_has_made_it(
        events in prop::collection::vec(event(), 0..60)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(directory.path());
        for event in events {
            model.happen(event);
            prop_assert_eq!(model.edges(), model.truth.clone(), "after {:?}", event);
        }
    }

    #[test]
    fn a_file_that_ends_anywhere_counts_nothing_twice_and_loses_nothing(
        counts in prop::collection::vec((0..KEYS, 1..100u64, any::<bool>()), 1..20),
        cut in 0.0..1.0f64,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(directory.path());
        for (at, count, settles) in counts {
            model.happen(Event::Count(at, count));
            if settles {
                model.happen(Event::Rename(at, at));
            }
        }
        let path = directory.path().join("counters.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let head = text.find('\n').unwrap() + 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
        let end = head + ((text.len() - head) as f64 * cut) as usize;
        std::fs::write(&path, &text[..end]).unwrap();
        model.restart();
        let sum = |edges: &Edges| edges.values().map(|it| it.opened).sum::<u64>();
        prop_assert_eq!(sum(&model.edges()), sum(&model.truth));
    }
}

#[test]
fn names_are_kept_until_nothing_is_counted_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let open = |edges| Journal::open(directory.path(), &sources(edges), None).unwrap();
    let names = |journal: &Journal| journal.edges().names().clone();
    let mut journal = open(1);
    journal.enter_edge(EdgeStep::Name(5, Some(label("a"))));
    journal.enter_edge(EdgeStep::Name(6, Some(label("b"))));
    journal.enter_edge(EdgeStep::Name(5, None));
    journal.commit().unwrap();
    let expected: BTreeMap<u64, Label> = [(6, label("b"))].into();
    assert_eq!(names(&open(1)), expected);
    // Another map has other cgroups in it, if any.
    let journal = open(2);
    assert!(journal.edges_are_new() && names(&journal).is_empty());
    assert!(!open(2).edges_are_new());
}

#[test]
fn what_is_counted_as_of_others_is_kept_until_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Journal::open(directory.path(), &sources(1), None).unwrap();
    let mut journal = open();
    for at in 0..3 {
        let step = EdgeStep::Settle(key(at), client(at), account(at), counters(u64::from(at) + 1));
        journal.enter_edge(step);
        journal.enter_edge(EdgeStep::Seat(Seat::Fold(workload(at))));
    }
    journal.commit().unwrap();
    let kept = |journal: &Journal| {
        let (moves, last_move) = journal.edges().moves();
        (moves.iter().map(|it| it.from.clone()).collect::<Vec<_>>(), last_move)
    };
    for from in ["steps", "a copy"] {
        let (moves, last_move) = kept(&open());
        assert_eq!((moves.len(), last_move), (3, 3), "from {from}");
    }
    let mut journal = open();
    journal.enter_edge(EdgeStep::Told(2));
    journal.enter_edge(EdgeStep::Told(1));
    journal.commit().unwrap();
    for from in ["steps", "a copy"] {
        assert_eq!(kept(&open()), (vec![client(2)], 3), "from {from}");
    }
    // What another map had counted is not told apart any more: a move that nobody can say.
    let journal = Journal::open(directory.path(), &sources(2), None).unwrap();
    assert_eq!(kept(&journal), (Vec::new(), 4));
}

#[test]
fn who_has_rows_of_its_own_survives_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Journal::open(directory.path(), &sources(1), None).unwrap();
    let mut journal = open();
    let seats = [
        Seat::Own(workload(0)),
        Seat::Own(workload(1)),
        Seat::Others(workload(2)),
        Seat::Others(workload(3)),
        Seat::Fold(workload(1)),
        Seat::Gone(workload(3)),
    ];
    for seat in seats {
        journal.enter_edge(EdgeStep::Seat(seat));
    }
    for (at, numbers) in [(0, vec![5, 6]), (1, vec![1, 2, 3]), (0, vec![0, 0])] {
        journal.enter_edge(EdgeStep::Rest(account(at), numbers));
    }
    journal.commit().unwrap();
    for from in ["steps", "a copy"] {
        let journal = open();
        assert_eq!(journal.edges().rest(), &[(account(1), vec![1, 2, 3])].into(), "from {from}");
        let expected = (&[workload(0)].into(), &[workload(2)].into());
        assert_eq!(journal.edges().seats(), expected, "from {from}");
    }
}

#[test]
fn so_many_moves_are_kept() {
    let mut book = EdgeBook::default();
    for at in 0..1_500 {
        let account = Account { version: Some(label(&format!("v{at}"))), ..account(0) };
        book.apply(&EdgeStep::Total(client(0), account, counters(1)));
    }
    book.apply(&EdgeStep::Seat(Seat::Fold(workload(0))));
    let (moves, last_move) = book.moves();
    assert_eq!((moves.len(), last_move), (MOVES, 1_500));
    let other = book.settled().keys().filter(|(source, _)| *source == Source::Other);
    assert_eq!(other.count(), 1_500);
}

#[test]
fn a_file_from_before_there_were_edges_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let header = r#"{"format":1,"boot":"boot","backends":1,"services":1,"reasons":1}"#;
    let line =
        r#"{"book":"backends","verb":"total","service":"default/web","count":[1,2,3,4,5,6,7,8]}"#;
    std::fs::write(directory.path().join("counters.json"), format!("{header}\n{line}\n")).unwrap();
    let journal = Journal::open(directory.path(), &sources(1), None).unwrap();
    assert!(journal.edges_are_new());
    let total = journal.settled().get(&Account::of_service(name("web"))).copied();
    assert_eq!(total.map(|total| total.opened), Some(2));
}

#[test]
fn all_keys_and_sources_survive_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Journal::open(directory.path(), &sources(1), None).unwrap();
    let mut journal = open();
    for (at, source) in (0..).zip([client(0), Source::Other, Source::Unknown]) {
        for generation in 1..4 {
            let key = EdgeKey { generation, ..key(at) };
            let step = EdgeStep::Settle(key, source.clone(), account(at), counters(9));
            journal.enter_edge(step);
        }
    }
    journal.commit().unwrap();
    let book = journal.edges().clone();
    assert_eq!(book.marks().count(), 9);
    assert_eq!(*open().edges(), book, "from its steps");
    assert_eq!(*open().edges(), book, "from a copy");
}

#[test]
fn what_cannot_be_written_does_not_pile_up_and_is_written_once_that_can_be() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("ledger");
    let mut journal = Journal::open(&directory, &sources(1), None).unwrap();
    assert!(journal.is_written());
    // Its directory becomes a file.
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "").unwrap();
    journal.give_up_file();
    for at in 0..100 {
        let step = EdgeStep::Settle(key(at), client(at), account(0), counters(u64::from(at) + 1));
        journal.enter_edge(step);
        assert!(journal.commit().is_err());
        assert_eq!((journal.pending(), journal.is_written()), (0, false));
    }
    std::fs::remove_file(&directory).unwrap();
    journal.commit().unwrap();
    assert!(journal.is_written());
    let book = journal.edges().clone();
    assert_eq!(*Journal::open(&directory, &sources(1), None).unwrap().edges(), book);
}
