//! The directories of pins, and how a change of maps moves through them.

use std::path::Path;
use std::{fs, io};

use mesh_common::names;

use super::LayoutError;

/// Brings the directories into one of two states, wherever an earlier agent died: `maps` alone,
/// or `maps` and `maps-old`, of which programs may use both.
pub(in crate::bpf) fn recover(pin_path: &Path) -> Result<(), LayoutError> {
    let is_there = |name: &str| pin_path.join(name).exists();
    remove(pin_path, names::MAPS_GONE)?;
    if is_there(names::MAPS_DIR) {
        // Never used by any program: it was being filled.
        return remove(pin_path, names::MAPS_NEXT);
    }
    if is_there(names::MAPS_NEXT) && is_there(names::MAPS_OLD) {
        return rename(pin_path, names::MAPS_NEXT, names::MAPS_DIR);
    }
    // Somebody has removed things by hand.
    remove(pin_path, names::MAPS_NEXT)?;
    if is_there(names::MAPS_OLD) {
        return rename(pin_path, names::MAPS_OLD, names::MAPS_DIR);
    }
    Ok(())
}

/// Lets the filled maps take the place of the present ones.
pub(in crate::bpf) fn replace(pin_path: &Path) -> Result<(), LayoutError> {
    rename(pin_path, names::MAPS_DIR, names::MAPS_OLD)?;
    rename(pin_path, names::MAPS_NEXT, names::MAPS_DIR)
}

/// Removes a directory of pins; nothing happens where there is none. It goes under another name
/// first, so that half of it is never taken for all.
pub(in crate::bpf) fn remove(pin_path: &Path, name: &str) -> Result<(), LayoutError> {
    let path = pin_path.join(name);
    if !path.exists() {
        return Ok(());
    }
    let gone = pin_path.join(names::MAPS_GONE);
    if name != names::MAPS_GONE {
        remove(pin_path, names::MAPS_GONE)?;
        rename(pin_path, name, names::MAPS_GONE)?;
    }
    let removed = || -> io::Result<()> {
        for entry in fs::read_dir(&gone)? {
            fs::remove_file(entry?.path())?;
        }
        fs::remove_dir(&gone)
    };
    removed().map_err(|source| LayoutError::Pins { path: gone.clone(), source })
}

fn rename(pin_path: &Path, from: &str, to: &str) -> Result<(), LayoutError> {
    let path = pin_path.join(from);
    fs::rename(&path, pin_path.join(to)).map_err(|source| LayoutError::Pins { path, source })
}
