//! Who is counted: keeps the ledger in step with what the indices are used for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::service::ServiceIndex;

use super::Reconciler;
use super::update::Update;
use crate::edges::refusals::Wholes;
use crate::ledger::{Account, Totals};
use crate::maps::{MapError, MapStore};

/// What the kernel has counted of connections, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    backends: Vec<BackendCounters>,
    services: Vec<ServiceCounters>,
}

impl<M: MapStore> Reconciler<M> {
    /// Settles what was freed when there was no time left to: its entry is free in the maps.
    pub(super) fn settle_freed(&mut self) -> Result<(), MapError> {
        self.stamp = self
            .state
            .actual
            .backends
            .iter()
            .fold(self.stamp, |stamp, (_, backend)| stamp.max(backend.generation));
        self.left = self.journal.leaving_backends().map(|(index, _)| index).collect();
        let image = &self.state.actual;
        let is_free = |index: &BackendIndex| !image.backends.contains_key(index);
        let backends: Vec<_> = self.left.iter().copied().filter(is_free).collect();
        let services = self.journal.leaving_services().map(|(index, _)| index);
        let services = services.filter(|index| !image.services.contains_key(index)).collect();
        self.settle(backends, services)
    }

    /// Before the first write: what is not used any more is counted as before until it is freed.
    pub(super) fn before(&mut self, update: &Update) {
        for (index, account) in &update.leaves {
            self.journal.leave_backend(*index, account);
            self.left.insert(*index);
        }
        for (index, name) in &update.service_leaves {
            self.journal.leave_service(*index, name);
        }
        self.commit();
    }

    /// After the last write: from here on, backends are counted for their present endpoints.
    pub(super) fn after(&mut self, update: &Update) -> Result<(), MapError> {
        self.settle_edges(&self.renamed(update))?;
        for (index, _) in &update.leaves {
            self.state.set_member(*index, None);
        }
        for (index, member, before) in &update.members {
            self.state.set_member(*index, Some(Arc::clone(member)));
            let service = self.state.actual.backends.at(*index).service;
            let Some(holding) = self.state.held.get(&service) else { continue };
            let now = holding.account(member);
            let renamed = before.as_ref().is_some_and(|before| *before != now);
            if self.left.remove(index) || renamed {
                let raw = self.maps.backend_counters(*index)?;
                self.journal.take_backend(*index, before.as_ref(), &now, raw);
            }
        }
        self.after_services(update)?;
        self.commit();
        Ok(())
    }

    /// Backends that are counted for another account from here on, and for whom they were.
    fn renamed(&self, update: &Update) -> BTreeMap<BackendIndex, Account> {
        let mut renamed = BTreeMap::new();
        for (index, member, before) in &update.members {
            let service = self.state.actual.backends.at(*index).service;
            let Some(holding) = self.state.held.get(&service) else { continue };
            let before = self.journal.leaver(*index).or(before.as_ref());
            if let Some(before) = before.filter(|before| **before != holding.account(member)) {
                renamed.insert(*index, before.clone());
            }
        }
        renamed
    }

    fn after_services(&mut self, update: &Update) -> Result<(), MapError> {
        let leaving: BTreeSet<_> = self.journal.leaving_services().map(|(at, _)| at).collect();
        let mut renamed = BTreeMap::new();
        for (index, before) in &update.services {
            let before = before.clone().map(Account::of_service);
            let before = before.or_else(|| self.journal.service_leaver(*index).cloned());
            let name = self.state.held.get(index).and_then(|holding| holding.name.as_ref());
            let goes_on = |before: &Account| name.is_none() || before.service.as_ref() == name;
            renamed.extend(before.filter(|it| !goes_on(it)).map(|before| (*index, before)));
        }
        self.settle_refusals(&renamed)?;
        for (index, before) in &update.services {
            let name = self.state.held.get(index).and_then(|holding| holding.name.clone());
            let Some(name) = name else { continue };
            if let Some(before) = before {
                self.journal.leave_service(*index, before);
            }
            if before.is_some() || leaving.contains(index) {
                let raw = self.maps.service_counters(*index)?;
                self.journal.take_service(*index, &name, raw);
            }
        }
        Ok(())
    }

    /// After entries have been freed and no program counts there any more.
    pub(super) fn settle(
        &mut self,
        backends: impl IntoIterator<Item = BackendIndex>,
        services: BTreeSet<ServiceIndex>,
    ) -> Result<(), MapError> {
        let backends: Vec<BackendIndex> = backends.into_iter().collect();
        let account = |index: &BackendIndex| self.journal.leaver(*index).cloned();
        let account = |index| (index, account(&index).unwrap_or_default());
        let accounts = backends.iter().copied().map(account).collect();
        self.settle_edges(&accounts)?;
        for index in backends {
            let raw = self.maps.backend_counters(index)?;
            self.journal.settle_backend(index, raw);
            self.left.remove(&index);
            self.state.set_member(index, None);
        }
        let account = |index: &ServiceIndex| {
            (*index, self.journal.service_leaver(*index).cloned().unwrap_or_default())
        };
        let accounts = services.iter().map(account).collect();
        self.settle_refusals(&accounts)?;
        for index in services {
            let raw = self.maps.service_counters(index)?;
            self.journal.settle_service(index, raw);
        }
        self.commit();
        Ok(())
    }

    /// The ledger goes on in memory where it cannot be written. Returns whether it was.
    pub(super) fn commit(&mut self) -> bool {
        let was_written = self.journal.is_written();
        let written = self.journal.commit();
        match &written {
            Err(error) if was_written => tracing::error!("{error}; trying again"),
            Ok(()) if !was_written => tracing::info!("counters of removed endpoints are on disk"),
            Ok(()) | Err(_) => {}
        }
        written.is_ok()
    }

    /// What the kernel has counted, by index.
    pub fn raw(&self) -> Result<Raw, MapError> {
        let image = &self.state.actual;
        Ok(Raw {
            backends: self.maps.all_backend_counters(image.backends.end())?,
            services: self.maps.all_service_counters(image.services.end())?,
        })
    }

    /// Counters of all connections since the maps were made, by who is counted.
    pub fn totals(&self, raw: &Raw) -> Totals {
        let mut totals = self.journal.settled().clone();
        let image = &self.state.actual;
        for (index, raw) in (0..).map(|index| BackendIndex { index }).zip(&raw.backends) {
            if image.backends.contains_key(&index) {
                let total = totals.entry(self.account(index)).or_default();
                *total = total.plus(self.journal.counted(index, *raw));
            }
        }
        totals
    }

    /// Connections that no backend could take, since the maps were made.
    pub fn without_backend(&self, raw: &Raw) -> Wholes {
        let mut totals = self.journal.settled_services().clone();
        let image = &self.state.actual;
        for (index, raw) in (0..).map(|index| ServiceIndex { index }).zip(&raw.services) {
            if image.services.contains_key(&index) {
                let total = totals.entry(self.service_account(index)).or_default();
                *total = total.plus(self.journal.counted_service(index, *raw));
            }
        }
        totals
    }

    /// The ledger.
    pub const fn journal(&self) -> &crate::ledger::Journal {
        &self.journal
    }
}
