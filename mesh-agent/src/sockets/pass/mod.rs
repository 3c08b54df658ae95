//! One look at the sockets of due backends, namespace by namespace: what was found, what became
//! of it, and what follows for the schedule. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

use mesh_api::model::Protocol;

use super::diag::{DiagError, Fate};
use super::drain::{BackendId, Look, Removal};
use super::stale::{Records, Stale};
use super::wire::Socket;

/// What became of sockets, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Destroyed.
    pub destroyed: u64,
    /// Gone before they could be destroyed.
    pub gone: u64,
    /// Refused, as the kernel lacks `CONFIG_INET_DIAG_DESTROY`.
    pub unsupported: u64,
    /// Refused for another reason.
    pub failed: u64,
}

impl Counts {
    const fn add(&mut self, other: Self) {
        self.destroyed += other.destroyed;
        self.gone += other.gone;
        self.unsupported += other.unsupported;
        self.failed += other.failed;
    }
}

/// The same by transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Of TCP.
    pub tcp: Counts,
    /// Of connected UDP.
    pub udp: Counts,
}

impl Totals {
    const fn of(&mut self, protocol: Protocol) -> &mut Counts {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.tcp.add(other.tcp);
        self.udp.add(other.udp);
    }
}

/// What a look has done.
#[derive(Debug, Default)]
pub struct Report {
    /// Sockets that were to be destroyed.
    pub sockets: Totals,
    /// Network namespaces that were searched.
    pub namespaces: usize,
    /// Records for which no socket pointed at the backend: it is closed, has connected
    /// elsewhere, has been ended before, or is in a namespace out of reach.
    pub without_socket: usize,
    /// Namespaces (by name) in which something went wrong; the others were done all the same.
    pub errors: Vec<(String, DiagError)>,
    /// Backends on which no more is tried.
    pub given_up: Vec<Removal>,
}

pub(super) struct Pass<'a> {
    due: &'a [Removal],
    stale: Stale<'a>,
    /// Cookies of records whose socket has not turned up, by backend. Those that have none from
    /// the start are not in.
    missing: BTreeMap<BackendId, HashSet<u64>>,
    /// Whether there may be TCP sockets with a record that is not known beforehand.
    open_ended: bool,
    /// Cookies of sockets that turned up.
    seen: HashSet<u64>,
    failed: BTreeSet<BackendId>,
    unsupported: BTreeSet<BackendId>,
    report: Report,
}

impl<'a> Pass<'a> {
    pub(super) fn new(due: &'a [Removal], records: &'a Records) -> Self {
        let mut missing: BTreeMap<BackendId, HashSet<u64>> = BTreeMap::new();
        let wanted: BTreeSet<_> = due.iter().map(|removal| removal.backend).collect();
        for (cookie, backend) in
            records.table.iter().filter(|(_, backend)| wanted.contains(backend))
        {
            missing.entry(*backend).or_default().insert(*cookie);
        }
        Self {
            due,
            stale: Stale::new(due, records),
            missing,
            open_ended: records.overflow.is_some(),
            seen: HashSet::new(),
            failed: BTreeSet::new(),
            unsupported: BTreeSet::new(),
            report: Report::default(),
        }
    }

    /// Addresses of the backends of this transport for which a socket may still turn up: nothing
    /// to look for where there are none.
    pub(super) fn peers(&self, protocol: Protocol) -> Vec<SocketAddr> {
        let wanted = |removal: &&Removal| removal.protocol == protocol && self.lacks(removal);
        let peers: BTreeSet<_> =
            self.due.iter().filter(wanted).map(|removal| removal.address).collect();
        peers.into_iter().collect()
    }

    /// Whether no more sockets are to be looked for.
    pub(super) fn is_complete(&self) -> bool {
        !self.due.iter().any(|removal| self.lacks(removal))
    }

    fn lacks(&self, removal: &Removal) -> bool {
        let missing = self.missing.get(&removal.backend);
        let open_ended = self.open_ended && removal.protocol == Protocol::Tcp;
        open_ended || missing.is_some_and(|cookies| !cookies.is_empty())
    }

    pub(super) const fn entered(&mut self) {
        self.report.namespaces += 1;
    }

    /// Whether the socket is to be destroyed. Each is answered for once.
    pub(super) fn wants(&mut self, socket: &Socket) -> bool {
        let Some(backend) = self.stale.judge(socket) else { return false };
        if let Some(cookies) = self.missing.get_mut(&backend) {
            cookies.remove(&socket.cookie);
        }
        self.seen.insert(socket.cookie)
    }

    pub(super) fn ended(&mut self, socket: &Socket, fate: &Fate) {
        let counts = self.report.sockets.of(socket.protocol);
        let note = match fate {
            Fate::Destroyed => {
                counts.destroyed += 1;
                return;
            }
            // The kernel looks a socket up by its addresses and may find another one that has
            // the same, so this one may still be there.
            Fate::Gone => {
                counts.gone += 1;
                &mut self.failed
            }
            Fate::Unsupported => {
                counts.unsupported += 1;
                &mut self.unsupported
            }
            Fate::Failed(_) => {
                counts.failed += 1;
                &mut self.failed
            }
        };
        note.extend(self.stale.judge(socket));
    }

    pub(super) fn error(&mut self, namespace: String, error: DiagError) {
        self.report.errors.push((namespace, error));
    }

    /// The report, and how the look went for each backend.
    pub(super) fn finish(mut self) -> (Report, Vec<(Removal, Look)>) {
        self.report.without_socket = self.missing.values().map(HashSet::len).sum();
        let blind = !self.report.errors.is_empty();
        let look = |removal: &Removal| {
            let backend = removal.backend;
            if self.unsupported.contains(&backend) {
                Look::Impossible
            } else if self.failed.contains(&backend) || blind && self.lacks(removal) {
                Look::Failed
            } else {
                Look::Done
            }
        };
        let looks = self.due.iter().map(|removal| (*removal, look(removal))).collect();
        (self.report, looks)
    }
}
