//! Hears of new and removed cgroups by inotify. `mkdir` and `rmdir` in a cgroup file system go
//! through the VFS, which tells; a removed directory keeps its watch (kernfs does not drop the
//! link count), so watches are taken back by hand.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// Something has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A directory is new.
    Created(PathBuf),
    /// A directory is gone.
    Removed(PathBuf),
    /// Something in the directory of named network namespaces.
    Names,
    /// Events were lost: only a scan tells what there is.
    Lost,
}

/// The watches.
#[derive(Debug)]
pub struct Watches {
    inotify: Inotify,
    by_wd: HashMap<WatchDescriptor, PathBuf>,
    by_path: BTreeMap<PathBuf, WatchDescriptor>,
    names: Option<WatchDescriptor>,
    /// Why some directory is not watched.
    missing: Option<Errno>,
}

impl Watches {
    /// No watch yet.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            by_wd: HashMap::new(),
            by_path: BTreeMap::new(),
            names: None,
            missing: None,
        })
    }

    /// A descriptor that is readable when something has happened.
    pub fn readable(&self) -> io::Result<OwnedFd> {
        self.inotify.as_fd().try_clone_to_owned()
    }

    /// Watches a directory of cgroups; asked again, nothing changes. A failure is remembered.
    pub fn add(&mut self, directory: &Path) {
        match self.watch(directory) {
            Ok(wd) => {
                // A directory that was removed and made again has another number.
                if let Some(old) = self.by_path.insert(directory.to_owned(), wd)
                    && old != wd
                {
                    self.forget(old);
                }
                self.by_wd.insert(wd, directory.to_owned());
            }
            Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(error) => self.missing = Some(error),
        }
    }

    /// Watches the directory of named network namespaces, if it is there.
    pub fn add_names(&mut self, directory: &Path) {
        if let Ok(wd) = self.watch(directory) {
            self.names = Some(wd);
        }
    }

    fn watch(&self, directory: &Path) -> Result<WatchDescriptor, Errno> {
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_DONT_FOLLOW;
        self.inotify.add_watch(directory, flags)
    }

    /// Takes back the watches of a directory and all below.
    pub fn remove(&mut self, directory: &Path) {
        let below = (Bound::Included(directory.to_owned()), Bound::Unbounded);
        let range = self.by_path.range::<PathBuf, _>(below);
        let gone: Vec<PathBuf> = range
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(directory))
            .cloned()
            .collect();
        for path in gone {
            if let Some(wd) = self.by_path.remove(&path) {
                self.forget(wd);
            }
        }
    }

    /// Takes back the watches of directories that are not there any more.
    pub fn keep(&mut self, there: impl Fn(&Path) -> bool) {
        let gone: Vec<PathBuf> = self.by_path.keys().filter(|path| !there(path)).cloned().collect();
        for path in gone {
            self.remove(&path);
        }
    }

    fn forget(&mut self, wd: WatchDescriptor) {
        self.by_wd.remove(&wd);
        // The kernel may have taken it back itself.
        self.inotify.rm_watch(wd).unwrap_or_default();
    }

    /// Why some directory is not watched; asked once, it is forgotten.
    pub const fn missing(&mut self) -> Option<Errno> {
        self.missing.take()
    }

    /// Everything that has happened; empty where nothing has.
    #[must_use]
    pub fn read(&self) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            match self.inotify.read_events() {
                Ok(events) => heard.extend(events.into_iter().filter_map(|it| self.meaning(it))),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return heard,
                Err(_) => {
                    heard.push(Heard::Lost);
                    return heard;
                }
            }
        }
    }

    fn meaning(&self, event: InotifyEvent) -> Option<Heard> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return Some(Heard::Lost);
        }
        if self.names == Some(event.wd) {
            return Some(Heard::Names);
        }
        let directory = self.by_wd.get(&event.wd)?;
        let path = directory.join(event.name?);
        if !event.mask.contains(AddWatchFlags::IN_ISDIR) {
            return None;
        }
        let created = event.mask.contains(AddWatchFlags::IN_CREATE);
        Some(if created { Heard::Created(path) } else { Heard::Removed(path) })
    }
}
