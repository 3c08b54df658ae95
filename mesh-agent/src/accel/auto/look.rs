//! One look at everything that can be seen of the connections of services that leave acceleration to
//! the agent. Blocking; what it costs grows with the connections of these services, and is bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mesh_common::accel::Path as Way;
use mesh_common::service::ServiceIndex;

use super::census::{Census, Open};
use super::evidence::{Connection, End, Seen, turn};
use super::holders::{Held, Holders};
use super::traffic::Traffic;
use super::{MOST_SOCKETS, Settings};
use crate::bpf::auto::{AutoMaps, Noted};
use crate::maps::MapError;
use crate::netns::{Namespace, Namespaces, NetnsError, NetnsId};
use crate::sockets::{Diag, DiagError, Socket, State};

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    /// The maps cannot be read.
    #[error(transparent)]
    Maps(#[from] MapError),
    /// The network namespaces cannot be listed.
    #[error(transparent)]
    Namespaces(#[from] NetnsError),
    /// The sockets of one cannot be listed.
    #[error("in the network namespace {namespace}: {source}")]
    Sockets {
        /// Its name.
        namespace: String,
        /// The cause.
        #[source]
        source: DiagError,
    },
    /// The processes cannot be listed.
    #[error("cannot read /proc: {0}")]
    Processes(#[source] io::Error),
}

/// Looks, and remembers what makes the next look cheaper.
#[derive(Debug)]
pub(super) struct Eyes {
    settings: Settings,
    namespaces: Namespaces,
    holders: Holders,
    /// Namespaces in which there were sockets that mattered.
    busy: BTreeSet<NetnsId>,
    census: BTreeMap<ServiceIndex, Census>,
    /// Whose turn it was last.
    last: BTreeMap<ServiceIndex, u64>,
}

/// The two ends of a connection as the kernel tells of them.
#[derive(Debug, Default)]
struct Sockets {
    clients: HashMap<u64, Socket>,
    /// By own address and the peer's. Two namespaces can have the same.
    servers: HashMap<(SocketAddr, SocketAddr), Vec<Socket>>,
}

impl Eyes {
    pub(super) fn new(settings: Settings, cgroups: PathBuf) -> Self {
        Self {
            settings,
            namespaces: Namespaces::default(),
            holders: Holders::new("/proc".into(), cgroups),
            busy: BTreeSet::new(),
            census: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    /// One look. `now` is `CLOCK_MONOTONIC`.
    pub(super) fn look(&mut self, maps: &AutoMaps, now: Duration) -> Result<Seen, LookError> {
        let mut noticed = maps.read()?;
        let services = noticed.services;
        self.census.retain(|service, _| services.contains(service));
        self.last.retain(|service, _| services.contains(service));
        let age = |noted: &Noted| now.saturating_sub(Duration::from_nanos(noted.started_ns));
        let mut by_service: BTreeMap<ServiceIndex, BTreeMap<u64, Noted>> = BTreeMap::new();
        for noted in noticed.connections {
            by_service.entry(noted.service).or_default().insert(noted.cookie, noted);
        }
        let mut seen = Seen { services, ..Seen::default() };
        let mut chosen: Vec<Noted> = Vec::new();
        for service in &seen.services {
            let open = by_service.remove(service).unwrap_or_default();
            let is_young = |it: &Noted| age(it) < self.settings.long;
            let counted = |it: &Noted| Open { backend: it.backend, young: is_young(it) };
            let counted = open.values().map(|it| (it.cookie, counted(it))).collect();
            let opened = noticed.opened.remove(service).unwrap_or_default();
            seen.backends.insert(*service, opened.keys().copied().collect());
            if self.census.entry(*service).or_default().look(&opened, counted) {
                seen.short_lived.insert(*service);
            }
            let settled = open.values().filter(|it| age(it) >= self.settings.settle);
            let cookies: BTreeSet<u64> = settled.map(|it| it.cookie).collect();
            let last = self.last.entry(*service).or_default();
            let turn = turn(&cookies, *last, MOST_SOCKETS);
            *last = turn.last().copied().unwrap_or(0);
            chosen.extend(turn.iter().filter_map(|cookie| open.get(cookie)));
            seen.looked.extend(turn);
            seen.open.insert(*service, cookies);
        }
        let sockets = self.sockets(&chosen)?;
        let ends = sockets.clients.values().chain(sockets.servers.values().flatten());
        let inodes = ends.map(|socket| socket.inode).filter(|inode| *inode != 0).collect();
        let held = self.holders.look(&inodes).map_err(LookError::Processes)?;
        for noted in &chosen {
            let Some(client) = sockets.client(noted) else {
                seen.lost.insert(noted.service);
                continue;
            };
            let servers = sockets.servers(client);
            // An application that has closed its end reads no more.
            if is_closed(client) || !servers.is_empty() && servers.iter().all(is_closed) {
                continue;
            }
            let pair = maps.pair(noted)?;
            let is = |way| pair.sent_path == way || pair.received_path == way;
            seen.connections.push(Connection {
                cookie: noted.cookie,
                service: noted.service,
                cgroup: held.get(&client.inode).map(|held| held.cgroup),
                maker: (pair.cgroup != 0).then_some(pair.cgroup),
                age: age(noted),
                client: end(&held, std::slice::from_ref(client)),
                server: end(&held, servers),
                upper_layer: client.upper_layer || servers.iter().any(|it| it.upper_layer),
                traffic: Traffic::new(client.carried, &pair),
                redirected: is(Way::REDIRECTED),
                left: is(Way::LEFT),
            });
        }
        Ok(seen)
    }

    /// Finds the sockets: where some were the last time, and elsewhere if any is missing.
    fn sockets(&mut self, chosen: &[Noted]) -> Result<Sockets, LookError> {
        let mut sockets = Sockets::default();
        if chosen.is_empty() {
            self.busy.clear();
            return Ok(sockets);
        }
        let wanted: BTreeSet<u64> = chosen.iter().map(|noted| noted.cookie).collect();
        let addresses: BTreeSet<SocketAddr> = chosen.iter().map(|noted| noted.server).collect();
        let addresses: Vec<SocketAddr> = addresses.into_iter().collect();
        let listing = self.namespaces.scan()?;
        let known = std::mem::take(&mut self.busy);
        let (mut namespaces, others): (Vec<_>, Vec<_>) =
            listing.namespaces.iter().partition(|namespace| known.contains(&namespace.id));
        namespaces.extend(others);
        for (at, namespace) in namespaces.into_iter().enumerate() {
            if at >= known.len() && sockets.is_complete(chosen) {
                break;
            }
            if sockets.add(namespace, &addresses, &wanted)? {
                self.busy.insert(namespace.id);
            }
        }
        sockets.keep_peers();
        Ok(sockets)
    }
}

impl Sockets {
    /// Adds those of a namespace; says whether there were any that matter.
    fn add(
        &mut self,
        namespace: &Namespace,
        addresses: &[SocketAddr],
        wanted: &BTreeSet<u64>,
    ) -> Result<bool, LookError> {
        let mut any = false;
        let see = |socket: Socket| {
            if wanted.contains(&socket.cookie) {
                any = true;
                self.clients.insert(socket.cookie, socket);
            } else if addresses.binary_search(&socket.local).is_ok() {
                any = true;
                let same = self.servers.entry((socket.local, socket.remote)).or_default();
                if same.iter().all(|it| it.cookie != socket.cookie) {
                    same.push(socket);
                }
            }
        };
        let listed = Diag::open(namespace).and_then(|mut diag| diag.both_ends(addresses, see));
        match listed {
            // With the namespace its sockets are gone.
            Ok(()) | Err(DiagError::Namespace(NetnsError::Gone { .. })) => Ok(any),
            Err(source) => Err(LookError::Sockets { namespace: namespace.name(), source }),
        }
    }

    fn is_complete(&self, chosen: &[Noted]) -> bool {
        chosen
            .iter()
            .all(|noted| self.client(noted).is_some_and(|client| !self.servers(client).is_empty()))
    }

    /// The client's socket, if the record is about what it is connected to.
    fn client(&self, noted: &Noted) -> Option<&Socket> {
        self.clients.get(&noted.cookie).filter(|socket| socket.remote == noted.server)
    }

    fn servers(&self, client: &Socket) -> &[Socket] {
        self.servers.get(&(client.remote, client.local)).map_or(&[], Vec::as_slice)
    }

    /// Forgets servers of connections that are not looked at.
    fn keep_peers(&mut self) {
        let clients: BTreeSet<_> =
            self.clients.values().map(|client| (client.remote, client.local)).collect();
        self.servers.retain(|addresses, _| clients.contains(addresses));
    }
}

/// Whether the application has closed it. One that it has not accepted yet has no file either.
fn is_closed(socket: &Socket) -> bool {
    let open = [State::ESTABLISHED, State::CLOSE_WAIT].contains(&socket.state);
    socket.inode == 0 && !open
}

/// What sockets are, of which one is the connection's.
fn end(held: &BTreeMap<u32, Held>, sockets: &[Socket]) -> End {
    let held: Vec<Option<&Held>> = sockets.iter().map(|it| held.get(&it.inode)).collect();
    if held.iter().flatten().any(|held| !held.nonblocking) {
        End::Blocking
    } else if held.is_empty() || held.iter().any(Option::is_none) {
        End::Missing
    } else {
        End::EventDriven
    }
}
