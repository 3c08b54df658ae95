//! Reads the cgroup tree from its directories.

use std::fs;
use std::io;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::tree::Found;

/// Most cgroups that are looked at; the kernel stops at `cgroup.max.descendants` long before.
pub const MAX_CGROUPS: usize = 65_536;

/// Where the cgroups are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    root: PathBuf,
    top: PathBuf,
}

/// The tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The directory is elsewhere.
    #[error("{} is not below {}, where cgroup v2 is mounted", .top.display(), .root.display())]
    Outside {
        /// Where programs are attached.
        top: PathBuf,
        /// Where cgroup v2 is mounted.
        root: PathBuf,
    },
    /// The directory to which the programs are attached cannot be read.
    #[error("cannot read the cgroup {}: {source}", .path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The cgroups, parents before children.
    pub found: Vec<Found>,
    /// Whether there are more than [`MAX_CGROUPS`].
    pub cut: bool,
}

impl Base {
    /// The hierarchy mounted at `root`, from the cgroup `top` down; no program of ours runs for
    /// what is beside it.
    pub fn new(root: &Path, top: &Path) -> Result<Self, ScanError> {
        let read = |path: &Path| {
            fs::canonicalize(path)
                .map_err(|source| ScanError::Read { path: path.to_owned(), source })
        };
        let (root, top) = (read(root)?, read(top)?);
        if top.starts_with(&root) {
            Ok(Self { root, top })
        } else {
            Err(ScanError::Outside { top, root })
        }
    }

    /// The uppermost directory.
    #[must_use]
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// A directory's path from the root of cgroup v2, as globs see it.
    #[must_use]
    pub fn path_of(&self, directory: &Path) -> String {
        let relative = directory.strip_prefix(&self.root).unwrap_or(directory);
        format!("/{}", relative.to_string_lossy())
    }

    /// Reads everything.
    pub fn scan(&self, enter: impl FnMut(&Path)) -> Result<Scan, ScanError> {
        let mut scan = Scan::default();
        self.walk(&self.top, &mut scan, enter)
            .map_err(|source| ScanError::Read { path: self.top.clone(), source })?;
        Ok(scan)
    }

    /// Adds `directory` and all below. `enter` is called for each before it is listed: whoever
    /// begins to watch it there misses nothing. What ends meanwhile is left out; an error is one
    /// of `directory` itself.
    pub fn walk(
        &self,
        directory: &Path,
        scan: &mut Scan,
        mut enter: impl FnMut(&Path),
    ) -> io::Result<()> {
        let id = fs::metadata(directory)?.ino();
        let mut ahead = vec![(directory.to_owned(), id)];
        while let Some((directory, id)) = ahead.pop() {
            if scan.found.len() == MAX_CGROUPS {
                scan.cut = true;
                return Ok(());
            }
            scan.found.push(Found { path: self.path_of(&directory), id });
            enter(&directory);
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    ahead.push((entry.path(), entry.ino()));
                }
            }
        }
        Ok(())
    }
}
