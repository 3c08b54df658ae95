//! Services with rules for requests, which go to the node's Envoy: what the reconciler asks and
//! tells `proxy::course`.

use std::collections::BTreeSet;

use mesh_common::addr::IpKey;

use super::Reconciler;
use super::state::State;
use super::update::Update;
use crate::compile::UnitKey;
use crate::maps::MapStore;
use crate::proxy::ProxyState;
use crate::proxy::course::Counts;

impl<M: MapStore> Reconciler<M> {
    /// Sets what is known of the node's Envoy. The next [`Self::install`] sends services there, or
    /// no longer.
    pub fn set_proxy(&mut self, proxy: ProxyState) {
        let changed = self.state.courses.set_proxy(proxy);
        self.state.again.extend(changed);
    }

    /// How many services with rules for requests go which way.
    pub fn proxied(&self) -> Counts {
        self.state.courses.counts()
    }
}

impl State {
    /// Whether connections to its addresses lead to something.
    pub(super) fn is_programmed(&self, unit: UnitKey) -> bool {
        let keys = self.units.get(&unit).map_or(&[][..], |unit| &unit.keys);
        keys.iter().any(|key| self.actual.frontends.contains_key(key))
    }

    /// Where the unit's ejected backends are.
    pub(super) fn ejected_for(&self, unit: UnitKey, update: &Update) -> BTreeSet<(IpKey, u16)> {
        if self.ejected.is_empty() {
            return BTreeSet::new();
        }
        let keys = self.units.get(&unit).map_or(&[][..], |unit| &unit.keys);
        let index = self.kept_index(unit, keys, update);
        index.map(|index| self.ejected_of(index)).unwrap_or_default()
    }
}
