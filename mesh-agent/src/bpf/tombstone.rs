//! How a running agent tells `mesh-agent uninstall` from a link that got lost.
//!
//! A person who uninstalls wants the programs gone; the agent must not put them back. But a link
//! that somebody detached or whose pin somebody removed has to come back. So uninstalling begins
//! with a mark, a directory beside the pins (bpffs holds no plain files), and whoever attaches
//! looks for it first. Both hold the lock on the directory of links meanwhile, so that no link
//! is made between the mark and the removal. When uninstalling has ended, the mark is gone again
//! with everything else: then it is the missing maps that say so.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mesh_common::names;

use super::load::map_path;

/// Directory below the pin path: uninstalling has begun.
const MARK: &str = "uninstalling";

/// Where the mark is.
fn mark_path(pin_path: &Path) -> PathBuf {
    pin_path.join(MARK)
}

/// Holds the links: nobody else attaches or removes any while the file is open. Waits for
/// whoever does. `None` where there is no directory of links.
pub fn lock_links(pin_path: &Path) -> io::Result<Option<File>> {
    let directory = match File::open(pin_path.join(names::LINKS_DIR)) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    directory.lock()?;
    Ok(Some(directory))
}

/// Says that uninstalling has begun. Nothing happens where nothing is installed.
pub fn mark(pin_path: &Path) -> io::Result<()> {
    let Some(_links) = lock_links(pin_path)? else { return Ok(()) };
    match fs::create_dir(mark_path(pin_path)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes the mark away: at the end of uninstalling, or when an agent is started after one that
/// did not get to its end.
pub fn clear(pin_path: &Path) -> io::Result<()> {
    match fs::remove_dir(mark_path(pin_path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether somebody has uninstalled what the agent uses, or is about to.
#[must_use]
pub fn uninstalled(pin_path: &Path) -> bool {
    mark_path(pin_path).exists() || !map_path(pin_path, names::TUNABLES).exists()
}
