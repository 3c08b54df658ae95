//! Maps of another size or kind than the pinned ones: new ones are made beside them, filled with
//! the same entries under the same indices, and take their place. Programs go over one by one;
//! until the last has, some use the old maps and some the new, and both say the same.
//!
//! ```text
//! maps                     the usual case
//! maps, maps-next          new maps are being filled; no program uses them
//! maps-old, maps-next      between two renames
//! maps, maps-old           programs are going over to `maps`; counters of both count
//! maps-gone                is being removed
//! ```
//!
//! An agent may die in any of these states; [`dirs::recover`] and the next start go on from there.
//! Dots are not allowed in names on a bpffs, and exchanging two names would leave a state that
//! cannot be told from another, so there are two renames.

mod absorb;
pub(super) mod dirs;
mod fill;
mod plan;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use mesh_common::names;

pub(super) use self::fill::{fill, used};
pub(super) use self::plan::{Sizes, declared, fit, pinned, plan};
use super::load::LoadError;
use crate::ledger::{Last, Sources};

/// Why the maps cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A directory or pin cannot be made, moved or removed.
    #[error("cannot use {}: {source}; `mesh-agent uninstall` removes all pins", .path.display())]
    Pins {
        /// Which one.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A map's entries cannot be carried over.
    #[error("cannot carry the map {map} over to its new layout: {source}")]
    Fill {
        /// Its name.
        map: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The object is not one of ours.
    #[error("cannot read the maps of the eBPF object: {0}")]
    Object(#[source] Box<aya_obj::ParseError>),
    /// A map holds what cannot be translated.
    #[error(
        "the pinned map {map} has another layout than this agent's and belongs to open \
         connections: go back to the earlier agent, or end them, run `mesh-agent uninstall` and \
         start this agent"
    )]
    Fixed {
        /// Its name.
        map: &'static str,
    },
    /// There is no grace period.
    #[error("membarrier(GLOBAL) failed: {0}; a kernel booted with nohz_full does not offer it")]
    Grace(#[source] io::Error),
}

/// Whether a change of maps is under way: programs may use old ones.
#[must_use]
pub fn is_under_way(pin_path: &Path) -> bool {
    pin_path.join(names::MAPS_OLD).exists()
}

/// Ends a change of maps, once every program uses the present ones: waits until none runs that
/// began before, and carries over what the programs kept for themselves. Returns which maps these
/// were and what they had counted, for the ledger; `None` where no change is under way.
///
/// What is returned must be on disk before [`remove`] is called.
pub fn finish(pin_path: &Path) -> Result<Option<(Sources, Last)>, LoadError> {
    if !is_under_way(pin_path) {
        return Ok(None);
    }
    let old = pin_path.join(names::MAPS_OLD);
    super::grace().map_err(LayoutError::Grace)?;
    absorb::absorb(&old, &pin_path.join(names::MAPS_DIR))?;
    Ok(Some(fill::last(&old)?))
}

/// Removes the old maps.
pub fn remove(pin_path: &Path) -> Result<(), LoadError> {
    Ok(dirs::remove(pin_path, names::MAPS_OLD)?)
}
