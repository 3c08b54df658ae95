//! Cgroups of version 2, children of the root wherever it is mounted (hybrid layouts too).

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cleanup::{self, Guard};
use crate::scratch::{self, unique};

/// Root of the cgroup v2 hierarchy.
pub fn root() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("/proc is not mounted")?;
    mounts
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let path = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
        })
        .context("needs cgroup v2: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// A cgroup; removed on drop, after killing what is still in it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    procs: Arc<OwnedFd>,
    _guard: Guard,
}

impl Cgroup {
    /// Creates `<root>/mesh-t<pid>-<n>-<what>`.
    pub fn create(what: &str) -> anyhow::Result<Self> {
        Self::create_at(root()?.join(unique(what)))
    }

    /// Creates a cgroup below this one. It must be dropped first.
    pub fn child(&self, name: &str) -> anyhow::Result<Self> {
        Self::create_at(self.path.join(name))
    }

    fn create_at(path: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&path).with_context(|| format!("mkdir {}", path.display()))?;
        let undo = path.clone();
        let guard = cleanup::on_exit(move || remove(&undo));
        let procs = Arc::new(open_procs(&path)?);
        Ok(Self { path, procs, _guard: guard })
    }

    /// Removes it, with what is in it.
    pub fn remove(&self) {
        remove(&self.path);
    }

    /// Makes it again after [`Self::remove`].
    pub fn restore(&mut self) -> anyhow::Result<()> {
        fs::create_dir(&self.path).with_context(|| format!("mkdir {}", self.path.display()))?;
        self.procs = Arc::new(open_procs(&self.path)?);
        Ok(())
    }

    /// Its id, as the programs see it.
    pub fn id(&self) -> anyhow::Result<u64> {
        Ok(fs::metadata(&self.path)?.ino())
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its `cgroup.procs`, for `Place`.
    #[must_use]
    pub fn procs(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.procs)
    }
}

fn open_procs(path: &Path) -> anyhow::Result<OwnedFd> {
    let procs = File::options().write(true).open(path.join("cgroup.procs"));
    Ok(procs.context("opening cgroup.procs")?.into())
}

/// Kills what is in the cgroup (only what was started there can be) and removes it, after
/// those inside it.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let deadline = Instant::now() + Duration::from_secs(3);
    while fs::remove_dir(path).is_err() && path.exists() && Instant::now() < deadline {
        drop(fs::write(path.join("cgroup.kill"), "1"));
        remove_children(path);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Removes the cgroups below one: a killed process may have left its own.
fn remove_children(path: &Path) {
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_children(&child.path());
            drop(fs::remove_dir(child.path()));
        }
    }
}

/// Removes cgroups that a killed run left behind.
pub fn sweep() {
    if let Ok(root) = root() {
        for name in scratch::stale_in(&root) {
            remove(&root.join(name));
        }
    }
}
