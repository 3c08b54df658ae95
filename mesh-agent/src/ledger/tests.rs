//! The ledger against a model: whatever happens, and wherever the agent dies, totals are the truth.

use std::collections::BTreeMap;
use std::path::Path;

use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;
use proptest::prelude::*;

use super::{Account, Journal, Last, Sources, Totals};
use crate::testing::{label, name};

const INDICES: u32 = 4;

fn account(at: u8) -> Account {
    Account { version: Some(label(&format!("v{at}"))), ..Account::of_service(name("web")) }
}

fn sources(id: u32) -> Sources {
    Sources {
        boot: "boot".to_owned(),
        backends: id,
        services: id,
        reasons: id,
        edges: id,
        inbound: id,
        refusals: id,
    }
}

const fn opened(count: u64) -> BackendCounters {
    let mut counters = ZERO;
    counters.opened = count;
    counters
}

const ZERO: BackendCounters = BackendCounters {
    attempts: 0,
    opened: 0,
    failed: 0,
    closed: 0,
    bytes_sent: 0,
    bytes_received: 0,
    retransmits: 0,
    rtt_us: 0,
};

/// What happens to an index.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Connections are counted, if somebody holds it.
    Count(u32, u64),
    /// The endpoint appears, returns or is renamed.
    Take(u32, u8),
    /// The endpoint is gone; its connections go on.
    Leave(u32),
    /// The entry is freed, if its holder has left; the agent may die before it has settled.
    Free(u32, bool),
    /// The agent dies and starts again.
    Crash,
    /// The maps are replaced by others; the agent may die before it has removed the old ones.
    Switch(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..INDICES, 1..100u64).prop_map(|(index, count)| Event::Count(index, count)),
        3 => (0..INDICES, 0..3u8).prop_map(|(index, who)| Event::Take(index, who)),
        2 => (0..INDICES).prop_map(Event::Leave),
        2 => (0..INDICES, any::<bool>()).prop_map(|(index, dies)| Event::Free(index, dies)),
        1 => Just(Event::Crash),
        1 => any::<bool>().prop_map(Event::Switch),
    ]
}

/// A kernel, the agent's journal, and the truth.
struct Model<'a> {
    directory: &'a Path,
    journal: Journal,
    maps: u32,
    raw: Vec<u64>,
    /// Holders, and whether they have left.
    holders: BTreeMap<u32, (u8, bool)>,
    truth: BTreeMap<Account, u64>,
}

impl<'a> Model<'a> {
    fn new(directory: &'a Path) -> Self {
        let journal = Journal::open(directory, &sources(0), None).unwrap();
        let raw = vec![0; INDICES as usize];
        let (holders, truth) = (BTreeMap::new(), BTreeMap::new());
        Self { directory, journal, maps: 0, raw, holders, truth }
    }

    fn raw(&self, index: u32) -> BackendCounters {
        opened(self.raw[index as usize])
    }

    fn restart(&mut self, earlier: Option<(&Sources, &Last)>) {
        self.journal = Journal::open(self.directory, &sources(self.maps), earlier).unwrap();
        let freed: Vec<u32> = self
            .journal
            .leaving_backends()
            .map(|(index, _)| index.index)
            .filter(|index| !self.holders.contains_key(index))
            .collect();
        for index in freed {
            self.journal.settle_backend(BackendIndex { index }, self.raw(index));
        }
        self.journal.commit().unwrap();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Count(index, count) => {
                if let Some((who, _)) = self.holders.get(&index) {
                    self.raw[index as usize] += count;
                    *self.truth.entry(account(*who)).or_default() += count;
                }
            }
            Event::Take(index, who) => {
                let before = self.holders.insert(index, (who, false));
                let before = before.filter(|(_, left)| !left).map(|(who, _)| account(who));
                let raw = self.raw(index);
                let index = BackendIndex { index };
                self.journal.take_backend(index, before.as_ref(), &account(who), raw);
            }
            Event::Leave(index) => {
                if let Some((who, left)) = self.holders.get_mut(&index) {
                    *left = true;
                    self.journal.leave_backend(BackendIndex { index }, &account(*who));
                }
            }
            Event::Free(index, dies) => {
                if self.holders.get(&index).is_some_and(|(_, left)| *left) {
                    self.holders.remove(&index);
                    if dies {
                        self.restart(None);
                    } else {
                        self.journal.settle_backend(BackendIndex { index }, self.raw(index));
                    }
                }
            }
            Event::Crash => self.restart(None),
            Event::Switch(dies) => {
                let before = sources(self.maps);
                let last = Last {
                    backends: (0..INDICES).map(|index| self.raw(index)).collect(),
                    ..Last::default()
                };
                self.maps += 1;
                self.raw.fill(0);
                self.restart(Some((&before, &last)));
                if dies {
                    self.restart(Some((&before, &last)));
                }
            }
        }
        self.journal.commit().unwrap();
    }

    fn totals(&self) -> Totals {
        let mut totals = self.journal.settled().clone();
        for (index, (who, _)) in &self.holders {
            let counted = self.journal.counted(BackendIndex { index: *index }, self.raw(*index));
            let total = totals.entry(account(*who)).or_default();
            *total = total.plus(counted);
        }
        totals.retain(|_, total| *total != ZERO);
        totals
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn totals_are_what_was_counted_whatever_happens(
        events in prop::collection::vec(event(), 0..60)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(directory.path());
        for event in events {
            model.happen(event);
            let truth: Totals =
                model.truth.iter().map(|(who, count)| (who.clone(), opened(*count))).collect();
            prop_assert_eq!(model.totals(), truth, "after {:?}", event);
        }
    }

    #[test]
    fn a_file_that_ends_anywhere_counts_nothing_twice_and_loses_nothing(
        events in prop::collection::vec(event(), 1..30),
        cut in 0.0..1.0f64,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(directory.path());
        for event in events {
            // Only what is appended can end anywhere.
            if !matches!(event, Event::Crash | Event::Switch(_) | Event::Free(_, true)) {
                model.happen(event);
            }
        }
        let path = directory.path().join("counters.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let head = text.find('\n').unwrap() + 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
        let end = head + ((text.len() - head) as f64 * cut) as usize;
        std::fs::write(&path, &text[..end]).unwrap();
        let journal = Journal::open(directory.path(), &sources(0), None).unwrap();
        let settled: u64 = journal.settled().values().map(|total| total.opened).sum();
        let beyond: u64 = (0..INDICES)
            .map(|index| journal.counted(BackendIndex { index }, model.raw(index)).opened)
            .sum();
        prop_assert_eq!(settled + beyond, model.raw.iter().sum::<u64>());
    }

    #[test]
    fn any_text_is_survived(text: String, good: bool) {
        let directory = tempfile::tempdir().unwrap();
        let mut content = if good { super::line::header(&sources(0)).unwrap() + "\n" } else { String::new() };
        content.push_str(&text);
        std::fs::write(directory.path().join("counters.json"), content).unwrap();
        Journal::open(directory.path(), &sources(0), None).unwrap();
    }
}

#[test]
fn services_and_reasons_are_carried_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), &sources(1), None).unwrap();
    let refused = |refused| ServiceCounters { refused, passed: 0 };
    let index = ServiceIndex { index: 1 };
    journal.leave_service(index, &name("web"));
    journal.settle_service(index, refused(5));
    assert_eq!(journal.counted_service(index, refused(7)), refused(2));
    journal.commit().unwrap();

    let last = Last {
        services: vec![refused(0), refused(9)],
        reasons: vec![ReasonCount::default(), ReasonCount { count: 3 }],
        ..Last::default()
    };
    let journal = Journal::open(directory.path(), &sources(2), Some((&sources(1), &last))).unwrap();
    let web = Account::of_service(name("web"));
    assert_eq!(journal.settled_services().get(&web), Some(&refused(5)));
    assert_eq!(journal.counted_service(index, refused(1)), refused(5));
    let reason = Reason::NOT_A_SERVICE;
    assert_eq!(journal.counted_reason(reason, ReasonCount { count: 2 }).count, 5);

    // Only the services' maps are others, and four refusals there were the agent's own.
    let present = Sources { services: 3, ..sources(2) };
    let last = Last { own: refused(4), ..Last::default() };
    let journal = Journal::open(directory.path(), &present, Some((&sources(2), &last))).unwrap();
    let reason = Reason::NO_BACKEND_REFUSED;
    assert_eq!(journal.counted_reason(reason, ReasonCount { count: 10 }).count, 6);
}

#[test]
fn maps_that_are_gone_take_what_they_counted_along() {
    let directory = tempfile::tempdir().unwrap();
    let index = BackendIndex { index: 1 };
    let mut journal = Journal::open(directory.path(), &sources(1), None).unwrap();
    journal.leave_backend(index, &account(0));
    journal.settle_backend(index, opened(5));
    journal.commit().unwrap();
    let other_run = Sources { boot: "another".to_owned(), ..sources(1) };
    let journal = Journal::open(directory.path(), &other_run, None).unwrap();
    assert!(journal.settled().is_empty());
    assert_eq!(journal.counted(index, opened(1)), opened(1));
}

#[test]
fn a_file_that_grows_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counters.json");
    let mut journal = Journal::open(directory.path(), &sources(1), None).unwrap();
    let mut longest = 0;
    for raw in 1..20_000 {
        journal.leave_backend(BackendIndex { index: 1 }, &account(0));
        journal.settle_backend(BackendIndex { index: 1 }, opened(raw));
        journal.commit().unwrap();
        longest = longest.max(std::fs::metadata(&path).unwrap().len());
    }
    assert!(longest < 2 << 20, "{longest}");
    let journal = Journal::open(directory.path(), &sources(1), None).unwrap();
    assert_eq!(journal.settled().get(&account(0)), Some(&opened(19_999)));
}
