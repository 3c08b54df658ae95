//! Takes everything off the machine that the agent put into the kernel. Idempotent: what is not
//! there is no error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mesh_common::names;

use super::{load, tombstone};

/// Something could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {}: {source}", .path.display())]
pub struct UninstallError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Has accelerated connections go on by TCP; what waits for its reader in a socket stays there, also
/// without the map. Then removes links, in reverse order of attachment, so that redirection stops
/// before what observes it; then maps and directories. Returns what was removed.
pub fn uninstall(pin_path: &Path) -> Result<Vec<PathBuf>, UninstallError> {
    let failed = |source| UninstallError { path: pin_path.to_owned(), source };
    // A running agent must not put back what is removed here.
    tombstone::mark(pin_path).map_err(failed)?;
    let mut acceleration = load::Switch::open(pin_path).map_err(failed)?;
    acceleration.off().map_err(failed)?;
    let mut removed = Vec::new();
    let links = pin_path.join(names::LINKS_DIR);
    for name in names::PROGRAMS.iter().rev() {
        remove(links.join(name), |path| fs::remove_file(path), &mut removed)?;
    }
    let directories = [names::MAPS_DIR, names::MAPS_NEXT, names::MAPS_OLD, names::MAPS_GONE];
    let directories = directories.map(|name| pin_path.join(name));
    for maps in &directories {
        for name in names::MAPS {
            remove(maps.join(name), |path| fs::remove_file(path), &mut removed)?;
        }
    }
    for directory in [links].into_iter().chain(directories) {
        remove(directory, |path| fs::remove_dir(path), &mut removed)?;
    }
    // Again: an agent that was running may have written what it had read before.
    acceleration.off().map_err(failed)?;
    tombstone::clear(pin_path).map_err(failed)?;
    remove(pin_path.to_owned(), |path| fs::remove_dir(path), &mut removed)?;
    Ok(removed)
}

fn remove(
    path: PathBuf,
    by: impl Fn(&Path) -> io::Result<()>,
    removed: &mut Vec<PathBuf>,
) -> Result<(), UninstallError> {
    match by(&path) {
        Ok(()) => {
            removed.push(path);
            Ok(())
        }
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(UninstallError { path, source }),
    }
}
