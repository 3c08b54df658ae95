//! Where network namespaces are to be seen: the links below `/proc` and the bind mounts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::enter::Door;
use super::mounts::{Mount, mounts};
use super::{NetnsError, NetnsId};

/// How many ways into one namespace are remembered: one may close before it is used.
const MOST_DOORS: usize = 4;

/// A namespace that is there, by its outside.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) id: NetnsId,
    pub(super) mounts: Vec<String>,
    pub(super) own: bool,
    /// Mounts first, as they last.
    pub(super) doors: Vec<Door>,
}

#[derive(Debug)]
pub(super) struct Found {
    pub(super) sightings: Vec<Sighting>,
    pub(super) hidden: usize,
}

/// Looks at all mounts and processes.
pub(super) fn find(proc: &Path) -> Result<Found, NetnsError> {
    let mut finder = Finder { own: own(proc)?, found: BTreeMap::new() };
    // Process 1 sees the host's mounts, also from within a container; it may be out of bounds.
    for (owner, root) in [("self", Path::new("/")), ("1", &proc.join("1/root"))] {
        if let Ok(text) = fs::read_to_string(proc.join(owner).join("mountinfo")) {
            mounts(&text).for_each(|mount| finder.see_mount(root, &mount));
        }
    }
    let hidden = finder.see_processes(proc)?;
    let mut sightings: Vec<_> = finder.found.into_values().collect();
    for sighting in &mut sightings {
        sighting.mounts.sort();
        sighting.mounts.dedup();
    }
    Ok(Found { sightings, hidden })
}

struct Finder {
    own: NetnsId,
    found: BTreeMap<u64, Sighting>,
}

impl Finder {
    fn at(&mut self, inode: u64) -> &mut Sighting {
        let id = NetnsId { device: self.own.device, inode };
        let own = id == self.own;
        self.found.entry(inode).or_insert_with(|| Sighting {
            id,
            mounts: Vec::new(),
            own,
            doors: Vec::new(),
        })
    }

    fn see_mount(&mut self, root: &Path, Mount { inode, path }: &Mount) {
        let full = root.join(path.strip_prefix("/").unwrap_or(path));
        // Hidden below another mount, or gone meanwhile: not a way in.
        let Ok(meta) = fs::metadata(&full) else { return };
        if (meta.dev(), meta.ino()) != (self.own.device, *inode) {
            return;
        }
        let sighting = self.at(*inode);
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            sighting.mounts.push(name.to_owned());
        }
        let since = Some((meta.ctime(), meta.ctime_nsec()));
        sighting.doors.push(Door { path: full, since });
    }

    /// Returns how many processes hide their namespace.
    fn see_processes(&mut self, proc: &Path) -> Result<usize, NetnsError> {
        let mut hidden = 0;
        let failed = |source| NetnsError::Proc { path: proc.to_owned(), source };
        for entry in fs::read_dir(proc).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let path = entry.path().join("ns/net");
            match fs::read_link(&path) {
                Ok(link) => {
                    let Some(inode) = link.to_str().and_then(inode_of) else { continue };
                    let sighting = self.at(inode);
                    if sighting.doors.len() < MOST_DOORS {
                        sighting.doors.push(Door { path, since: None });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
                // It has ended.
                Err(_) => {}
            }
        }
        Ok(hidden)
    }
}

/// The namespace of this thread, in which it starts others.
fn own(proc: &Path) -> Result<NetnsId, NetnsError> {
    let path = proc.join("thread-self/ns/net");
    match fs::metadata(&path) {
        Ok(meta) => Ok(NetnsId { device: meta.dev(), inode: meta.ino() }),
        Err(source) => Err(NetnsError::Proc { path, source }),
    }
}

/// `net:[4026531840]` → 4026531840.
pub(super) fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}
