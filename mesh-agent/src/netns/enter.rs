//! Into a network namespace and out again: always on a thread of its own, which ends there, as
//! a thread's namespace also holds for whatever else runs on it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::find::Sighting;
use super::{Namespace, NetnsError, NetnsId};

/// A file that leads into a namespace, as long as it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) path: PathBuf,
    /// When the inode of a bind mount was made: another one at the same place has another time.
    pub(super) since: Option<(i64, i64)>,
}

/// Runs `work` inside the namespace, on a thread of its own, and waits for it. The thread's
/// start and end cost some ten microseconds. Refuses where the namespace has been replaced by
/// another with the same inode number.
pub fn run<T: Send>(
    namespace: &Namespace,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    let id = namespace.id;
    on_thread(|| {
        enter(id, &namespace.doors)?;
        if cookie(id)? != namespace.cookie {
            return Err(NetnsError::Gone { id });
        }
        Ok(work())
    })?
}

/// Reads the cookies of namespaces, all on one thread.
#[expect(clippy::type_complexity, reason = "a pair each")]
pub(super) fn cookies(
    sightings: Vec<Sighting>,
) -> Result<Vec<(Sighting, Result<u64, NetnsError>)>, NetnsError> {
    if sightings.is_empty() {
        return Ok(Vec::new());
    }
    on_thread(|| {
        // The thread begins in the process's own namespace, which needs no permission.
        let (own, others): (Vec<_>, Vec<_>) = sightings.into_iter().partition(|seen| seen.own);
        let read = |seen: Sighting| {
            let entered = if seen.own { Ok(()) } else { enter(seen.id, &seen.doors) };
            let cookie = entered.and_then(|()| cookie(seen.id));
            (seen, cookie)
        };
        own.into_iter().chain(others).map(read).collect()
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(NetnsError::Thread)?;
        thread.join().map_err(|_panic| NetnsError::Panicked)
    })
}

/// Moves this thread into the namespace, by the first door that still leads there.
fn enter(id: NetnsId, doors: &[Door]) -> Result<(), NetnsError> {
    let mut denied = false;
    for door in doors {
        let file = match File::open(&door.path) {
            Ok(file) => file,
            Err(error) => {
                denied |= error.kind() == io::ErrorKind::PermissionDenied;
                continue;
            }
        };
        let Ok(meta) = file.metadata() else { continue };
        if (meta.dev(), meta.ino()) != (id.device, id.inode) {
            continue;
        }
        return match setns(file, CloneFlags::CLONE_NEWNET) {
            Ok(()) => Ok(()),
            Err(Errno::EPERM) => Err(NetnsError::Permission { id }),
            Err(errno) => Err(NetnsError::Call { id, call: "setns", source: errno.into() }),
        };
    }
    Err(if denied { NetnsError::Permission { id } } else { NetnsError::Gone { id } })
}

fn cookie(id: NetnsId) -> Result<u64, NetnsError> {
    super::cookie::netns_cookie().map_err(|source| NetnsError::Call {
        id,
        call: "SO_NETNS_COOKIE",
        source,
    })
}
