//! Opens pinned maps, and says which one it was that could not be used.

use std::io;
use std::path::Path;

use crate::bpf::load::map_path;
use crate::bpf::mapped::{Access, Mapped};
use crate::bpf::pinned::Pinned;
use crate::maps::MapError;

/// Deletes entries; those that are not there are no error.
pub(super) fn delete<K: aya::Pod, V: aya::Pod>(
    of: &Pinned<K, V>,
    map: &'static str,
    mut keys: &[K],
) -> Result<(), MapError> {
    loop {
        match of.delete(keys) {
            Ok(()) => return Ok(()),
            Err((done, source)) if source.kind() == io::ErrorKind::NotFound => {
                keys = keys.get(done + 1..).unwrap_or_default();
            }
            Err((_, source)) => return Err(MapError::Write { map, source: source.into() }),
        }
    }
}

pub(crate) fn pinned<K: aya::Pod, V: aya::Pod>(
    pin_path: &Path,
    map: &'static str,
) -> Result<Pinned<K, V>, MapError> {
    let path = map_path(pin_path, map);
    Pinned::open(&path).map_err(open_error(&path))
}

pub(super) fn mapped<T: aya::Pod>(
    pin_path: &Path,
    map: &'static str,
) -> Result<Mapped<T>, MapError> {
    let path = map_path(pin_path, map);
    Mapped::open(&path, Access::Write).map_err(open_error(&path))
}

pub(crate) fn open_error(path: &Path) -> impl Fn(io::Error) -> MapError {
    move |source| MapError::Open { path: path.display().to_string(), source: source.into() }
}

pub(crate) fn read_error(map: &'static str) -> impl Fn(io::Error) -> MapError {
    move |source| MapError::Read { map, source: source.into() }
}
