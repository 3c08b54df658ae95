//! Unique names and a scratch folder that goes away again. Names carry the process id of the
//! harness, so that what a killed run left behind can be told from what is in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use crate::cleanup::{self, Guard};

/// Prefix of every name that the harness creates.
pub const PREFIX: &str = "mesh-t";

/// `mesh-t<pid>-<n>-<what>`: a name that nothing else on this machine has.
#[must_use]
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{n}-{what}", std::process::id())
}

/// Is `name` one of ours whose process is gone?
#[must_use]
pub fn is_stale(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(pid, _)| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// A folder below the system's temporary folder, removed on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _guard: Guard,
}

impl Scratch {
    /// Creates it.
    pub fn create(what: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(unique(what));
        fs::create_dir(&path).with_context(|| format!("mkdir {}", path.display()))?;
        let undo = path.clone();
        let guard = cleanup::on_exit(move || drop(fs::remove_dir_all(undo)));
        Ok(Self { path, _guard: guard })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it and returns its path.
    pub fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// Names in `parent` that a killed run left behind.
#[must_use]
pub fn stale_in(parent: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_stale(name))
        .collect()
}
