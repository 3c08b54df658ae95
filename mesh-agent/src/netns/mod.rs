//! The network namespaces of the machine: which there are, what people call them, their cookies
//! (what the programs in the kernel know them by), and a way to work inside one.
//!
//! Found are the namespaces of processes and those that a bind mount keeps (`ip netns`, CNI
//! plugins, container engines), as far as the mount is seen by this process or by process 1.
//! Out of reach is a namespace that only an open socket or descriptor keeps, or only a thread
//! that has left its process's namespace. Needs `CAP_SYS_ADMIN` (setns), `CAP_SYS_PTRACE` for
//! processes of others, and the host's `/proc` (in a container: the host's PID namespace).

mod cookie;
mod enter;
mod find;
mod mounts;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use self::enter::Door;
use self::find::Sighting;

pub use self::enter::run;

/// Identity of a live namespace. The kernel gives the inode number of a dead one to the next,
/// at once: only the cookie is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId {
    /// Device of the nsfs file system: the same for all of them.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
}

impl fmt::Display for NetnsId {
    /// As `/proc/PID/ns/net` reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

/// What can go wrong with namespaces.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The list of processes cannot be read.
    #[error("cannot read {}: {source}; the agent needs the host's /proc", .path.display())]
    Proc {
        /// What could not be read.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// setns is not permitted.
    #[error(
        "not permitted to enter the network namespace {id}: run as root, or with CAP_SYS_ADMIN \
         (and CAP_SYS_PTRACE for processes of others)"
    )]
    Permission {
        /// The namespace.
        id: NetnsId,
    },
    /// The namespace has ended, or nothing that leads into it is left.
    #[error("the network namespace {id} is gone, or nothing leads into it any more")]
    Gone {
        /// The namespace.
        id: NetnsId,
    },
    /// A system call failed.
    #[error("{call} failed in the network namespace {id}: {source}")]
    Call {
        /// The namespace.
        id: NetnsId,
        /// Name of the system call.
        call: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No thread could be started.
    #[error("cannot start a thread to enter network namespaces: {0}")]
    Thread(#[source] io::Error),
    /// The work panicked.
    #[error("the work inside network namespaces panicked")]
    Panicked,
}

/// A namespace that was there at the last scan.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its identity.
    pub id: NetnsId,
    /// Its cookie: `bpf_get_netns_cookie()` in programs, `SO_NETNS_COOKIE` (Linux 5.14) here.
    pub cookie: u64,
    /// File names of the bind mounts that keep it, sorted. Often none.
    pub mounts: Vec<String>,
    /// Whether the thread that scanned is in it; an agent should run in the host's.
    pub own: bool,
    doors: Vec<Door>,
}

impl Namespace {
    /// What to call it: its (first) bind mount's file name, else `net:[inode]`.
    #[must_use]
    pub fn name(&self) -> String {
        self.mounts.first().cloned().unwrap_or_else(|| self.id.to_string())
    }

    /// Everything that it may be called, for patterns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.mounts.iter().cloned().chain([self.id.to_string()]).collect()
    }
}

/// What a scan has found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Namespaces, by identity.
    pub namespaces: Vec<Namespace>,
    /// Namespaces that were seen but could not be entered. One that has ended meanwhile is in
    /// neither list.
    pub failed: Vec<NetnsError>,
    /// Processes whose namespace may not be seen: more than a few, and `CAP_SYS_PTRACE` is
    /// missing.
    pub hidden: usize,
}

/// In how many scans each cookie is read anew at least once, whatever is known of it.
const REFRESH: u64 = 32;

/// Finds namespaces, again and again. Remembers cookies but keeps no descriptor, so that it
/// does not keep dead namespaces alive.
#[derive(Debug)]
pub struct Namespaces {
    proc: PathBuf,
    scans: u64,
    known: BTreeMap<NetnsId, Known>,
}

#[derive(Debug)]
struct Known {
    cookie: u64,
    door: Door,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::new("/proc".into())
    }
}

impl Namespaces {
    /// Looks below `proc`, where the host's processes are to be seen.
    #[must_use]
    pub const fn new(proc: PathBuf) -> Self {
        Self { proc, scans: 0, known: BTreeMap::new() }
    }

    /// Lists the namespaces that there are now. Reads a link per process; enters, on a thread
    /// of its own that ends with the scan, only the namespaces that may be new.
    pub fn scan(&mut self) -> Result<Listing, NetnsError> {
        let found = find::find(&self.proc)?;
        self.scans = self.scans.wrapping_add(1);
        let known = std::mem::take(&mut self.known);
        let (old, unsure): (Vec<_>, Vec<_>) =
            found.sightings.into_iter().partition(|sighting| self.is_sure(&known, sighting));
        let mut listing = Listing { hidden: found.hidden, ..Listing::default() };
        for sighting in old {
            if let Some(Known { cookie, .. }) = known.get(&sighting.id) {
                listing.namespaces.push(named(sighting, *cookie));
            }
        }
        for (sighting, cookie) in enter::cookies(unsure)? {
            match cookie {
                Ok(cookie) => listing.namespaces.push(named(sighting, cookie)),
                Err(NetnsError::Gone { .. }) => {}
                Err(error) => listing.failed.push(error),
            }
        }
        listing.namespaces.sort_by_key(|namespace| namespace.id);
        self.known = listing.namespaces.iter().filter_map(Known::of).collect();
        Ok(listing)
    }

    /// Is this certainly the namespace that had this inode number at the last scan? Yes, where
    /// the same mount (its inode's time tells) or the same process still holds it. A process
    /// may leave and enter another one with the same number, so this is doubted now and then.
    fn is_sure(&self, known: &BTreeMap<NetnsId, Known>, sighting: &Sighting) -> bool {
        let turn = sighting.id.inode.wrapping_add(self.scans).is_multiple_of(REFRESH);
        let before = known.get(&sighting.id).map(|known| &known.door);
        !turn && before.is_some() && before == sighting.doors.first()
    }
}

impl Known {
    fn of(namespace: &Namespace) -> Option<(NetnsId, Self)> {
        let door = namespace.doors.first()?.clone();
        Some((namespace.id, Self { cookie: namespace.cookie, door }))
    }
}

fn named(sighting: Sighting, cookie: u64) -> Namespace {
    let Sighting { id, mounts, own, doors } = sighting;
    Namespace { id, cookie, mounts, own, doors }
}
