//! Whose the words are: what the watcher knows of the kernel services that have guards.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::model::{Name, ObjectName, OutlierDetection};
use mesh_common::backend::BackendIndex;
use mesh_common::policy::Policy;
use mesh_common::service::ServiceIndex;

use super::states::Key;
use crate::compile::Family;

/// All kernel services with guards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Ascending by index.
    pub services: Vec<Entry>,
    /// Whether any kernel service counts connections by backend.
    pub counts_active: bool,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub index: ServiceIndex,
    /// The service.
    pub name: ObjectName,
    /// The service's port.
    pub port: u16,
    /// Of the addresses that lead there.
    pub family: Family,
    /// When backends are ejected because too many of their connects fail.
    pub percentage: Option<Percentage>,
    /// The numbers that the programs go by.
    pub policy: Policy,
    /// Its backends, ascending by index.
    pub backends: Vec<Holder>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its index.
    pub index: BackendIndex,
    /// Tells it from others that had the index before.
    pub generation: u32,
    /// Name of the endpoint.
    pub endpoint: Name,
}

/// When a backend is ejected because too many of its connects fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentage {
    /// How often it is looked at.
    pub interval: Duration,
    /// Failed connects, of 100.
    pub percent: u8,
    /// Connects below which nothing is concluded.
    pub minimum: u32,
}

impl Percentage {
    /// What the configuration says.
    #[must_use]
    pub fn of(detection: &OutlierDetection) -> Option<Self> {
        Some(Self {
            interval: detection.interval,
            percent: detection.failure_percentage?,
            minimum: detection.minimum_connections,
        })
    }
}

impl Entry {
    /// A backend of it.
    #[must_use]
    pub fn holder(&self, index: BackendIndex) -> Option<&Holder> {
        let at = self.backends.binary_search_by_key(&index, |backend| backend.index).ok()?;
        self.backends.get(at)
    }

    /// Whether it has outlier detection at all. In panic it has: nobody is ejected meanwhile, but
    /// the ejections that there are go on.
    #[must_use]
    pub const fn ejects(&self) -> bool {
        self.policy.outlier.max_ejected != 0
    }

    /// Whether backends may be ejected now.
    #[must_use]
    pub const fn ejects_now(&self) -> bool {
        self.ejects() && self.policy.outlier.base_ms != 0
    }
}

impl Directory {
    /// The service of an index.
    #[must_use]
    pub fn find(&self, index: ServiceIndex) -> Option<&Entry> {
        let at = self.services.binary_search_by_key(&index, |service| service.index).ok()?;
        self.services.get(at)
    }

    /// Whether there is nothing to watch.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.counts_active
    }

    /// Every word whose changes are told, with the generation of its holder.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<Key, u32> {
        let of = |service: &Entry| {
            let index = service.index;
            let backends = service.backends.iter().flat_map(move |backend| {
                let generation = backend.generation;
                [
                    (Key::breaker(index, backend.index), generation),
                    (Key::outlier(index, backend.index), generation),
                ]
            });
            backends.chain([(Key::breaker(index, BackendIndex::NONE), 0)]).collect::<Vec<_>>()
        };
        self.services.iter().flat_map(of).collect()
    }
}
