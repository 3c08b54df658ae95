//! Which processes hold sockets, whether those block, and in which cgroup the processes are: read
//! from `/proc`, which has to be the host's. Needs `CAP_SYS_PTRACE` for processes of others.
//!
//! A socket's flags belong to its open file, which all processes share that inherited it or were
//! given it: one of them is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::absent::Absent;
use crate::cgroup::v2_path;

/// `O_NONBLOCK` of all architectures on which eBPF runs but MIPS and PA-RISC.
const NONBLOCK: u32 = 0o4000;
/// Most sockets of which it is remembered where they are.
const MOST_KNOWN: usize = 16_384;

/// A socket in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whether calls on it return at once.
    pub nonblocking: bool,
    /// The cgroup of the process.
    pub cgroup: u64,
}

/// Where a socket was found: process and descriptor.
type Place = (u32, u32);

/// Finds them; remembers where.
#[derive(Debug)]
pub struct Holders {
    proc: PathBuf,
    cgroups: PathBuf,
    known: BTreeMap<u32, Place>,
    absent: Absent,
}

impl Holders {
    /// Looks below `proc`; cgroup v2 is mounted at `cgroups`.
    #[must_use]
    pub fn new(proc: PathBuf, cgroups: PathBuf) -> Self {
        Self { proc, cgroups, known: BTreeMap::new(), absent: Absent::default() }
    }

    /// The sockets with these inode numbers, as far as they are found. Reads a file for each, and
    /// a link for each descriptor of the machine where one is not where it was; for one that is
    /// nowhere, less and less often.
    pub fn look(&mut self, wanted: &BTreeSet<u32>) -> io::Result<BTreeMap<u32, Held>> {
        self.absent.next();
        let mut ids = BTreeMap::new();
        let mut found = self.where_known(wanted, &mut ids);
        let missing = wanted.iter().filter(|inode| !found.contains_key(inode)).copied();
        let missing: BTreeSet<u32> = missing.collect();
        if missing.iter().any(|inode| self.absent.is_due(*inode)) {
            self.known.retain(|inode, _| found.contains_key(inode));
            self.search(&missing)?;
            found.extend(self.where_known(&missing, &mut ids));
            for inode in missing {
                if found.contains_key(&inode) {
                    self.absent.found(inode);
                } else {
                    self.absent.missed(inode);
                }
            }
        }
        Ok(found)
    }

    fn where_known(
        &self,
        wanted: &BTreeSet<u32>,
        ids: &mut BTreeMap<String, Option<u64>>,
    ) -> BTreeMap<u32, Held> {
        let places = wanted.iter().filter_map(|inode| Some((*inode, *self.known.get(inode)?)));
        let held = places.filter_map(|(inode, place)| Some((inode, self.held(inode, place, ids)?)));
        held.collect()
    }

    /// Finds where they are, and many others that may be asked for later. Processes that end
    /// meanwhile are left out.
    fn search(&mut self, missing: &BTreeSet<u32>) -> io::Result<()> {
        let mut left = missing.len();
        for process in numbered(&self.proc)? {
            if left == 0 {
                break;
            }
            let folder = self.proc.join(process.to_string()).join("fd");
            let Ok(descriptors) = numbered(&folder) else { continue };
            for descriptor in descriptors {
                let link = fs::read_link(folder.join(descriptor.to_string()));
                let Some(inode) = link.ok().and_then(|link| inode_of(link.to_str()?)) else {
                    continue;
                };
                let is_missing = missing.contains(&inode);
                if is_missing || self.known.len() < MOST_KNOWN {
                    let before = self.known.insert(inode, (process, descriptor));
                    left -= usize::from(is_missing && before.is_none());
                }
            }
        }
        Ok(())
    }

    /// The socket at a place, if it is there.
    fn held(
        &self,
        inode: u32,
        (process, descriptor): Place,
        ids: &mut BTreeMap<String, Option<u64>>,
    ) -> Option<Held> {
        let process = self.proc.join(process.to_string());
        let info = fs::read_to_string(process.join("fdinfo").join(descriptor.to_string())).ok()?;
        let nonblocking = is_nonblocking(&info, inode)?;
        let cgroup = fs::read_to_string(process.join("cgroup")).ok()?;
        let path = path_of(&cgroup)?;
        let id = || id_of(&self.cgroups.join(path.trim_start_matches('/')));
        let cgroup = (*ids.entry(path.to_owned()).or_insert_with(id))?;
        Some(Held { nonblocking, cgroup })
    }
}

fn id_of(directory: &Path) -> Option<u64> {
    fs::metadata(directory).ok().map(|meta| meta.ino())
}

/// The entries of a directory that are numbers.
fn numbered(directory: &Path) -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir(directory)?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// `socket:[77777]` → 77777.
fn inode_of(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// From `/proc/PID/fdinfo/FD`, if it is about this inode (`ino`: Linux 5.14).
fn is_nonblocking(info: &str, inode: u32) -> Option<bool> {
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if value("ino:")?.parse() != Ok(inode) {
        return None;
    }
    u32::from_str_radix(value("flags:")?, 8).ok().map(|flags| flags & NONBLOCK != 0)
}

/// Path of the cgroup v2 in `/proc/PID/cgroup`; none outside of the agent's cgroup namespace, or of
/// one that was removed.
fn path_of(cgroup: &str) -> Option<&str> {
    let path = v2_path(cgroup)?;
    (!path.starts_with("/..") && !path.ends_with(" (deleted)")).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd as _};

    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let info = "pos:\t0\nflags:\t02004002\nmnt_id:\t9\nino:\t77777\n";
        assert_eq!(is_nonblocking(info, 77_777), Some(true));
        assert_eq!(is_nonblocking(&info.replace("2004002", "2000002"), 77_777), Some(false));
        assert_eq!(is_nonblocking(info, 7777), None);
        assert_eq!(is_nonblocking("", 77_777), None);
        assert_eq!(inode_of("socket:[12]"), Some(12));
        assert_eq!(inode_of("pipe:[12]"), None);
        assert_eq!(path_of("0::/a/b\n"), Some("/a/b"));
        assert_eq!(path_of("0::/../other\n"), None);
        assert_eq!(path_of("0::/a (deleted)\n"), None);
        assert_eq!(path_of(""), None);
    }

    fn inode(socket: &impl AsFd) -> u32 {
        let link = format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd());
        inode_of(fs::read_link(link).unwrap().to_str().unwrap()).unwrap()
    }

    #[test]
    fn own_sockets_are_found_and_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, two) = (
            TcpStream::connect(listener.local_addr().unwrap()).unwrap(),
            listener.accept().unwrap().0,
        );
        one.set_nonblocking(true).unwrap();
        let wanted: BTreeSet<u32> = [inode(&one), inode(&two), u32::MAX].into();
        let cgroups = tempfile::tempdir().unwrap();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = cgroups.path().join(path_of(&own).unwrap_or_default().trim_start_matches('/'));
        fs::create_dir_all(&own).unwrap();
        let id = id_of(&own).unwrap();
        let mut holders = Holders::new("/proc".into(), cgroups.path().to_owned());
        let mut look = || {
            let found = holders.look(&wanted).unwrap();
            let held = |socket| found.get(&inode(socket)).map(|it| (it.nonblocking, it.cgroup));
            (held(&one), held(&two), found.len())
        };
        assert_eq!(look(), (Some((true, id)), Some((false, id)), 2));
        one.set_nonblocking(false).unwrap();
        assert_eq!(look(), (Some((false, id)), Some((false, id)), 2));
        let gone = inode(&one);
        drop(one);
        assert!(!holders.look(&wanted).unwrap().contains_key(&gone));
    }

    #[test]
    fn processes_are_not_read_again_and_again_for_what_is_nowhere() {
        let proc = tempfile::tempdir().unwrap();
        let mut holders = Holders::new(proc.path().into(), "/".into());
        let nowhere = [7].into();
        let mut look = || holders.look(&nowhere).is_ok();
        assert!(look() && look(), "it is looked for twice");
        // From here on, whoever reads the folder fails.
        fs::remove_dir(proc.path()).unwrap();
        assert!(look(), "there was no search");
        assert!(!look(), "there was one");
    }
}
