//! The book of refusals against a model: whatever goes, whoever gets an index again, and wherever the
//! agent dies, every refusal is counted once, for who has asked and who has refused.

use std::collections::BTreeMap;
use std::path::Path;

use mesh_common::counter::ServiceCounters;
use mesh_common::reason::Reason;
use mesh_common::refusal::{RefusalCause, RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;
use proptest::prelude::*;

use super::{Account, Count as _, EdgeStep, Journal, RefusalStep, Sources};
use crate::edges::refusals::{RefusalRest, Refusals, Wholes, add};
use crate::edges::{Seat, Source};
use crate::testing::{label, name};

const CLIENTS: u8 = 3;

fn sources(refusals: u32) -> Sources {
    let boot = "boot".to_owned();
    Sources { boot, services: 1, edges: 1, refusals, ..Sources::default() }
}

fn account(at: u8) -> Account {
    Account::of_service(name(&format!("web-{at}")))
}

fn client(at: u8) -> Source {
    Source::Workload(label(&format!("client-{at}")))
}

fn key(client: u8) -> RefusalKey {
    RefusalKey { cgroup: u64::from(client) + 1, service: ServiceIndex { index: 7 }, pad: 0 }
}

fn counters(count: u64) -> RefusalCounters {
    let mut counters = RefusalCounters::of(RefusalCause::from_reason(Reason::TORN), count);
    counters.refused[5] = 2 * count;
    counters
}

/// Where the agent dies while it takes an entry out of the map.
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
    /// The index becomes another service's, with entries that stay in the map or go.
    Reuse(u8, Option<Death>),
    Crash,
    /// A client is counted with others from here on.
    Others(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let death = prop_oneof![
        Just(Death::None),
        Just(Death::BeforeCommit),
        Just(Death::BeforeDelete),
        Just(Death::BeforeDrop)
    ];
    prop_oneof![
        5 => (0..CLIENTS, 1..100u64).prop_map(|(client, count)| Event::Count(client, count)),
        3 => (0..4u8, prop::option::of(death)).prop_map(|(who, death)| Event::Reuse(who, death)),
        1 => Just(Event::Crash),
        1 => (0..CLIENTS).prop_map(Event::Others),
    ]
}

struct Model<'a> {
    directory: &'a Path,
    journal: Journal,
    map: BTreeMap<RefusalKey, RefusalCounters>,
    holder: u8,
    truth: Refusals,
}

impl<'a> Model<'a> {
    fn new(directory: &'a Path) -> Self {
        let journal = Journal::open(directory, &sources(1), None).unwrap();
        Self { directory, journal, map: BTreeMap::new(), holder: 0, truth: Refusals::new() }
    }

    fn source(&self, at: u8) -> Source {
        let Source::Workload(name) = client(at) else { return Source::Unknown };
        let is_other = self.journal.edges().seats().1.contains(&name);
        if is_other { Source::Other } else { Source::Workload(name) }
    }

    fn restart(&mut self) {
        self.journal = Journal::open(self.directory, &sources(1), None).unwrap();
        assert!(!self.journal.refusals_are_new());
        let gone = self.journal.refusals().marks().map(|(key, _)| *key);
        let gone: Vec<_> = gone.filter(|key| !self.map.contains_key(key)).collect();
        for key in gone {
            self.journal.enter_refusal(RefusalStep::Drop(key));
        }
        self.journal.commit().unwrap();
    }

    fn settle(&mut self) {
        for at in 0..CLIENTS {
            if let Some(raw) = self.map.get(&key(at)) {
                let (source, account) = (self.source(at), account(self.holder));
                let step = RefusalStep::Settle(key(at), source, account, *raw);
                self.journal.enter_refusal(step);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Count(at, count) => {
                let raw = self.map.entry(key(at)).or_default();
                *raw = raw.and(&counters(count));
                let source = self.source(at);
                add(&mut self.truth, source, &account(self.holder), &counters(count));
            }
            Event::Reuse(who, death) => {
                self.settle();
                if matches!(death, Some(Death::BeforeCommit)) {
                    return self.restart();
                }
                self.journal.commit().unwrap();
                self.holder = who;
                if death.is_none() || matches!(death, Some(Death::BeforeDelete)) {
                    return self.restart();
                }
                self.map.clear();
                if matches!(death, Some(Death::BeforeDrop)) {
                    return self.restart();
                }
                (0..CLIENTS).for_each(|at| self.journal.enter_refusal(RefusalStep::Drop(key(at))));
            }
            Event::Crash => self.restart(),
            Event::Others(at) => {
                let Source::Workload(name) = client(at) else { return };
                self.journal.enter_edge(EdgeStep::Seat(Seat::Others(name)));
                let moved = std::mem::take(&mut self.truth);
                for ((source, account), counters) in moved {
                    let source = if source == client(at) { Source::Other } else { source };
                    add(&mut self.truth, source, &account, &counters);
                }
            }
        }
        self.journal.commit().unwrap();
    }

    fn refusals(&self) -> Refusals {
        let mut refusals = self.journal.refusals().settled().clone();
        for at in 0..CLIENTS {
            let raw = self.map.get(&key(at)).copied().unwrap_or_default();
            let counted = self.journal.refusals().counted(&key(at), &raw);
            add(&mut refusals, self.source(at), &account(self.holder), &counted);
        }
        refusals.retain(|_, counters| *counters != RefusalCounters::ZERO);
        refusals
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_refusal_is_counted_once_for_who_asked_and_who_refused(
        events in prop::collection::vec(event(), 0..60)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(directory.path());
        for event in events {
            model.happen(event);
            prop_assert_eq!(model.refusals(), model.truth.clone(), "after {:?}", event);
        }
    }

    /// Refusals that are counted by client, some that are not, and moments at which the agent reads,
    /// and is killed: before, between and after, more of both are counted.
    #[test]
    fn no_row_falls_and_the_sum_is_the_whole_where_nothing_goes_on(
        rounds in prop::collection::vec(
            (0..5u64, 0..5u64, 0..3u64, 0..3u64, any::<bool>(), any::<bool>()), 1..30)
    ) {
        let whole = |refused| Wholes::from([(account(0), ServiceCounters { refused, passed: 0 })]);
        let cause = RefusalCause::from_reason(Reason::BREAKER_OPEN);
        let (mut known, mut rest) = (0, 0);
        let (mut told, mut kept) = (RefusalRest::default(), BTreeMap::new());
        let mut before = Refusals::new();
        for (more, most, also, later, quiet, killed) in rounds {
            if killed {
                told = RefusalRest::kept(&kept);
            }
            known += more;
            rest += also;
            let first = whole(known + rest);
            if !quiet {
                known += most;
            }
            let mut parts = Refusals::new();
            add(&mut parts, client(0), &account(0), &RefusalCounters::of(cause, known));
            if !quiet {
                known += later;
                rest += also;
            }
            let rows = told.rows(&first, &parts, &whole(known + rest));
            kept.extend(told.news(&kept, &parts));
            let sum: u64 = rows.values().map(RefusalCounters::total).sum();
            let all = known + rest;
            prop_assert!(sum == all || (!quiet && sum < all), "{sum} of {all}");
            for (key, row) in &before {
                let now = rows.get(key).map_or(0, RefusalCounters::total);
                prop_assert!(now >= row.total(), "{key:?} falls");
            }
            before = rows;
        }
    }
}

#[test]
fn all_of_it_survives_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let open = |refusals| Journal::open(directory.path(), &sources(refusals), None).unwrap();
    let mut journal = open(1);
    for (at, source) in (0..).zip([client(0), Source::Other, Source::Unknown]) {
        let step = RefusalStep::Settle(key(at), source, account(at), counters(9));
        journal.enter_refusal(step);
        journal.enter_refusal(RefusalStep::Rest(account(at), u64::from(at)));
    }
    // Who is counted with others, takes it along, and whoever has to be told is.
    journal.enter_edge(EdgeStep::Seat(Seat::Fold(label("client-0"))));
    journal.commit().unwrap();
    let (book, edges) = (journal.refusals().clone(), journal.edges().clone());
    assert_eq!((book.marks().count(), book.rest().len(), book.settled().len()), (3, 2, 3));
    let (moves, _) = edges.moves();
    assert_eq!((moves[0].from.clone(), moves[0].refused), (client(0), counters(9)));
    for from in ["steps", "a copy"] {
        let journal = open(1);
        assert_eq!((journal.refusals(), journal.edges()), (&book, &edges), "from {from}");
    }
    // Another map begins at 0; what is settled stays.
    let journal = open(2);
    assert!(journal.refusals_are_new());
    assert_eq!(journal.refusals().settled(), book.settled());
    assert_eq!((journal.refusals().marks().count(), journal.edges().moves().0.len()), (0, 0));
    // Other services' counters, and nobody knows what those before had counted.
    let others = Sources { services: 5, ..sources(2) };
    let journal = Journal::open(directory.path(), &others, None).unwrap();
    assert!(journal.refusals().settled().is_empty() && journal.refusals().rest().is_empty());
}

#[test]
fn a_file_from_before_there_were_refusals_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let header = r#"{"format":1,"boot":"boot","backends":0,"services":1,"reasons":0,"edges":1}"#;
    let line = r#"{"book":"services","verb":"total","service":"default/web","count":[5,6]}"#;
    let moved = r#"{"book":"edges","verb":"move","source":"a","service":"default/web","count":[1,2,3,4,5,6,7,8,9,10,11]}"#;
    let text = format!("{header}\n{line}\n{moved}\n");
    std::fs::write(directory.path().join("counters.json"), text).unwrap();
    let journal = Journal::open(directory.path(), &sources(1), None).unwrap();
    assert!(journal.refusals_are_new() && !journal.edges_are_new());
    let web = Account::of_service(name("web"));
    assert_eq!(journal.settled_services().get(&web).map(|it| it.refused), Some(5));
    // There was nothing that could have become less.
    assert_eq!(journal.edges().moves().0.len(), 1);
}
