//! What the worker does beside writing policy: says which endpoints have gone, so that sockets
//! that still point there can be ended, and whose the guards are, and forgets clients of session
//! affinity.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mesh_api::model::Protocol;
use mesh_common::names;
use mesh_common::service::ServiceIndex;
use tokio::sync::watch;

use crate::guard::directory::Directory;
use crate::guard::follower::Guards;
use crate::maps::kernel::affinity::{Clients, monotonic};
use crate::maps::{MapError, MapStore};
use crate::reconcile::{Reconciler, Removed};
use crate::sockets::{Removal, Totals};

/// How often clients are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// What is kept between two rounds.
#[derive(Debug)]
pub struct Upkeep {
    clients: Clients,
    /// How many were left by the last sweep.
    remembered: u64,
    /// When that was.
    swept: Duration,
    told: Vec<Removed>,
    lists: Sender<Vec<Removal>>,
    ended: watch::Receiver<Totals>,
    guards: Guards,
    guarded: Arc<Directory>,
}

impl Upkeep {
    /// `lists` goes to whoever ends sockets, `ended` says what became of them; `guards` goes to
    /// whoever watches breakers and ejections.
    pub fn open(
        pin_path: &Path,
        lists: Sender<Vec<Removal>>,
        ended: watch::Receiver<Totals>,
        guards: Guards,
    ) -> Result<Self, MapError> {
        let clients = Clients::open(pin_path)?;
        let (remembered, swept) = (u64::from(clients.limit()), Duration::ZERO);
        let (told, guarded) = (Vec::new(), Arc::default());
        Ok(Self { clients, remembered, swept, told, lists, ended, guards, guarded })
    }

    /// Passes on which endpoints have gone, and whose the guards are, if that has changed.
    pub fn tell<M: MapStore>(&mut self, reconciler: &Reconciler<M>) {
        let guarded = reconciler.guarded();
        if !Arc::ptr_eq(guarded, &self.guarded) {
            self.guarded = Arc::clone(guarded);
            self.guards.know(&self.guarded);
        }
        let removed: Vec<Removed> = reconciler.removed().collect();
        if removed == self.told {
            return;
        }
        let list = removed.iter().map(|removed| {
            let udp = removed.protocol == Protocol::Udp.number();
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            Removal::new(removed.index, &removed.backend, protocol, removed.drain_timeout)
        });
        if self.lists.send(list.collect()).is_err() {
            tracing::error!("sockets of removed endpoints are not ended: their thread has ended");
        }
        self.told = removed;
    }

    /// Forgets clients, now and then. `now` is the time since any fixed moment.
    pub fn sweep<M: MapStore>(
        &mut self,
        reconciler: &Reconciler<M>,
        now: Duration,
    ) -> Result<(), MapError> {
        if now < self.swept + SWEEP {
            return Ok(());
        }
        self.swept = now;
        let times: BTreeMap<ServiceIndex, Duration> = reconciler
            .actual()
            .services
            .iter()
            .filter(|(_, head)| head.affinity_ms != 0)
            .map(|(index, head)| (index, Duration::from_millis(head.affinity_ms.into())))
            .collect();
        if self.remembered > 0 || !times.is_empty() {
            self.remembered = self.clients.sweep(monotonic()?, &times)?;
        }
        Ok(())
    }

    /// Map name, entries used at the last sweep, entries possible.
    #[must_use]
    pub const fn usage(&self) -> (&'static str, u64, u64) {
        (names::AFFINITY, self.remembered, self.clients.limit() as u64)
    }

    /// Sockets of removed endpoints, by what became of them.
    #[must_use]
    pub fn ended(&self) -> Totals {
        *self.ended.borrow()
    }
}
