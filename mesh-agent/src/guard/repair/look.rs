//! Reads the table of connections, and which of their sockets are still there.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use mesh_api::model::Protocol;
use mesh_common::logic::table::place;

use super::leak::Entry;
use crate::cgroup::v2_path;
use crate::maps::kernel::conns::ConnTable;
use crate::netns::{Namespace, Namespaces, NetnsError};
use crate::sockets::{Diag, DiagError};

/// All records in use.
#[must_use]
pub fn records(table: &ConnTable) -> Vec<Entry> {
    let groups = (0..).zip(table.groups());
    let places = groups.flat_map(|(number, group)| {
        (0..).zip(group.cookies).map(move |(way, cookie)| (cookie, place(number, way)))
    });
    let used = places.filter(|(cookie, _)| *cookie != 0);
    used.filter_map(|(cookie, place)| Some(Entry { place, cookie, record: table.record(place)? }))
        .collect()
}

/// Why nothing can be said about sockets.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The namespaces cannot be listed, or not all.
    #[error("cannot look into all network namespaces: {0}")]
    Namespaces(#[source] NetnsError),
    /// Processes hide theirs.
    #[error("the network namespaces of {0} processes are hidden; the agent needs CAP_SYS_PTRACE")]
    Hidden(usize),
    /// The sockets of one cannot be listed.
    #[error("cannot list the sockets of the network namespace {name}: {source}")]
    Sockets {
        /// The namespace.
        name: String,
        /// The cause.
        #[source]
        source: DiagError,
    },
}

/// Looks for sockets in all network namespaces.
#[derive(Debug)]
pub struct Sockets {
    namespaces: Namespaces,
    /// As `/proc/PID/cgroup` names it.
    cgroup: PathBuf,
}

impl Sockets {
    /// The programs are attached to this cgroup.
    #[must_use]
    pub fn new(cgroup: &Path) -> Self {
        // Every cgroup of the hierarchy has this file, and the folder above its mount has not.
        let mount = cgroup.ancestors().filter(|it| it.join("cgroup.controllers").exists()).last();
        let below = mount.and_then(|mount| cgroup.strip_prefix(mount).ok());
        let cgroup = Path::new("/").join(below.unwrap_or(Path::new("")));
        Self { namespaces: Namespaces::default(), cgroup }
    }

    /// Finds out which of these records' sockets are there. In vain, where a namespace cannot be
    /// looked at.
    ///
    /// First only sockets to the records' backends are asked for; where some are missing then, all
    /// are, for those that have connected elsewhere.
    pub fn alive(&mut self, records: &[Entry]) -> Result<HashSet<u64>, LookError> {
        let wanted: HashSet<u64> = records.iter().map(|entry| entry.cookie).collect();
        let mut found = HashSet::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let listing = self.namespaces.scan().map_err(LookError::Namespaces)?;
        if let Some(error) = listing.failed.into_iter().next() {
            return Err(LookError::Namespaces(error));
        }
        if listing.hidden > 0 && self.hides() {
            return Err(LookError::Hidden(listing.hidden));
        }
        let mut namespaces = listing.namespaces;
        // Most sockets are usually in the host's.
        namespaces.sort_by_key(|namespace| !namespace.own);
        let peer = |entry: &Entry| {
            SocketAddr::new(entry.record.backend_addr.to_ip(), entry.record.backend_port)
        };
        let peers: BTreeSet<SocketAddr> = records.iter().map(peer).collect();
        let peers: Vec<SocketAddr> = peers.into_iter().collect();
        for peers in [Some(peers.as_slice()), None] {
            for namespace in &namespaces {
                if found.len() == wanted.len() {
                    return Ok(found);
                }
                match search(namespace, peers, &wanted, &mut found) {
                    // With the namespace its sockets are gone.
                    Ok(()) | Err(DiagError::Namespace(NetnsError::Gone { .. })) => {}
                    Err(source) => {
                        return Err(LookError::Sockets { name: namespace.name(), source });
                    }
                }
            }
        }
        Ok(found)
    }

    /// Whether a process that hides its namespace is in the cgroup. The sockets of others have no
    /// records.
    fn hides(&self) -> bool {
        let Ok(processes) = fs::read_dir("/proc") else { return true };
        processes.flatten().map(|entry| entry.path()).any(|process| {
            let hidden = fs::read_link(process.join("ns/net"))
                .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
            hidden && fs::read_to_string(process.join("cgroup")).map_or(true, |it| self.has(&it))
        })
    }

    /// Whether these lines of `/proc/PID/cgroup` say that the process is in the cgroup.
    fn has(&self, lines: &str) -> bool {
        v2_path(lines).is_some_and(|path| Path::new(path).starts_with(&self.cgroup))
    }
}

fn search(
    namespace: &Namespace,
    peers: Option<&[SocketAddr]>,
    wanted: &HashSet<u64>,
    found: &mut HashSet<u64>,
) -> Result<(), DiagError> {
    let mut diag = Diag::open(namespace)?;
    let mut see = |cookie: u64| {
        if wanted.contains(&cookie) {
            found.insert(cookie);
        }
    };
    match peers {
        Some(peers) => diag.each(Protocol::Tcp, peers, None, |socket| see(socket.cookie)),
        None => diag.all(Protocol::Tcp, |socket| see(socket.cookie)),
    }
}
