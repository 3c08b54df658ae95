//! Brings the kernel's maps of verdicts to what enrolment wants, in the order of its plan.
//!
//! The switches are in the map `tunables`, which others write as well: one thread at a time.

use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, MapError as AyaError};
use mesh_common::enrol::{CgroupKey, NetnsKey, Verdict};
use mesh_common::names;
use mesh_common::tunables::{TunableFlags, Tunables};

use super::load::map_path;
use crate::enrol;
use crate::enrol::plan::{Step, plan};
use crate::enrol::verdicts::{Filters, Held, Room, Verdicts};

/// A map of verdicts cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the map {map}: {source}")]
pub struct EnrolError {
    verb: &'static str,
    map: &'static str,
    #[source]
    source: Box<AyaError>,
}

/// The pinned maps of verdicts, open, and what they hold.
pub struct EnrolMaps {
    cgroups: HashMap<MapData, CgroupKey, Verdict>,
    namespaces: HashMap<MapData, NetnsKey, Verdict>,
    tunables: Array<MapData, Tunables>,
    room: Room,
    held: Held,
}

impl EnrolMaps {
    /// Opens what is pinned below `pin_path`, and reads it.
    pub fn open(pin_path: &Path) -> Result<Self, EnrolError> {
        let open = |map: &'static str, wrap: fn(MapData) -> Map| {
            let opened = MapData::from_pin(map_path(pin_path, map)).and_then(|data| {
                let entries = data.info()?.max_entries();
                Ok((wrap(data), usize::try_from(entries).unwrap_or(usize::MAX)))
            });
            opened.map_err(failure("open", map))
        };
        let (cgroups, cgroup_room) = open(names::CGROUPS, Map::HashMap)?;
        let (namespaces, namespace_room) = open(names::NAMESPACES, Map::HashMap)?;
        let (tunables, _) = open(names::TUNABLES, Map::Array)?;
        let mut maps = Self {
            cgroups: HashMap::try_from(cgroups).map_err(failure("use", names::CGROUPS))?,
            namespaces: HashMap::try_from(namespaces).map_err(failure("use", names::NAMESPACES))?,
            tunables: Array::try_from(tunables).map_err(failure("use", names::TUNABLES))?,
            room: Room { cgroups: cgroup_room, namespaces: namespace_room },
            held: Held::default(),
        };
        maps.held = maps.read()?;
        Ok(maps)
    }

    /// How many entries the maps have room for: pinned maps keep the size that they were made
    /// with.
    #[must_use]
    pub const fn room(&self) -> Room {
        self.room
    }

    /// Map name, entries used, entries possible.
    #[must_use]
    pub fn usage(&self) -> [(&'static str, u64, u64); 2] {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (held, room) = (&self.held, self.room);
        [
            (names::CGROUPS, number(held.cgroups.len()), number(room.cgroups)),
            (names::NAMESPACES, number(held.namespaces.len()), number(room.namespaces)),
        ]
    }

    fn read(&self) -> Result<Held, EnrolError> {
        let mut held = Held::default();
        for entry in &self.cgroups {
            let (key, verdict) = entry.map_err(failure("read", names::CGROUPS))?;
            held.cgroups.insert(key.id, verdict.into());
        }
        for entry in &self.namespaces {
            let (key, verdict) = entry.map_err(failure("read", names::NAMESPACES))?;
            held.namespaces.insert(key.cookie, verdict.into());
        }
        held.filters = Filters::of(self.tunables()?.flags);
        Ok(held)
    }

    fn tunables(&self) -> Result<Tunables, EnrolError> {
        self.tunables.get(&0, 0).map_err(failure("read", names::TUNABLES))
    }

    /// Brings the maps to what is wanted; returns how many writes that took. After an error the
    /// next call goes on from what has been written.
    pub fn apply(&mut self, wanted: &Verdicts) -> Result<usize, EnrolError> {
        let steps = plan(&self.held, wanted, self.room);
        for step in &steps {
            self.write(*step)?;
            self.held.take(*step);
        }
        Ok(steps.len())
    }

    /// Adds entries for new cgroups, as many as there is room for; without one, a cgroup has the
    /// verdict of its parent until the next [`Self::apply`].
    pub fn add(&mut self, fresh: &[(u64, enrol::Verdict)]) -> Result<(), EnrolError> {
        for (id, verdict) in fresh {
            if self.held.cgroups.len() < self.room.cgroups {
                let step = Step::PutCgroup(*id, *verdict);
                self.write(step)?;
                self.held.take(step);
            }
        }
        Ok(())
    }

    /// Lets the programs ask the map `direct`, or not.
    pub fn set_direct(&mut self, on: bool) -> Result<(), EnrolError> {
        let mut tunables = self.tunables()?;
        let (direct, flags) = (TunableFlags::DIRECT, tunables.flags);
        tunables.flags = if on { flags.and(direct) } else { flags.without(direct) };
        self.tunables.set(0, tunables, 0).map_err(failure("write", names::TUNABLES))
    }

    fn write(&mut self, step: Step) -> Result<(), EnrolError> {
        match step {
            Step::PutCgroup(id, verdict) => self
                .cgroups
                .insert(CgroupKey { id }, Verdict::from(verdict), 0)
                .map_err(failure("write", names::CGROUPS)),
            Step::DropCgroup(id) => absent_is_fine(self.cgroups.remove(&CgroupKey { id }))
                .map_err(failure("write", names::CGROUPS)),
            Step::PutNamespace(cookie, verdict) => self
                .namespaces
                .insert(NetnsKey { cookie }, Verdict::from(verdict), 0)
                .map_err(failure("write", names::NAMESPACES)),
            Step::DropNamespace(cookie) => {
                absent_is_fine(self.namespaces.remove(&NetnsKey { cookie }))
                    .map_err(failure("write", names::NAMESPACES))
            }
            Step::SetFilters(filters) => {
                let mut tunables = self.tunables()?;
                tunables.flags = filters.within(tunables.flags);
                self.tunables.set(0, tunables, 0).map_err(failure("write", names::TUNABLES))
            }
        }
    }
}

fn absent_is_fine(removed: Result<(), AyaError>) -> Result<(), AyaError> {
    match removed {
        Err(AyaError::KeyNotFound) => Ok(()),
        Err(AyaError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => other,
    }
}

fn failure(verb: &'static str, map: &'static str) -> impl FnOnce(AyaError) -> EnrolError {
    move |error| EnrolError { verb, map, source: Box::new(error) }
}

impl std::fmt::Debug for EnrolMaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolMaps").field("held", &self.held).finish_non_exhaustive()
    }
}
