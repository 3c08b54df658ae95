//! The map `direct`: sockets that go where they say, though their address is a service's. The
//! programs ask it only while `TunableFlags::DIRECT` is set.
//!
//! # Minimum kernel version
//!
//! 5.7 (`BPF_MAP_TYPE_SK_STORAGE` from user space by socket descriptor).

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aya::maps::{Map, MapData, MapError as AyaError, SkStorage};
use mesh_common::names;

use super::load::map_path;

/// The pinned map, open.
#[derive(Debug)]
pub struct Direct {
    map: Mutex<SkStorage<MapData, u32>>,
}

impl Direct {
    /// Opens what is pinned below `pin_path`.
    pub fn open(pin_path: &Path) -> io::Result<Self> {
        let open = || {
            let data = MapData::from_pin(map_path(pin_path, names::DIRECT))?;
            SkStorage::try_from(Map::SkStorage(data))
        };
        open().map(|map| Self { map: Mutex::new(map) }).map_err(error)
    }

    /// Marks a socket. The mark goes with the socket.
    pub fn mark(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.insert(&socket, 1, 0).map_err(error)
    }
}

fn error(error: AyaError) -> io::Error {
    if let AyaError::SyscallError(error) = error { error.io_error } else { io::Error::other(error) }
}
