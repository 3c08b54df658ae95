//! What an update touches: which units the changes ask for, which of them want the same address,
//! and which frontends nobody wants any more.

use std::collections::BTreeSet;

use mesh_api::model::ObjectName;
use mesh_common::frontend::FrontendKey;
use mesh_common::service::ServiceIndex;

use super::state::State;
use crate::compile::{self, Family, Origin, UnitKey};
use crate::world::GroupId;

impl State {
    /// Takes up the changes of the world. Returns the units to compile, in the order in which they
    /// may take room.
    pub(super) fn demand(&mut self) -> Vec<UnitKey> {
        let mut groups: BTreeSet<GroupId> = self.world.take_changed().into_iter().collect();
        if std::mem::take(&mut self.all) {
            groups.extend(self.world.groups().map(|(id, _)| id));
            groups.extend(self.units.keys().map(|unit| unit.group));
        }
        let mut dirty = BTreeSet::new();
        for group in groups {
            self.demand_group(group, &mut dirty);
        }
        dirty.append(&mut self.again);
        let mut ordered: Vec<(&ObjectName, usize, Family, UnitKey)> = dirty
            .into_iter()
            .filter(|unit| self.units.contains_key(unit))
            .filter_map(|unit| {
                let origin = Origin::find(&self.world, unit)?;
                Some((origin.service(), origin.position(), unit.family, unit))
            })
            .collect();
        ordered.sort_unstable();
        ordered.into_iter().map(|(.., unit)| unit).collect()
    }

    fn demand_group(&mut self, id: GroupId, dirty: &mut BTreeSet<UnitKey>) {
        let mut wanted = match self.world.group(id) {
            Some(group) => compile::units(id, group),
            None => std::collections::BTreeMap::new(),
        };
        let known: Vec<UnitKey> = self.units.range(first(id)..=last(id)).map(|(k, _)| *k).collect();
        for unit in known {
            let keys = wanted.remove(&unit);
            let before = self.units.get(&unit).map(|unit| unit.keys.clone()).unwrap_or_default();
            if keys.as_ref() != Some(&before) {
                self.disclaim(unit, &before, dirty);
            }
            match keys {
                None => self.drop_unit(unit),
                Some(keys) => {
                    if keys != before {
                        self.claim(unit, keys, dirty);
                    }
                    dirty.insert(unit);
                }
            }
        }
        for (unit, keys) in wanted {
            self.claim(unit, keys, dirty);
            dirty.insert(unit);
        }
    }

    fn claim(&mut self, unit: UnitKey, keys: Vec<FrontendKey>, dirty: &mut BTreeSet<UnitKey>) {
        for key in &keys {
            let claims = self.claims.entry(*key).or_default();
            dirty.extend(claims.iter());
            claims.push(unit);
            self.touch_holder(key, dirty);
        }
        self.units.entry(unit).or_default().keys = keys;
    }

    fn disclaim(&mut self, unit: UnitKey, keys: &[FrontendKey], dirty: &mut BTreeSet<UnitKey>) {
        for key in keys {
            if let Some(claims) = self.claims.get_mut(key) {
                claims.retain(|other| *other != unit);
                dirty.extend(claims.iter());
                if claims.is_empty() {
                    self.claims.remove(key);
                }
            }
        }
    }

    /// Whoever the frontend leads to may lose it.
    fn touch_holder(&self, key: &FrontendKey, dirty: &mut BTreeSet<UnitKey>) {
        let index = self.actual.frontends.get(key);
        dirty.extend(index.and_then(|index| self.held.get(index)).and_then(|held| held.owner));
    }

    fn drop_unit(&mut self, unit: UnitKey) {
        if let Some(index) = self.units.remove(&unit).and_then(|unit| unit.index) {
            self.disown(index);
        }
        self.refused.remove(&unit);
        self.courses.drop_unit(unit);
        self.troubles.retain(|(_, other), _| *other != unit);
    }

    /// Leaves an index to whoever takes its frontends over, or else to be freed.
    pub(super) fn disown(&mut self, index: ServiceIndex) {
        self.guarded.touch(index);
        if let Some(holding) = self.held.get_mut(&index) {
            holding.owner = None;
            self.unowned.insert(index);
        }
    }

    /// Who gets a frontend that several want: the first by name, so that it does not depend on
    /// who came first.
    pub(super) fn winner(&self, key: &FrontendKey) -> Option<UnitKey> {
        let name = |unit: &&UnitKey| self.world.group(unit.group).map(|group| group.name.clone());
        match self.claims.get(key)?.as_slice() {
            [only] => Some(*only),
            several => several.iter().min_by_key(name).copied(),
        }
    }

    /// Frontends in the maps that nobody wants, of these services.
    pub(super) fn unwanted(
        &self,
        services: impl IntoIterator<Item = ServiceIndex>,
    ) -> Vec<FrontendKey> {
        let keys = services.into_iter().filter_map(|index| self.held.get(&index));
        let keys = keys.flat_map(|holding| &holding.keys);
        keys.filter(|key| !self.claims.contains_key(key)).copied().collect()
    }
}

const fn first(group: GroupId) -> UnitKey {
    UnitKey { group, port: 0, protocol: mesh_api::model::Protocol::Tcp, family: Family::V4 }
}

const fn last(group: GroupId) -> UnitKey {
    UnitKey { group, port: u16::MAX, protocol: mesh_api::model::Protocol::Udp, family: Family::V6 }
}
