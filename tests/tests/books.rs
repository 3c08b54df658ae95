//! Both ends of the books: what an agent counts and reports, and what the control plane makes of it,
//! come to what was counted, for each service, whatever comes and goes and gets lost between them.
#![cfg(test)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mesh_agent::compile::Limits;
use mesh_agent::edges::names::Names;
use mesh_agent::edges::{Rest, Roster};
use mesh_agent::ledger::{Journal, Sources};
use mesh_agent::maps::MapStore as _;
use mesh_agent::maps::memory::MemoryMaps;
use mesh_agent::reconcile::Reconciler;
use mesh_agent::report::changes::Changes;
use mesh_agent::report::rows::counted;
use mesh_agent::worker::Stats;
use mesh_agent::world::{Change, NodeLocality};
use mesh_api::model::{
    Endpoint, EndpointState, Kind, Label, Locality, Object, ObjectName, ObjectRef, OnNoBackend,
    Protocol, Service, ServicePort,
};
use mesh_api::wire::{ReportTrafficRequest, ReportTrafficResponse};
use mesh_common::backend::BackendIndex;
use mesh_common::counter::BackendCounters;
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_control::api::telemetry::report::decode;
use mesh_control::telemetry::collector::{self, Collector, Outcome};
use mesh_control::telemetry::edge::Reporter;
use mesh_tests::scratch::Scratch;
use proptest::prelude::*;

const CLIENTS: u64 = 6;
/// So many have rows of their own.
const OWN: usize = 2;
const SERVICES: u8 = 2;
const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits { frontends: 16, services: 16, slots: 256, backends: 64 };

#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    /// It arrives, and its answer does not.
    AnswerLost,
    /// It arrives, and once more after the next one.
    Twice,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Connections of a client to a service.
    Connect(u64, u8, u64),
    /// Connections whose client is not known.
    Unknown(u8, u64),
    /// Another endpoint takes over, and whoever used the one before has gone from the maps.
    Replace(u8),
    Report(Fate),
    KillAgent,
    RestartControlPlane,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::Twice),
    ];
    prop_oneof![
        6 => (1..=CLIENTS, 0..SERVICES, 1..50_u64)
            .prop_map(|(client, service, count)| Step::Connect(client, service, count)),
        1 => (0..SERVICES, 1..5_u64).prop_map(|(service, count)| Step::Unknown(service, count)),
        3 => (0..SERVICES).prop_map(Step::Replace),
        5 => fate.prop_map(Step::Report),
        1 => Just(Step::KillAgent),
        1 => Just(Step::RestartControlPlane),
    ]
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn name(service: u8) -> ObjectName {
    format!("default/s{service}").parse().unwrap()
}

fn service(at: u8) -> Object {
    Object::Service(Service {
        name: name(at),
        labels: [].into(),
        vips: vec![Ipv4Addr::new(10, 96, 0, at + 1).into()],
        ports: [ServicePort {
            name: "p".parse().unwrap(),
            port: 80_u32.try_into().unwrap(),
            target_port: 8080_u32.try_into().unwrap(),
            protocol: Protocol::Tcp,
            app_protocol: None,
        }]
        .into(),
        on_no_backend: OnNoBackend::default(),
        session_affinity: None,
    })
}

fn endpoint_name(service: u8, turn: u8) -> ObjectName {
    format!("default/s{service}-{turn}").parse().unwrap()
}

fn endpoint(service: u8, turn: u8) -> Object {
    Object::Endpoint(Endpoint {
        name: endpoint_name(service, turn),
        labels: [].into(),
        service: name(service),
        version: Some(label(&format!("v{}", turn % 2))),
        address: Ipv4Addr::new(10, 1, service, turn).into(),
        ports: [].into(),
        node: None,
        workload: None,
        locality: Locality::default(),
        weight: 1,
        state: EndpointState::Serving,
        ttl: None,
    })
}

/// A node: what its kernel has counted outlives its agent.
struct Node {
    directory: Scratch,
    reconciler: Option<Reconciler<MemoryMaps>>,
    rest: Rest,
    changes: Changes,
    runs: u32,
    /// Which endpoint of a service there is.
    turns: [u8; SERVICES as usize],
    stamp: u32,
    raw: BTreeMap<BackendIndex, u64>,
    parts: BTreeMap<EdgeKey, u64>,
    counted: [u64; SERVICES as usize],
}

impl Node {
    fn new() -> Self {
        let mut it = Self {
            directory: Scratch::create("books").unwrap(),
            reconciler: None,
            rest: Rest::default(),
            changes: Changes::new("n1".to_owned(), "run0".to_owned(), 100),
            runs: 0,
            turns: [1; SERVICES as usize],
            stamp: 1,
            raw: BTreeMap::new(),
            parts: BTreeMap::new(),
            counted: [0; SERVICES as usize],
        };
        it.start(MemoryMaps::new(LIMITS));
        it
    }

    fn start(&mut self, maps: MemoryMaps) {
        let sources = Sources { boot: "boot".to_owned(), edges: 1, ..Sources::default() };
        let journal = Journal::open(self.directory.path(), &sources, None).unwrap();
        let mut names = Names::default();
        let all = (1..=CLIENTS).map(|id| (id, label(&format!("client-{id}"))));
        names.remember(&all.collect());
        let here = NodeLocality { node: Some(label("n1")), ..NodeLocality::default() };
        let clients = (names, Roster::new(OWN));
        let mut reconciler = Reconciler::open_with(maps, journal, here, clients).unwrap();
        reconciler.meet(1..=CLIENTS);
        for at in 0..SERVICES {
            let turn = self.turns[usize::from(at)];
            reconciler.change([Change::Put(service(at)), Change::Put(endpoint(at, turn))]);
        }
        self.stamp += 1;
        reconciler.install(self.stamp).unwrap();
        self.runs += 1;
        self.changes = Changes::new("n1".to_owned(), format!("run{}", self.runs), 100);
        self.rest = reconciler.kept_rest();
        self.reconciler = Some(reconciler);
    }

    fn reconciler(&mut self) -> &mut Reconciler<MemoryMaps> {
        self.reconciler.as_mut().unwrap()
    }

    fn kill(&mut self) {
        let maps = self.reconciler().maps().clone();
        self.start(maps);
    }

    /// Where connections to a service go now.
    fn backend(&mut self, service: u8) -> (BackendIndex, u32) {
        let addr = Ipv4Addr::new(10, 1, service, self.turns[usize::from(service)]);
        let image = self.reconciler().actual();
        let mut found = image.backends.iter();
        let found = found.find(|(_, it)| it.addr.to_ip() == addr).unwrap();
        (found.0, found.1.generation)
    }

    fn connect(&mut self, client: Option<u64>, service: u8, count: u64) {
        let (backend, generation) = self.backend(service);
        self.counted[usize::from(service)] += count;
        let raw = self.raw.entry(backend).or_default();
        *raw += count;
        let (opened, closed, attempts) = (*raw, *raw, *raw);
        let whole = BackendCounters { opened, closed, attempts, ..BackendCounters::default() };
        self.reconciler().maps_mut().count(backend, whole);
        let Some(cgroup) = client else { return };
        let key = EdgeKey { cgroup, backend, generation };
        let part = self.parts.entry(key).or_default();
        *part += count;
        let (opened, closed) = (*part, *part);
        let part = EdgeCounters { opened, closed, ..EdgeCounters::ZERO };
        self.reconciler().maps_mut().count_edge(key, part);
    }

    fn replace(&mut self, service: u8) {
        let turn = self.turns[usize::from(service)];
        let next = if turn == 250 { 1 } else { turn + 1 };
        self.turns[usize::from(service)] = next;
        self.stamp += 1;
        let (stamp, now) = (self.stamp, SECOND * 1_000 * self.stamp);
        let gone = ObjectRef { kind: Kind::Endpoint, name: endpoint_name(service, turn) };
        let reconciler = self.reconciler();
        reconciler.change([Change::Remove(gone), Change::Put(endpoint(service, next))]);
        reconciler.install(stamp).unwrap();
        reconciler.retire(now).unwrap();
        reconciler.sweep_edges(now).unwrap();
        reconciler.meet(1..=CLIENTS);
    }

    fn report(&mut self) -> ReportTrafficRequest {
        let reconciler = self.reconciler.as_mut().unwrap();
        let totals = reconciler.totals(&reconciler.raw().unwrap());
        let raw = reconciler.maps().edges().unwrap();
        let edges = reconciler.edges(&raw);
        let rows = self.rest.rows(&totals, &edges, &totals);
        reconciler.keep_rest(&self.rest, &edges);
        reconciler.meet(1..=CLIENTS);
        let (moves, last_move) = reconciler.journal().edges().moves();
        let moves = (moves.iter().cloned().collect(), last_move);
        let stats = Stats { totals, edges: rows, moves, settled: true, ..Stats::default() };
        self.changes.next(counted(&stats, "n1"), SECOND)
    }

    fn answered(&mut self, last_move: u64, send_all: bool) {
        self.changes.answered(ReportTrafficResponse { send_all, interval_ms: 0 });
        self.reconciler().moves_told(last_move);
    }
}

/// A control plane, and what has grown since its first full report.
struct Control {
    collector: Collector,
    base: Option<[u64; SERVICES as usize]>,
    grown: [u64; SERVICES as usize],
}

fn index(service: &str) -> usize {
    service.trim_start_matches('s').parse().unwrap()
}

impl Control {
    fn new() -> Self {
        let collector = Collector::new(collector::Limits { nodes: 1, edge_bytes: 1 << 20 });
        Self { collector, base: None, grown: [0; SERVICES as usize] }
    }

    /// Takes a report of what was `counted` then. Returns whether the next must be full.
    fn take(&mut self, report: ReportTrafficRequest, counted: [u64; SERVICES as usize]) -> bool {
        let full = report.full;
        let taken = self.collector.take(decode(report).unwrap(), Instant::now()).unwrap();
        assert_eq!(taken.resets, 0, "nothing has fallen");
        for change in taken.changes.iter().filter(|it| it.edge.reporter == Reporter::Source) {
            self.grown[index(&change.edge.service)] += change.growth.opened;
        }
        if full && self.base.is_none() {
            self.base = Some(counted);
            self.grown = [0; SERVICES as usize];
        }
        if taken.outcome != Outcome::Repeated && !taken.send_all {
            let mut sums = [0; SERVICES as usize];
            for (_, edge, counts) in self.collector.totals() {
                if edge.reporter == Reporter::Source {
                    sums[index(&edge.service)] += counts.opened;
                }
            }
            assert_eq!(sums, counted, "totals");
            let base = self.base.unwrap();
            let since: Vec<u64> = counted.iter().zip(base).map(|(now, then)| now - then).collect();
            assert_eq!(self.grown.as_slice(), since, "growth");
        }
        taken.send_all
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn what_is_known_is_what_was_counted(steps in prop::collection::vec(step(), 1..80)) {
        let (mut node, mut control) = (Node::new(), Control::new());
        // One that comes once more.
        let mut late = None;
        for step in steps.into_iter().chain([Step::Report(Fate::Arrives); 2]) {
            match step {
                Step::Connect(client, service, count) => node.connect(Some(client), service, count),
                Step::Unknown(service, count) => node.connect(None, service, count),
                Step::Replace(service) => node.replace(service),
                Step::KillAgent => node.kill(),
                Step::RestartControlPlane => {
                    // What was on its way to the one before is lost.
                    (control, late) = (Control::new(), None);
                }
                Step::Report(fate) => {
                    let report = node.report();
                    if matches!(fate, Fate::Lost) {
                        node.changes.failed();
                        continue;
                    }
                    let (copy, last_move) = (report.clone(), report.last_move);
                    let send_all = control.take(report, node.counted);
                    if let Some(late) = late.take() {
                        control.take(late, node.counted);
                    }
                    match fate {
                        Fate::AnswerLost => node.changes.failed(),
                        Fate::Twice => late = Some(copy),
                        Fate::Arrives | Fate::Lost => {}
                    }
                    if !matches!(fate, Fate::AnswerLost) {
                        node.answered(last_move, send_all);
                    }
                }
            }
        }
        prop_assert!(control.base.is_some());
    }
}
