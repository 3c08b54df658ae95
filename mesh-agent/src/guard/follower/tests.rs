//! The follower on words in memory, with a clock of the test's own.

use std::sync::Mutex;

use mesh_common::event::EventKind;
use mesh_common::policy::{OutlierPolicy, Policy};
use mesh_common::service::ServiceIndex;

use super::*;
use crate::compile::Family;
use crate::guard::directory::{Entry, Holder, Percentage};
use crate::maps::guards::Word;
use crate::maps::memory::guards::MemoryGuards;

const SERVICE: ServiceIndex = ServiceIndex { index: 3 };
const ONE: BackendIndex = BackendIndex { index: 7 };
const TWO: BackendIndex = BackendIndex { index: 8 };
const POLICY: OutlierPolicy =
    OutlierPolicy { consecutive_failures: 2, base_ms: 30_000, max_ms: 60_000, max_ejected: 1 };

fn directory() -> Arc<Directory> {
    let holder =
        |index, name: &str| Holder { index, generation: 5, endpoint: name.parse().unwrap() };
    let entry = Entry {
        index: SERVICE,
        name: "default/web".parse().unwrap(),
        port: 80,
        family: Family::V4,
        percentage: Some(Percentage { interval: seconds(10), percent: 50, minimum: 10 }),
        policy: Policy::default(),
        backends: vec![holder(ONE, "one"), holder(TWO, "two")],
    };
    Arc::new(Directory { services: vec![entry], counts_active: false })
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct Bed {
    follower: Follower<MemoryGuards>,
    sent: Arc<Mutex<Vec<Vec<u32>>>>,
    reports: watch::Receiver<Arc<Reports>>,
}

fn bed() -> Bed {
    let mut store = MemoryGuards::default();
    store.set_policy(SERVICE, Policy { outlier: POLICY, ..Policy::default() });
    store.set_generation(ONE, 5);
    store.set_generation(TWO, 5);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&sent);
    let ejected = move |all: Ejected| {
        into.lock().unwrap().push(all.into_iter().map(|(backend, _)| backend.index).collect());
    };
    let (reports, receiver) = watch::channel(Arc::default());
    let (_, repairs) = watch::channel(Repairs::default());
    let outputs = Outputs { ejected: Box::new(ejected), reports, repairs };
    Bed { follower: Follower::new(store, outputs), sent, reports: receiver }
}

impl Bed {
    fn sent(&self) -> Vec<Vec<u32>> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    fn count(&mut self, index: BackendIndex, good: u64, bad: u64) {
        self.follower.store.set_outcomes(index, good, bad);
    }
}

#[test]
fn an_ejection_of_the_programs_is_passed_on_and_ended_in_time() {
    let mut bed = bed();
    let next = bed.follower.step(vec![Input::Directory(directory())], seconds(100));
    assert_eq!(next, Some(seconds(100) + LOOK));
    let ejected = outlier::eject(2, &POLICY, 101_000);
    bed.follower.store.set(Word::Outlier(ONE), ejected);
    bed.follower.store.set(Word::Ejected(SERVICE), 1);
    let transition = Transition {
        kind: EventKind::OUTLIER,
        service: SERVICE,
        backend: ONE,
        generation: 5,
        time_ns: 101_000_000_000,
        before: 2,
        after: ejected,
    };
    bed.follower.step(vec![Input::Transitions(vec![transition])], seconds(101));
    assert_eq!(bed.sent(), [[7]]);
    let report = bed.reports.borrow_and_update().at(102_000).remove(0);
    assert_eq!((report.since_ms, report.remaining_ms), (1_000, 29_000));
    assert_eq!(report.cause, "2 failed connects in a row");
    // Nothing is told by looks, and the last one comes exactly when the time is over.
    let mut now = seconds(101);
    while now < seconds(131) {
        assert_eq!(bed.follower.store.read(Word::Outlier(ONE)), ejected, "{now:?}");
        now = bed.follower.step(Vec::new(), now).unwrap();
    }
    assert_eq!(now, seconds(131));
    bed.follower.step(Vec::new(), now);
    assert_eq!(bed.follower.store.read(Word::Outlier(ONE)), outlier::back(ejected));
    assert_eq!(bed.follower.store.read(Word::Ejected(SERVICE)), 0);
    assert_eq!(bed.sent(), [Vec::<u32>::new()]);
    assert!(bed.reports.has_changed().unwrap() && bed.reports.borrow().is_empty());
    assert_eq!(bed.follower.counts.ejections, 1);
}

#[test]
fn who_fails_too_often_is_ejected_as_far_as_may_be() {
    let mut bed = bed();
    bed.follower.step(vec![Input::Directory(directory())], seconds(100));
    for index in [ONE, TWO] {
        bed.count(index, 5, 5);
    }
    bed.follower.step(Vec::new(), seconds(109));
    assert_eq!(bed.sent(), Vec::<Vec<u32>>::new(), "not before the interval has passed");
    bed.follower.step(Vec::new(), seconds(110));
    assert_eq!(bed.sent(), [[7]]);
    assert_eq!(bed.follower.store.read(Word::Ejected(SERVICE)), 1);
    let report = bed.reports.borrow_and_update().at(110_000).remove(0);
    assert_eq!(report.cause, "5 of 10 connects failed within 10s");
    assert_eq!((report.endpoint.as_str(), report.remaining_ms), ("one", 30_000));
}

#[test]
fn without_a_policy_nobody_stays_ejected() {
    let mut bed = bed();
    bed.follower.step(vec![Input::Directory(directory())], seconds(100));
    bed.count(ONE, 0, 10);
    bed.follower.step(Vec::new(), seconds(110));
    assert_eq!(bed.sent(), [[7]]);
    bed.follower.store.set_policy(SERVICE, Policy::default());
    bed.follower.step(Vec::new(), seconds(111));
    assert_eq!(bed.sent(), [Vec::<u32>::new()]);
    assert_eq!(bed.follower.store.read(Word::Ejected(SERVICE)), 0);

    bed.follower.store.set_policy(SERVICE, Policy { outlier: POLICY, ..Policy::default() });
    bed.count(ONE, 0, 20);
    bed.follower.step(Vec::new(), seconds(120));
    assert_eq!(bed.sent(), [[7]]);
    // The service loses its guards, or its port.
    let next = bed.follower.step(vec![Input::Directory(Arc::default())], seconds(121));
    assert_eq!((next, bed.sent()), (None, vec![Vec::new()]));
    assert_eq!(bed.follower.store.read(Word::Ejected(SERVICE)), 0);
    assert!(!outlier::is_ejected(bed.follower.store.read(Word::Outlier(ONE))));
}

#[test]
fn panic_ends_no_ejection_and_begins_none() {
    let mut bed = bed();
    bed.follower.step(vec![Input::Directory(directory())], seconds(100));
    bed.count(ONE, 0, 10);
    bed.follower.step(Vec::new(), seconds(110));
    assert_eq!(bed.sent(), [[7]]);
    let ejected = bed.follower.store.read(Word::Outlier(ONE));

    // What the compiler leaves of it in panic; the rest of the policy is as it was.
    let outlier = OutlierPolicy { consecutive_failures: 0, base_ms: 0, max_ejected: 2, ..POLICY };
    bed.follower.store.set_policy(SERVICE, Policy { outlier, ..Policy::default() });
    bed.count(TWO, 0, 10);
    bed.follower.step(vec![Input::Directory(directory())], seconds(115));
    bed.follower.step(Vec::new(), seconds(125));
    assert_eq!(bed.sent(), Vec::<Vec<u32>>::new());
    assert_eq!(bed.follower.store.read(Word::Outlier(ONE)), ejected);
    assert_eq!(bed.follower.store.read(Word::Outlier(TWO)), 0);

    // Its time passes meanwhile, and after that the percentage is looked at as before.
    bed.follower.step(Vec::new(), seconds(140));
    assert_eq!(bed.sent(), [Vec::<u32>::new()]);
    assert_eq!(bed.follower.store.read(Word::Ejected(SERVICE)), 0);
    bed.follower.store.set_policy(SERVICE, Policy { outlier: POLICY, ..Policy::default() });
    bed.count(TWO, 0, 20);
    bed.follower.step(Vec::new(), seconds(141));
    bed.follower.step(Vec::new(), seconds(151));
    assert_eq!(bed.sent(), [[8]]);
}

#[test]
fn numbers_are_those_of_the_moment() {
    let mut bed = bed();
    bed.follower.step(vec![Input::Directory(directory())], seconds(100));
    bed.follower.store.set(Word::ServiceLoad(SERVICE), 3 | 1 << 32);
    let (reply, mut answer) = oneshot::channel();
    bed.follower.step(vec![Input::Stats(reply)], seconds(100));
    let stats = answer.try_recv().unwrap();
    assert_eq!(stats.loads.values().copied().collect::<Vec<_>>(), [(3, 1)]);
}
