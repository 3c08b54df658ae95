//! Connections to this node's endpoints: keeps what the programs count in step with the world. What
//! goes wrong there holds up nothing else.

use std::time::Duration;

use super::Reconciler;
use crate::edges::Rows;
use crate::inbound::Inbound;
use crate::maps::{MapError, MapStore};

impl<M: MapStore> Reconciler<M> {
    /// Says whether connections to this node's endpoints are counted, and how many clients are told
    /// apart; before the first [`Self::install`].
    pub const fn set_inbound(&mut self, on: bool, most: usize) {
        self.inbound.set_on(on, most);
    }

    /// Before new endpoints are live.
    pub(super) fn inbound_before(&mut self) {
        self.inbound.follow(&mut self.state.world);
        if self.inbound.is_behind() || !self.installed {
            self.with_inbound(|inbound, maps, journal, stamp| inbound.put(maps, journal, stamp));
        }
    }

    /// When endpoints that have gone are live no more.
    pub(super) fn inbound_after(&mut self) {
        if self.inbound.is_behind() {
            self.with_inbound(|inbound, maps, journal, _| inbound.remove(maps, journal));
        }
    }

    fn with_inbound(
        &mut self,
        change: impl FnOnce(
            &mut Inbound,
            &mut dyn crate::maps::inbound::InboundMaps,
            &mut crate::ledger::Journal,
            u32,
        ) -> Result<(), MapError>,
    ) {
        if let Some(maps) = self.maps.inbound() {
            let outcome = change(&mut self.inbound, maps, &mut self.journal, self.stamp);
            self.inbound.note(outcome);
        }
    }

    /// Tries again what could not be written, and takes entries out of the map that nothing is counted
    /// in any more. `now` is the time since any fixed moment.
    pub fn sweep_inbound(&mut self, now: Duration) {
        if !self.installed || !self.inbound.is_due(now) {
            return;
        }
        self.with_inbound(|inbound, maps, journal, stamp| {
            if inbound.is_behind() {
                inbound.put(maps, journal, stamp)?;
                inbound.remove(maps, journal)?;
            }
            inbound.sweep(maps, journal)
        });
    }

    /// What was counted of connections to this node's endpoints, and how many entries the map has.
    pub fn inbound(&mut self) -> Result<(Rows, usize), MapError> {
        match self.maps.inbound() {
            Some(maps) => self.inbound.rows(maps, &mut self.journal),
            None => Ok((Rows::new(), 0)),
        }
    }
}
