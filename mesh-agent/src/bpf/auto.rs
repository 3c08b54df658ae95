//! The maps as `acceleration: Auto` needs them: which services leave it to the agent, their
//! connections, and the map of clients that have it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mesh_common::accel::{AutoKey, Pair};
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::conn::Stage;
use mesh_common::counter::BackendCounters;
use mesh_common::limits::MAX_AUTO_CLIENTS;
use mesh_common::logic::table::place;
use mesh_common::names;
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};

use super::load::map_path;
use super::mapped::{Access, Mapped};
use super::pinned::Pinned;
use crate::accel::auto::census::Incarnation;
use crate::maps::kernel::conns::ConnTable;
use crate::maps::kernel::{open_error, pinned, read_error};
use crate::maps::{BoxError, MapError};

/// A connection to a backend of this node, as the programs have noted it.
#[derive(Clone, Copy, Debug)]
pub struct Noted {
    /// Cookie of the client's socket.
    pub cookie: u64,
    /// Its place in `conns` and `pairs`.
    pub place: u32,
    /// What it was made to.
    pub service: ServiceIndex,
    /// Its backend.
    pub backend: Incarnation,
    /// Where it went.
    pub server: SocketAddr,
    /// `CLOCK_MONOTONIC` nanoseconds when it began.
    pub started_ns: u64,
}

/// What the maps say of services that leave acceleration to the agent.
#[derive(Debug, Default)]
pub struct Noticed {
    /// The services.
    pub services: BTreeSet<ServiceIndex>,
    /// Their open connections to backends of this node.
    pub connections: Vec<Noted>,
    /// The counters of their backends on this node: how many were opened, also by others that had the
    /// index before.
    pub opened: BTreeMap<ServiceIndex, BTreeMap<Incarnation, u64>>,
}

/// The map of clients whose new connections to a service are accelerated.
#[derive(Debug)]
pub struct AutoClients {
    map: Pinned<AutoKey, u32>,
}

impl AutoClients {
    /// Opens what is pinned below `pin_path`.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        Ok(Self { map: pinned(pin_path, names::AUTO_CLIENTS)? })
    }

    /// The clients that are in it.
    pub fn all(&self) -> Result<BTreeSet<AutoKey>, MapError> {
        let mut clients = BTreeSet::new();
        let with = |key, _: &[u32]| clients.extend([key]);
        self.map.each(with).map_err(read_error(names::AUTO_CLIENTS))?;
        Ok(clients)
    }

    /// Has new connections of a client accelerated.
    pub fn add(&self, client: AutoKey) -> Result<(), MapError> {
        self.map.update(&[(client, 1)]).map_err(|(_, source)| write(source))
    }

    /// Has none of a client's connections accelerated, from the next message on.
    pub fn remove(&self, client: AutoKey) -> Result<(), MapError> {
        match self.map.delete(&[client]) {
            Err((_, source)) if source.kind() != io::ErrorKind::NotFound => Err(write(source)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes every client out.
    pub fn clear(&self) -> Result<(), MapError> {
        self.all()?.into_iter().try_for_each(|client| self.remove(client))
    }

    /// Takes those of a service out, before its index gets another one.
    pub fn forget(&self, service: ServiceIndex) -> Result<(), MapError> {
        let all = self.all()?.into_iter();
        all.filter(|client| client.service == service).try_for_each(|client| self.remove(client))
    }

    /// They as `mesh-agent dump` prints them: a line each.
    pub fn dump(&self) -> Result<String, MapError> {
        let line = |client: &AutoKey| (client.service.index, client.cgroup);
        let mut lines: Vec<_> = self.all()?.iter().map(line).collect();
        lines.sort_unstable();
        let line = |(service, cgroup)| format!("AUTO SERVICE={service} CGROUP={cgroup}\n");
        Ok(lines.into_iter().map(line).collect())
    }
}

/// The pinned maps.
#[derive(Debug)]
pub struct AutoMaps {
    /// The clients that have it.
    pub clients: AutoClients,
    pin_path: PathBuf,
    pairs: Pinned<u32, Pair>,
    counters: Pinned<u32, BackendCounters>,
}

impl AutoMaps {
    /// Opens what is pinned below `pin_path`, and takes every client out of the map: what an earlier
    /// agent has seen is not known any more.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        let maps = Self {
            pin_path: pin_path.to_owned(),
            clients: AutoClients::open(pin_path)?,
            pairs: pinned(pin_path, names::PAIRS)?,
            counters: pinned(pin_path, names::BACKEND_COUNTERS)?,
        };
        maps.clients.clear()?;
        Ok(maps)
    }

    /// Reads what the programs have noted. Records are changed while they are read: what is taken
    /// for something else does no harm, because its socket's addresses have to agree.
    pub fn read(&self) -> Result<Noticed, MapError> {
        let services: Mapped<ServiceHead> = mapped(&self.pin_path, names::SERVICES)?;
        let auto = |head: &ServiceHead| head.flags.contains(ServiceFlags::AUTO);
        let services = (0..).zip(services.iter()).filter(|(_, head)| auto(head));
        let services: BTreeSet<_> = services.map(|(index, _)| ServiceIndex { index }).collect();
        if services.is_empty() {
            return Ok(Noticed::default());
        }
        let backends = self.backends(&services)?;
        let mut opened: BTreeMap<ServiceIndex, BTreeMap<Incarnation, u64>> = BTreeMap::new();
        for (index, backend) in &backends {
            let incarnation = Incarnation { index: *index, generation: backend.generation };
            let counters = opened.entry(backend.service).or_default();
            counters.insert(incarnation, self.opened(*index)?);
        }
        Ok(Noticed { connections: self.connections(&backends)?, services, opened })
    }

    /// The backends of this node, of these services.
    fn backends(
        &self,
        services: &BTreeSet<ServiceIndex>,
    ) -> Result<BTreeMap<BackendIndex, Backend>, MapError> {
        let backends: Mapped<Backend> = mapped(&self.pin_path, names::BACKENDS)?;
        let wanted = |backend: &Backend| {
            services.contains(&backend.service) && backend.flags.contains(BackendFlags::LOCAL)
        };
        let all = (0..).zip(backends.iter()).filter(|(_, backend)| wanted(backend));
        Ok(all.map(|(index, backend)| (BackendIndex { index }, backend)).collect())
    }

    fn opened(&self, BackendIndex { index }: BackendIndex) -> Result<u64, MapError> {
        let counters = self.counters.entry(index).map_err(read_error(names::BACKEND_COUNTERS))?;
        Ok(counters.iter().map(|counters| counters.opened).sum())
    }

    fn connections(
        &self,
        backends: &BTreeMap<BackendIndex, Backend>,
    ) -> Result<Vec<Noted>, MapError> {
        let table = ConnTable::open(&self.pin_path)?;
        let mut connections = Vec::new();
        for (number, group) in (0..).zip(table.groups()) {
            for (way, cookie) in (0..).zip(group.cookies).filter(|(_, cookie)| *cookie != 0) {
                let place = place(number, way);
                let Some(record) = table.record(place) else { continue };
                let Some(backend) = backends.get(&record.backend) else { continue };
                let same = record.generation == backend.generation
                    && record.service == backend.service
                    && record.stage == Stage::OPEN;
                if same {
                    connections.push(Noted {
                        cookie,
                        place,
                        service: record.service,
                        backend: Incarnation {
                            index: record.backend,
                            generation: record.generation,
                        },
                        server: SocketAddr::new(record.backend_addr.to_ip(), record.backend_port),
                        started_ns: record.started_ns,
                    });
                }
            }
        }
        Ok(connections)
    }

    /// Has new connections of a client accelerated, if `on`, the service's backends when the client was
    /// looked at, are not all gone; says whether that is so. A service whose index goes to another one
    /// has lost all of them by then (generations are not given out twice), and what is in the map for
    /// that index is taken out before it gets its new head: by [`AutoClients::forget`] if it was put in
    /// before that, and here if after.
    pub fn grant(&self, client: AutoKey, on: &BTreeSet<Incarnation>) -> Result<bool, MapError> {
        self.clients.add(client)?;
        let there = self.backends(&[client.service].into());
        let is_there = |(index, backend): (BackendIndex, Backend)| {
            on.contains(&Incarnation { index, generation: backend.generation })
        };
        match there.map(|there| there.into_iter().any(is_there)) {
            Ok(true) => Ok(true),
            Ok(false) => self.clients.remove(client).map(|()| false),
            Err(error) => self.clients.remove(client).and(Err(error)),
        }
    }

    /// The programs' account of a connection; all zero where it is not accelerated.
    pub fn pair(&self, connection: &Noted) -> Result<Pair, MapError> {
        let pairs = self.pairs.entry(connection.place).map_err(read_error(names::PAIRS))?;
        let pair = pairs.first().filter(|pair| pair.id.is_of(connection.cookie));
        Ok(pair.copied().unwrap_or_default())
    }
}

fn mapped<T: aya::Pod>(pin_path: &Path, map: &str) -> Result<Mapped<T>, MapError> {
    let path = map_path(pin_path, map);
    Mapped::open(&path, Access::Read).map_err(open_error(&path))
}

fn write(source: io::Error) -> MapError {
    let full = source.raw_os_error() == Some(libc::E2BIG);
    let said = || format!("it has room for {MAX_AUTO_CLIENTS} clients, and is full");
    let source: BoxError = if full { said().into() } else { source.into() };
    MapError::Write { map: names::AUTO_CLIENTS, source }
}
