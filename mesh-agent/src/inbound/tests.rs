//! Against a model: whatever endpoints and clients become, wherever an operation fails or the agent
//! dies, each connection is counted once, for whom it was opened.

use std::collections::BTreeMap;
use std::path::Path;

use mesh_api::model::Endpoint;
use mesh_common::addr::IpKey;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::InboundKey;
use proptest::prelude::*;

use super::Inbound;
use crate::edges::{Rows, Source};
use crate::ledger::{Journal, Sources};
use crate::maps::memory::inbound::MemoryInbound;
use crate::testing::{endpoint, label, name, put, service};
use crate::world::{Change, NodeLocality, World};

const NODE: &str = "here";
const PLACES: u8 = 3;
const CLIENTS: u8 = 3;
const MOST: usize = 2;

fn place(at: u8) -> FrontendKey {
    FrontendKey::new(IpKey::from_ip(endpoint("web", "v", at, 1).address), 8080, 6)
}

fn client(at: u8) -> IpKey {
    IpKey::from_ip(endpoint("shop", "v", 100 + at, 1).address)
}

/// The endpoint at a place; `version` 0: it is on another node.
fn local(at: u8, version: u8) -> Endpoint {
    Endpoint {
        name: name(&format!("web-{at}")),
        node: Some(label(if version == 0 { "elsewhere" } else { NODE })),
        ..endpoint("web", &format!("v{version}"), at, 1)
    }
}

fn peer(at: u8, workload: u8) -> Endpoint {
    Endpoint {
        name: name(&format!("shop-{at}")),
        workload: (workload > 0).then(|| label(&format!("shop-{workload}"))),
        ..endpoint("shop", "v1", 100 + at, 1)
    }
}

/// An agent, and the maps that outlive it.
struct Agent {
    maps: MemoryInbound,
    journal: Journal,
    world: World,
    inbound: Inbound,
    stamp: u32,
}

fn journal(directory: &Path) -> Journal {
    let sources = Sources { boot: "boot".to_owned(), inbound: 1, ..Sources::default() };
    Journal::open(directory, &sources, None).unwrap()
}

impl Agent {
    fn start(directory: &Path, maps: MemoryInbound) -> Self {
        let here = NodeLocality { node: Some(label(NODE)), ..NodeLocality::default() };
        let mut inbound = Inbound::default();
        inbound.set_on(true, MOST);
        let world = World::new(here);
        Self { maps, journal: journal(directory), world, inbound, stamp: 1 }
    }

    fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        changes.into_iter().for_each(|change| self.world.apply(change));
        self.world.take_changed();
        self.inbound.follow(&mut self.world);
        self.write();
    }

    fn write(&mut self) {
        let put = self.inbound.put(&mut self.maps, &mut self.journal, self.stamp);
        let outcome = put.and_then(|()| self.inbound.remove(&mut self.maps, &self.journal));
        self.inbound.note(outcome);
    }

    fn sweep(&mut self) {
        if self.inbound.is_behind() {
            self.write();
        }
        let outcome = self.inbound.sweep(&mut self.maps, &mut self.journal);
        self.inbound.note(outcome);
    }

    fn rows(&mut self) -> Rows {
        self.inbound.rows(&self.maps, &mut self.journal).unwrap().0
    }
}

/// What a row is called: client, version, opened, closed, bytes.
type Counts = BTreeMap<(String, String), (u64, u64, u64)>;

fn counts(rows: &Rows) -> Counts {
    let mut counts = Counts::new();
    for ((source, account), row) in rows {
        let version = account.version.as_ref().map(ToString::to_string).unwrap_or_default();
        let sum = counts.entry((source.to_string(), version)).or_default();
        sum.0 += row.counters.opened;
        sum.1 += row.counters.closed;
        sum.2 += row.counters.bytes_sent;
    }
    counts.retain(|_, sum| *sum != (0, 0, 0));
    counts
}

fn web() -> Change {
    put(service("web", &[1], &[80]))
}

#[test]
fn an_endpoint_at_two_services_is_the_first_ones_and_a_shared_address_nobodys() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(directory.path(), MemoryInbound::default());
    agent.change([web(), put(local(1, 1)), put(peer(1, 1))]);
    let first = agent.maps.open(client(1), &place(1)).unwrap();
    assert!(agent.maps.close(first, 5));
    // Another service's, with the same address and port, and another workload at the client's address.
    let mut app = service("app", &[2], &[80]);
    app.ports[0].name = "http".parse().unwrap();
    let other = Endpoint { service: name("app"), name: name("app-1"), ..local(1, 9) };
    let lodger = Endpoint { name: name("shop-9"), ..peer(1, 2) };
    agent.change([put(app), put(other), put(lodger)]);
    agent.maps.open(client(1), &place(1)).unwrap();
    let expected = [
        (("shop-1".to_owned(), "v1".to_owned()), (1, 1, 5)),
        (("unknown".to_owned(), "v9".to_owned()), (1, 0, 0)),
    ];
    let rows = agent.rows();
    assert_eq!(counts(&rows), expected.into());
    let app = rows.keys().find(|(_, account)| account.version == Some(label("v9")));
    assert_eq!(app.unwrap().1.service, Some(name("app")));
    assert_eq!(agent.maps.open(client(1), &place(2)), None);
}

#[test]
fn entries_go_when_their_last_connection_has_ended_and_what_they_say_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(directory.path(), MemoryInbound::default());
    agent.change([web(), put(local(1, 1)), put(peer(1, 1))]);
    let open = agent.maps.open(client(1), &place(1)).unwrap();
    agent.change([put(local(1, 2))]);
    agent.sweep();
    let now = agent.maps.open(client(1), &place(1)).unwrap();
    assert_ne!(open.endpoint, now.endpoint);
    assert!(agent.maps.close(open, 7), "it is counted to its end");
    let before = counts(&agent.rows());
    assert_eq!(before.get(&("shop-1".to_owned(), "v1".to_owned())), Some(&(1, 1, 7)));
    agent.sweep();
    // Of the present one: the unknown client's, and the shop's.
    assert_eq!(agent.maps.used(), 2);
    assert_eq!(counts(&agent.rows()), before);
    assert_eq!(agent.journal.inbound().endpoints().len(), 1);
    assert_eq!(agent.journal.inbound().marks().count(), 0);
}

#[test]
fn so_many_clients_have_rows_of_their_own_and_no_row_ever_falls() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(directory.path(), MemoryInbound::default());
    let all = || [web(), put(local(1, 1)), put(peer(0, 1)), put(peer(1, 2)), put(peer(2, 3))];
    agent.change(all());
    for from in [0, 1, 1, 2, 2, 2] {
        agent.maps.open(client(from), &place(1)).unwrap();
    }
    let row = |source: &str, count| ((source.to_owned(), "v1".to_owned()), (count, 0, 0));
    let mut expected: Counts = [row("shop-3", 3), row("shop-2", 2), row("other", 1)].into();
    assert_eq!(counts(&agent.rows()), expected);
    // Also when it is used most of all, by the next agent.
    agent = Agent::start(directory.path(), agent.maps.clone());
    agent.change(all());
    for _ in 0..9 {
        agent.maps.open(client(0), &place(1)).unwrap();
    }
    expected.extend([row("other", 10)]);
    assert_eq!(counts(&agent.rows()), expected);
}

#[derive(Clone, Debug)]
enum Act {
    Open(u8, u8),
    Close(prop::sample::Index, u64),
    Local(u8, u8),
    Peer(u8, u8),
    Sweep,
    Fail(usize),
    Crash,
    /// The agent dies, and endpoints are others before it comes back.
    Away(u8, u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..CLIENTS, 0..PLACES).prop_map(|(from, to)| Act::Open(from, to)),
        4 => (any::<prop::sample::Index>(), 0..9u64).prop_map(|(at, bytes)| Act::Close(at, bytes)),
        2 => (0..PLACES, 0..3u8).prop_map(|(at, version)| Act::Local(at, version)),
        2 => (0..CLIENTS, 0..3u8).prop_map(|(at, workload)| Act::Peer(at, workload)),
        2 => Just(Act::Sweep),
        1 => (0..6usize).prop_map(Act::Fail),
        1 => Just(Act::Crash),
        1 => (0..PLACES, 0..3u8).prop_map(|(at, version)| Act::Away(at, version)),
    ]
}

proptest! {
    #[test]
    fn each_connection_is_counted_once_for_whom_it_was_opened(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut agent = Agent::start(directory.path(), MemoryInbound::default());
        let (mut locals, mut peers) = ([0; PLACES as usize], [0; CLIENTS as usize]);
        let mut open: Vec<(InboundKey, (String, String))> = Vec::new();
        let mut model = Counts::new();
        let everything = |locals: &[u8], peers: &[u8]| {
            let locals = (0..).zip(locals.to_vec()).map(|(at, version)| put(local(at, version)));
            let peers = (0..).zip(peers.to_vec()).map(|(at, workload)| put(peer(at, workload)));
            std::iter::once(web()).chain(locals).chain(peers).collect::<Vec<_>>()
        };
        agent.change(everything(&locals, &peers));
        for act in acts {
            match act {
                Act::Open(from, to) => {
                    if let Some(key) = agent.maps.open(client(from), &place(to)) {
                        let book = agent.journal.inbound();
                        let version = book.account(key.endpoint).version;
                        let row = (
                            book.source(key.client).to_string(),
                            version.map(|it| it.to_string()).unwrap_or_default(),
                        );
                        model.entry(row.clone()).or_default().0 += 1;
                        open.push((key, row));
                    }
                }
                Act::Close(at, bytes) if !open.is_empty() => {
                    let (key, row) = open.swap_remove(at.index(open.len()));
                    prop_assert!(agent.maps.close(key, bytes), "its entry has gone");
                    let sum = model.entry(row).or_default();
                    (sum.1, sum.2) = (sum.1 + 1, sum.2 + bytes);
                }
                Act::Close(..) => {}
                Act::Local(at, version) => {
                    locals[usize::from(at)] = version;
                    agent.change([put(local(at, version))]);
                }
                Act::Peer(at, workload) => {
                    peers[usize::from(at)] = workload;
                    agent.change([put(peer(at, workload))]);
                }
                Act::Sweep => agent.sweep(),
                Act::Fail(after) => agent.maps.fail_after(after),
                Act::Crash | Act::Away(..) => {
                    if let Act::Away(at, version) = act {
                        locals[usize::from(at)] = version;
                    }
                    agent = Agent::start(directory.path(), agent.maps.clone());
                    agent.change(everything(&locals, &peers));
                }
            }
            prop_assert_eq!(counts(&agent.rows()), model.clone());
        }
        // When nothing fails any more, the maps are as they should be.
        agent.sweep();
        agent.sweep();
        for (at, version) in (0..).zip(locals) {
            let key = agent.maps.open(client(0), &place(at));
            prop_assert_eq!(key.is_some(), version > 0);
            if let Some(key) = key {
                let account = agent.journal.inbound().account(key.endpoint);
                prop_assert_eq!(account.version, Some(label(&format!("v{version}"))));
                let expected = match peers[0] {
                    0 => Source::Unknown,
                    workload => Source::Workload(label(&format!("shop-{workload}"))),
                };
                prop_assert_eq!(agent.journal.inbound().source(key.client), expected);
            }
        }
    }
}
