//! The switch of acceleration: on while a service in the maps asks for it, so that nobody pays for it
//! where none does. It is turned on before the first head that asks is there, and off after the last
//! one is gone; then whoever is accelerated goes on by TCP.

use std::collections::BTreeSet;

use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};

use super::state::State;
use crate::diff::MapOp;
use crate::image::MapImage;

/// Who asks for acceleration.
#[derive(Debug, Default)]
pub(super) struct Switch {
    /// The programs can do it, on this kernel.
    usable: bool,
    /// Services in the maps whose head asks. The agent's own are not among them.
    asking: BTreeSet<ServiceIndex>,
}

impl Switch {
    /// The maps were read.
    pub(super) fn adopt(&mut self, actual: &MapImage) {
        let asking = actual.services.iter().filter(|(_, head)| asks(head));
        self.asking = asking.map(|(index, _)| index).collect();
    }

    /// An operation was done.
    pub(super) fn follow(&mut self, op: &MapOp) {
        let (index, asks) = if let MapOp::PutService(index, head) = op {
            (index, asks(head))
        } else if let MapOp::ClearService(index) = op {
            (index, false)
        } else {
            return;
        };
        if asks {
            self.asking.insert(*index);
        } else {
            self.asking.remove(index);
        }
    }

    /// Whether it should be on once these heads are written.
    fn is_wanted(&self, heads: &[(ServiceIndex, ServiceHead)]) -> bool {
        if !self.usable || heads.iter().any(|(_, head)| asks(head)) {
            return self.usable;
        }
        let written: BTreeSet<ServiceIndex> = heads.iter().map(|(index, _)| *index).collect();
        self.asking.iter().any(|index| !written.contains(index))
    }
}

const fn asks(head: &ServiceHead) -> bool {
    head.flags.contains(ServiceFlags::ACCELERATED)
}

impl State {
    /// Says whether the programs can accelerate. Before the first update.
    pub(super) const fn set_acceleration(&mut self, usable: bool) {
        self.switch.usable = usable;
    }

    /// What the switch has to become with these heads, if it is not that.
    pub(super) fn switched(&self, heads: &[(ServiceIndex, ServiceHead)]) -> Option<bool> {
        let wanted = self.switch.is_wanted(heads);
        (wanted != self.actual.accelerating).then_some(wanted)
    }

    /// The same for services that are cleared: they ask for nothing.
    pub(super) fn switched_off(&self, cleared: &BTreeSet<ServiceIndex>) -> Option<MapOp> {
        let heads: Vec<_> = cleared.iter().map(|index| (*index, ServiceHead::default())).collect();
        (self.switched(&heads) == Some(false)).then_some(MapOp::Accelerate(false))
    }
}
