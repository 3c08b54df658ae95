//! Maps in memory, with a reader that walks them as the kernel program does: for golden scripts
//! and for the property that no order of events shows a dangling state.

use std::collections::BTreeMap;

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::frontend::FrontendKey;
use mesh_common::logic::connect::{MAX_TRIES, belongs, choose, place, without_backend};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use super::{Held, MapError, MapStore};
use crate::compile::Limits;
use crate::diff::MapOp;
use crate::image::MapImage;

/// Maps in memory.
#[derive(Clone, Debug)]
pub struct MemoryMaps {
    image: MapImage,
    counters: BTreeMap<BackendIndex, BackendCounters>,
    limits: Limits,
    held: Held,
}

impl MemoryMaps {
    /// Empty maps.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            image: MapImage::default(),
            counters: BTreeMap::new(),
            limits,
            held: Held::default(),
        }
    }

    /// Counts as the programs would.
    pub fn count(&mut self, index: BackendIndex, counters: BackendCounters) {
        self.counters.insert(index, counters);
    }

    /// What they hold.
    #[must_use]
    pub const fn image(&self) -> &MapImage {
        &self.image
    }
}

impl MapStore for MemoryMaps {
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        op.apply_to(&mut self.image);
        Ok(())
    }

    fn read(&self) -> Result<MapImage, MapError> {
        Ok(self.image.clone())
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.held = held;
        Ok(())
    }

    fn held(&self) -> Result<Held, MapError> {
        Ok(self.held)
    }

    fn backend_counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        Ok(self.counters.get(&index).copied().unwrap_or_default())
    }

    fn service_counters(&self, _index: ServiceIndex) -> Result<ServiceCounters, MapError> {
        Ok(ServiceCounters::default())
    }
}

/// A `connect()` in progress: the same steps and decisions as mesh-ebpf's `connect`, one lookup
/// at a time, so that a test can let writes happen in between.
#[derive(Clone, Debug)]
pub struct Reader {
    key: FrontendKey,
    tries: u32,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Frontend,
    Head(ServiceIndex),
    Slot(ServiceIndex, u32, u32),
    Backend(ServiceIndex, BackendIndex),
}

/// How a `connect()` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent to a backend.
    Backend(Backend),
    /// Anything else.
    Other(Reason),
}

impl Reader {
    /// A `connect()` to a frontend.
    #[must_use]
    pub const fn new(key: FrontendKey) -> Self {
        Self { key, tries: 0, step: Step::Frontend }
    }

    /// Does the next lookup; the outcome, once there is one.
    pub fn step(&mut self, maps: &MapImage, random: u32) -> Option<Outcome> {
        let next = match self.step {
            Step::Frontend => match maps.frontends.get(&self.key) {
                None => return Some(Outcome::Other(Reason::NOT_A_SERVICE)),
                Some(service) => Some(Step::Head(*service)),
            },
            Step::Head(service) => {
                let head = maps.services.get(&service).copied().unwrap_or_default();
                match place(&head, random) {
                    None => return Some(Outcome::Other(without_backend(&head))),
                    Some(place) => Some(Step::Slot(service, place.slot, place.fraction)),
                }
            }
            Step::Slot(service, at, fraction) => {
                let slot = maps.slots.get(&at).copied().unwrap_or_default();
                choose(&slot, service, fraction).map(|index| Step::Backend(service, index))
            }
            Step::Backend(service, index) => {
                let backend = maps.backends.get(&index).copied().unwrap_or_default();
                if belongs(&backend, service) {
                    return Some(Outcome::Backend(backend));
                }
                None
            }
        };
        if let Some(step) = next {
            self.step = step;
            return None;
        }
        self.tries += 1;
        if self.tries == MAX_TRIES {
            return Some(Outcome::Other(Reason::TORN));
        }
        self.step = match self.step {
            Step::Frontend => Step::Frontend,
            Step::Head(service) | Step::Slot(service, ..) | Step::Backend(service, _) => {
                Step::Head(service)
            }
        };
        None
    }

    /// Whether it has looked at a slot that turned out not to be its service's.
    #[must_use]
    pub const fn was_torn(&self) -> bool {
        self.tries > 0
    }
}
