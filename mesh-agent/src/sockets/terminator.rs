//! Looks for sockets of removed backends when they are due, and destroys them. Blocking: it is
//! run on a thread of its own, whenever a backend has been removed and at [`Terminator::next`].

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use mesh_api::model::Protocol;

use super::diag::{Diag, DiagError, Fate};
use super::drain::{BackendId, Drain, Look, Removal};
use super::pass::Pass;
use super::stale::Records;
use super::wire::Socket;
use crate::netns::{Namespace, Namespaces, NetnsError};

pub use super::pass::{Counts, Report, Totals};

/// Ends the sockets of removed backends.
#[derive(Debug, Default)]
pub struct Terminator {
    namespaces: Namespaces,
    drain: Drain,
    totals: Totals,
    warned: bool,
}

impl Terminator {
    /// Takes over which backends are removed now, and ends what is due. `now` is any clock that
    /// only goes forward. `records` reads the mesh's records about the sockets of the given
    /// backends, `None` where that fails; it is not asked, and nothing is searched, where nothing is due.
    pub fn run(
        &mut self,
        now: Duration,
        removed: &[Removal],
        records: impl FnOnce(&BTreeSet<BackendId>) -> Option<Records>,
    ) -> Report {
        self.drain.sync(now, removed);
        let due = self.drain.due(now);
        if due.is_empty() {
            return Report::default();
        }
        let Some(records) = records(&due.iter().map(|removal| removal.backend).collect()) else {
            return self.unread(now, &due);
        };
        let mut pass = Pass::new(&due, &records);
        if !pass.is_complete() {
            self.search(&mut pass, records.overflow());
        }
        let (mut report, looks) = pass.finish();
        for (removal, look) in looks {
            if self.drain.looked(now, removal.backend, look) {
                report.given_up.push(removal);
            }
        }
        self.totals.add(report.sockets);
        self.tell(&report);
        report
    }

    /// When to run again, if nothing changes before.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.drain.next()
    }

    /// What has become of sockets since the start.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// The records cannot be read: all that is due is tried again.
    fn unread(&mut self, now: Duration, due: &[Removal]) -> Report {
        let mut report = Report::default();
        for removal in due {
            if self.drain.looked(now, removal.backend, Look::Failed) {
                report.given_up.push(*removal);
            }
        }
        self.tell(&report);
        report
    }

    fn search(&mut self, pass: &mut Pass<'_>, overflow: Option<BorrowedFd<'_>>) {
        let mut listing = match self.namespaces.scan() {
            Ok(listing) => listing,
            Err(error) => return pass.error("all".to_owned(), error.into()),
        };
        for error in listing.failed {
            pass.error("unknown".to_owned(), error.into());
        }
        // Most sockets are usually in the host's.
        listing.namespaces.sort_by_key(|namespace| !namespace.own);
        for namespace in &listing.namespaces {
            if pass.is_complete() {
                return;
            }
            match search_in(namespace, pass, overflow) {
                // With the namespace its sockets are gone.
                Ok(()) | Err(DiagError::Namespace(NetnsError::Gone { .. })) => {}
                Err(error) => pass.error(namespace.name(), error),
            }
        }
    }

    fn tell(&mut self, report: &Report) {
        let Totals { tcp, udp } = report.sockets;
        if tcp.unsupported + udp.unsupported > 0 && !std::mem::replace(&mut self.warned, true) {
            tracing::error!(
                "this kernel lacks CONFIG_INET_DIAG_DESTROY: sockets that were sent to removed \
                 endpoints stay open until their applications close them"
            );
        }
        for (namespace, error) in &report.errors {
            tracing::warn!(namespace, "cannot end sockets of removed endpoints: {error}");
        }
        for removal in &report.given_up {
            let Removal { address, protocol, .. } = removal;
            tracing::error!(%address, ?protocol, "gave up ending sockets of a removed endpoint");
        }
        if tcp.destroyed + udp.destroyed > 0 {
            tracing::info!(
                tcp = tcp.destroyed,
                udp = udp.destroyed,
                "ended sockets of removed endpoints"
            );
        }
    }
}

fn search_in(
    namespace: &Namespace,
    pass: &mut Pass<'_>,
    overflow: Option<BorrowedFd<'_>>,
) -> Result<(), DiagError> {
    let mut diag = Diag::open(namespace)?;
    pass.entered();
    let mut refusal = Ok(());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let peers = pass.peers(protocol);
        let mut stale: Vec<Socket> = Vec::new();
        diag.each(protocol, &peers, overflow, |socket| {
            if pass.wants(&socket) {
                stale.push(socket);
            }
        })?;
        diag.destroy(&stale, |socket, fate| {
            pass.ended(socket, &fate);
            if let Fate::Failed(source) = fate {
                refusal = Err(DiagError::Destroy(source));
            }
        })?;
    }
    refusal
}
