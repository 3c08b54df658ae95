//! Who is counted for what services refuse by client, and what becomes of it when services and clients
//! go. As [`super::edges`] does with connections.

use std::collections::BTreeMap;

use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use super::Reconciler;
use crate::edges::refusals::{RefusalRest, Refusals, add};
use crate::ledger::{Account, RefusalStep};
use crate::maps::{MapError, MapStore};

/// What the kernel says.
pub(super) type Raw = [(RefusalKey, RefusalCounters)];

impl<M: MapStore> Reconciler<M> {
    /// What was refused by client, by who has refused; `raw` is what the kernel says now.
    pub(super) fn refusals(&self, raw: &Raw) -> Refusals {
        let mut refusals = self.journal.refusals().settled().clone();
        for (key, counters) in raw.iter().filter(|(key, _)| self.is_service(key.service)) {
            let counted = self.journal.refusals().counted(key, counters);
            let source = self.names.source(key.cgroup);
            add(&mut refusals, source, &self.service_account(key.service), &counted);
        }
        refusals
    }

    fn is_service(&self, index: ServiceIndex) -> bool {
        self.state.actual.services.contains_key(&index)
    }

    /// Who is counted for a service in the maps.
    pub(super) fn service_account(&self, index: ServiceIndex) -> Account {
        let left = self.journal.service_leaver(index).cloned();
        let held = || self.state.held.get(&index)?.name.clone().map(Account::of_service);
        left.or_else(held).unwrap_or_default()
    }

    /// What earlier agents told as nobody's.
    pub fn kept_refusal_rest(&self) -> RefusalRest {
        RefusalRest::kept(self.journal.refusals().rest())
    }

    /// Keeps what is told as nobody's, given the parts it was made of.
    pub fn keep_refusal_rest(&mut self, rest: &RefusalRest, parts: &Refusals) {
        let news = rest.news(self.journal.refusals().rest(), parts);
        if !news.is_empty() {
            for (account, rest) in news {
                self.journal.enter_refusal(RefusalStep::Rest(account, rest));
            }
            self.commit();
        }
    }

    /// What these services have refused so far is for these accounts. To be called before the
    /// services' counters are read: whoever is counted by client has been counted there.
    pub(super) fn settle_refusals(
        &mut self,
        accounts: &BTreeMap<ServiceIndex, Account>,
    ) -> Result<(), MapError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let raw = self.maps.refusals()?;
        self.see_refusals(&raw);
        self.follow();
        for (key, counters) in &raw {
            if let Some(account) = accounts.get(&key.service) {
                self.settle_refusal(key, account.clone(), counters);
            }
        }
        Ok(())
    }

    fn settle_refusal(&mut self, key: &RefusalKey, account: Account, raw: &RefusalCounters) {
        if self.journal.refusals().counted(key, raw) != RefusalCounters::ZERO {
            let source = self.roster.source(self.names.source(key.cgroup));
            self.journal.enter_refusal(RefusalStep::Settle(*key, source, account, *raw));
        }
    }

    /// Takes over the map from an earlier agent.
    pub(super) fn adopt_refusals(&mut self) -> Result<(), MapError> {
        let raw = self.maps.refusals()?;
        self.see_refusals(&raw);
        if self.journal.refusals_are_new() {
            let dead = raw.iter().map(|(key, _)| *key).filter(|key| !self.is_service(key.service));
            let dead: Vec<RefusalKey> = dead.collect();
            return self.maps.delete_refusals(&dead);
        }
        self.drop_stale_refusals(&raw);
        self.commit();
        Ok(())
    }

    /// Drops watermarks of entries that were deleted without a word, also where the key has come
    /// back since, at 0.
    pub(super) fn drop_stale_refusals(&mut self, raw: &Raw) {
        let raw: BTreeMap<_, _> = raw.iter().copied().collect();
        let is_stale = |(key, mark): &(&RefusalKey, &RefusalCounters)| {
            let fell = |raw: &RefusalCounters| {
                mark.refused.iter().zip(raw.refused).any(|(mark, raw)| raw < *mark)
            };
            raw.get(key).is_none_or(fell)
        };
        let stale = self.journal.refusals().marks().filter(is_stale);
        let stale: Vec<RefusalKey> = stale.map(|(key, _)| *key).collect();
        for key in stale {
            self.journal.enter_refusal(RefusalStep::Drop(key));
        }
    }

    /// Entries that may go from the map once the journal is on disk: settled with their service, or of
    /// a client that has gone, and that has counted nothing since the last sweep.
    pub(super) fn unused_refusals(&mut self, raw: &Raw) -> Vec<RefusalKey> {
        let gone = self.names.gone(&raw.iter().map(|(key, _)| key.cgroup).collect());
        let mut unused = Vec::new();
        let mut idle = BTreeMap::new();
        for (key, counters) in raw {
            if !self.is_service(key.service) {
                unused.push(*key);
            } else if gone.contains(&key.cgroup) {
                if self.sweep.refused.get(key) == Some(counters) {
                    self.settle_refusal(key, self.service_account(key.service), counters);
                    unused.push(*key);
                } else {
                    idle.insert(*key, *counters);
                }
            }
        }
        self.sweep.refused = idle;
        unused
    }

    /// Takes entries out of the map, which are settled and on disk.
    pub(super) fn discard_refusals(&mut self, unused: &[RefusalKey]) -> Result<(), MapError> {
        if unused.is_empty() {
            return Ok(());
        }
        self.maps.delete_refusals(unused)?;
        for key in unused {
            if self.journal.refusals().has_mark(key) {
                self.journal.enter_refusal(RefusalStep::Drop(*key));
            }
        }
        self.commit();
        Ok(())
    }
}
