//! What the programs keep for themselves, once all of them use the new maps.

use std::io;
use std::mem::offset_of;
use std::path::Path;

use aya::Pod;
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::names;
use mesh_common::policy::Policy;
use mesh_common::state::{BackendState, ServiceState};

use super::LayoutError;
use super::fill::{each, failed, without_limits};
use crate::bpf::mapped::{Access, Mapped};
use crate::bpf::pinned::{Pinned, info};

/// Adds what the programs kept in the old maps to what they keep in the new ones. Each number is
/// taken away as it is added, so an agent that dies meanwhile adds none twice.
pub(super) fn absorb(old: &Path, new: &Path) -> Result<(), LayoutError> {
    fn add<T: Pod>(
        old: &Path,
        new: &Path,
        map: &'static str,
        words: &[usize],
    ) -> Result<(), LayoutError> {
        let path = old.join(map);
        if !is_there(&path).map_err(failed(map))?
            || same(&path, &new.join(map)).map_err(failed(map))?
        {
            return Ok(());
        }
        let old: Mapped<T> = Mapped::open(&path, Access::Write).map_err(failed(map))?;
        let new: Mapped<T> = Mapped::open(&new.join(map), Access::Write).map_err(failed(map))?;
        for index in 0..old.entries().min(new.entries()) {
            for word in words {
                let number = old.take(index, *word);
                if number != 0 {
                    new.add(index, *word, number);
                }
            }
        }
        Ok(())
    }
    add::<BackendState>(old, new, names::BACKEND_STATE, &[0])?;
    add::<ServiceState>(old, new, names::SERVICE_STATE, &[0])?;
    add::<BackendGuard>(old, new, names::BACKEND_GUARDS, &BACKEND_NUMBERS)?;
    add::<ServiceGuard>(old, new, names::SERVICE_GUARDS, &SERVICE_NUMBERS)?;
    limit(old, new)
}

/// Has limits hold again: the loads are right.
fn limit(old: &Path, new: &Path) -> Result<(), LayoutError> {
    let mut entries: Vec<(u32, Policy)> = Vec::new();
    each(old, names::POLICIES, |index: u32, value: Policy| {
        if without_limits(value) != value {
            entries.push((index, value));
        }
    })?;
    if entries.is_empty()
        || same(&old.join(names::POLICIES), &new.join(names::POLICIES))
            .map_err(failed(names::POLICIES))?
    {
        return Ok(());
    }
    let new: Pinned<u32, Policy> =
        Pinned::open(&new.join(names::POLICIES)).map_err(failed(names::POLICIES))?;
    new.update(&entries).map_err(|(_, source)| failed(names::POLICIES)(source))
}

/// Whether an earlier agent had the map.
fn is_there(path: &Path) -> io::Result<bool> {
    Ok(info(path)?.is_some())
}

/// The words of guards that are numbers, by their place: loads and counts. They are added up when
/// no program uses the old map any more. The others say in which state a breaker or an ejection is,
/// and how many backends are ejected; they are copied before programs go over, and what changes in
/// the moment until then is learned anew.
const SERVICE_NUMBERS: [usize; 5] = [
    offset_of!(ServiceGuard, load) / 8,
    offset_of!(ServiceGuard, refused_open) / 8,
    offset_of!(ServiceGuard, refused_connections) / 8,
    offset_of!(ServiceGuard, refused_pending) / 8,
    offset_of!(ServiceGuard, refused_backends) / 8,
];
const BACKEND_NUMBERS: [usize; 4] = [
    offset_of!(BackendGuard, load) / 8,
    offset_of!(BackendGuard, skipped) / 8,
    offset_of!(BackendGuard, good) / 8,
    offset_of!(BackendGuard, bad) / 8,
];

/// Whether two pins are of one map.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (info(one)?, info(other)?);
    Ok(one.map(|info| info.id) == other.map(|info| info.id))
}
