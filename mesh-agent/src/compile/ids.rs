//! Gives out indices: the one the maps already use where there is one, else one that nothing in
//! the maps uses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_common::addr::IpKey;
use mesh_common::backend::BackendIndex;
use mesh_common::frontend::FrontendKey;
use mesh_common::service::ServiceIndex;
use mesh_common::slot::Slot;

use super::Limits;
use crate::image::MapImage;

/// A map is full.
#[derive(Debug, thiserror::Error)]
#[error("{what} are used up ({limit}): start the agent with a higher {flag}")]
pub(super) struct LimitError {
    what: &'static str,
    limit: u32,
    flag: &'static str,
}

pub(super) struct Ids<'a> {
    actual: &'a MapImage,
    limits: Limits,
    /// Frontends that some service will have.
    wanted: BTreeSet<FrontendKey>,
    /// Frontends that are in the map or will be, and stay.
    frontends: BTreeSet<FrontendKey>,
    /// Frontends that lead to each service now.
    leading: BTreeMap<ServiceIndex, Vec<FrontendKey>>,
    claimed: BTreeSet<ServiceIndex>,
    next_service: u32,
    known: BTreeMap<(ServiceIndex, IpKey, u16), BackendIndex>,
    next_backend: u32,
    /// Ranges of free slots, as start and length.
    gaps: Vec<(u32, u32)>,
}

impl<'a> Ids<'a> {
    pub(super) fn new(actual: &'a MapImage, limits: Limits, wanted: BTreeSet<FrontendKey>) -> Self {
        let mut leading: BTreeMap<ServiceIndex, Vec<FrontendKey>> = BTreeMap::new();
        for (key, index) in &actual.frontends {
            leading.entry(*index).or_default().push(*key);
        }
        let known = actual
            .backends
            .iter()
            .map(|(index, backend)| ((backend.service, backend.addr, backend.port), *index))
            .collect();
        // Also those of services that turn out not to fit: what they have stays.
        let frontends =
            wanted.iter().filter(|key| actual.frontends.contains_key(key)).copied().collect();
        Self {
            actual,
            limits,
            frontends,
            wanted,
            leading,
            claimed: BTreeSet::new(),
            next_service: 1,
            known,
            next_backend: 1,
            gaps: gaps(actual, limits.slots),
        }
    }

    /// Makes room for a service port's frontends.
    pub(super) fn frontends(&mut self, keys: &[FrontendKey]) -> Result<(), LimitError> {
        let new = keys.iter().filter(|key| !self.frontends.contains(key)).count();
        let limit = self.limits.frontends;
        if new > 0 && self.frontends.len() + new > usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(LimitError { what: "frontends", limit, flag: "--max-services" });
        }
        self.frontends.extend(keys);
        Ok(())
    }

    /// Index of the service port with these frontends.
    pub(super) fn service(&mut self, keys: &[FrontendKey]) -> Result<ServiceIndex, LimitError> {
        let kept = keys
            .iter()
            .filter_map(|key| self.actual.frontends.get(key))
            .find(|index| !self.claimed.contains(index) && self.leads_only_to(**index, keys))
            .copied();
        let index = match kept {
            Some(index) => index,
            None => self.fresh_service()?,
        };
        self.claimed.insert(index);
        Ok(index)
    }

    /// Whether no frontend of this service is about to become another service's: its readers
    /// would meet this service's next state, which is neither their old nor their new one.
    fn leads_only_to(&self, index: ServiceIndex, keys: &[FrontendKey]) -> bool {
        let leading = self.leading.get(&index).map_or(&[][..], Vec::as_slice);
        leading.iter().all(|key| keys.contains(key) || !self.wanted.contains(key))
    }

    fn fresh_service(&mut self) -> Result<ServiceIndex, LimitError> {
        while self.next_service < self.limits.services {
            let index = ServiceIndex { index: self.next_service };
            self.next_service += 1;
            if !self.actual.services.contains_key(&index) && !self.claimed.contains(&index) {
                return Ok(index);
            }
        }
        let limit = self.limits.services;
        Err(LimitError { what: "service ports", limit, flag: "--max-services" })
    }

    /// Index of a service port's backend.
    pub(super) fn backend(
        &mut self,
        service: ServiceIndex,
        address: IpAddr,
        port: u16,
    ) -> Result<BackendIndex, LimitError> {
        let key = (service, super::ip_key(address), port);
        if let Some(index) = self.known.get(&key) {
            return Ok(*index);
        }
        while self.next_backend < self.limits.backends {
            let index = BackendIndex { index: self.next_backend };
            self.next_backend += 1;
            if !self.actual.backends.contains_key(&index) {
                self.known.insert(key, index);
                return Ok(index);
            }
        }
        let limit = self.limits.backends;
        Err(LimitError { what: "backends", limit, flag: "--max-backends" })
    }

    /// Where the service's table lies: where it is if it did not change, else in free slots, so
    /// that readers of the old table are not disturbed.
    pub(super) fn slots(
        &mut self,
        service: ServiceIndex,
        table: &[Slot],
    ) -> Result<u32, LimitError> {
        let count = u32::try_from(table.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Ok(0);
        }
        if let Some(head) = self.actual.services.get(&service)
            && head.slot_count == count
            && self.actual.table(head).eq(table)
        {
            return Ok(head.slot_base);
        }
        let gap = self.gaps.iter_mut().find(|(_, length)| *length >= count);
        let Some((start, length)) = gap else {
            let limit = self.limits.slots;
            return Err(LimitError { what: "slots", limit, flag: "--max-slots" });
        };
        let base = *start;
        *start += count;
        *length -= count;
        Ok(base)
    }
}

/// What lies between the used slots.
fn gaps(actual: &MapImage, limit: u32) -> Vec<(u32, u32)> {
    let mut gaps = Vec::new();
    let mut free = 0;
    for used in actual.slots.keys().copied().chain([limit]) {
        if used > free {
            gaps.push((free, used - free));
        }
        free = used.saturating_add(1);
    }
    gaps
}
