//! What the maps should hold, apart from the thread that writes them: a copy of the world, with what
//! else the compiler asks.

use std::collections::BTreeMap;

use super::Reconciler;
use crate::maps::MapStore;
use crate::programmed::Intended;

impl<M: MapStore> Reconciler<M> {
    /// What should be; `None` before the maps have been brought to the world once: they may hold
    /// what it does not know yet.
    pub fn intended(&self) -> Option<Intended> {
        let state = &self.state;
        let mut indices = BTreeMap::new();
        let mut ejected = BTreeMap::new();
        for (key, unit) in &state.units {
            let Some(index) = unit.index else { continue };
            indices.insert(*key, index);
            let apart = state.ejected_of(index);
            if !apart.is_empty() {
                ejected.insert(*key, apart);
            }
        }
        self.installed.then(|| Intended {
            world: state.world.clone(),
            indices,
            ejected,
            vias: state.courses.vias(),
            kernel: state.kernel,
            accelerating: state.actual.accelerating,
        })
    }
}
