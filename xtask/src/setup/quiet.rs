//! Debian starts the servers that it installs, and makes a database for one of them: nobody has
//! asked for that, so while packages are installed it is told not to.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process as own;

use anyhow::{Context as _, Result};

use crate::machine;

/// Asked by Debian before a server is started or stopped.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Read before a database is made.
const CLUSTERS: &str = "/etc/postgresql-common/createcluster.d/xtask-setup.conf";
/// Owns the folders of that file once it is installed.
const CLUSTERS_OWNER: &str = "/usr/share/postgresql-common";
/// Locked, as a folder, while our files exist: no lock file is left behind.
const LOCKED: &str = "/var/lib/dpkg";

/// Keeps new servers from starting, until it is dropped.
#[derive(Debug)]
pub(super) struct Quiet {
    /// Released last.
    _alone: File,
}

impl Quiet {
    /// Begins, once no other setup is at it. A policy that the machine has already is left as it is.
    pub(super) fn begin(database: bool) -> Result<Self> {
        let alone = open()?;
        alone.lock().with_context(|| format!("cannot lock {LOCKED}"))?;
        let quiet = Self { _alone: alone };
        remove_ours();
        if !machine::exists(POLICY) {
            write(POLICY, &policy(own::id()))?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        if database {
            write(CLUSTERS, &format!("{MARK}\ncreate_main_cluster = off\n"))?;
        }
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        remove_ours();
    }
}

/// Removes what a setup has left that was interrupted. A setup that runs keeps its files.
pub(super) fn clean() -> Result<()> {
    let alone = open()?;
    if alone.try_lock().is_ok() {
        remove_ours();
    }
    Ok(())
}

fn open() -> Result<File> {
    File::open(LOCKED).with_context(|| format!("cannot open {LOCKED}"))
}

fn write(path: &str, text: &str) -> Result<()> {
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder).with_context(|| format!("mkdir {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {path}"))
}

fn remove_ours() {
    for path in [POLICY, CLUSTERS] {
        if fs::read_to_string(path).is_ok_and(|text| is_ours(&text)) {
            drop(fs::remove_file(path));
        }
    }
    if !machine::exists(CLUSTERS_OWNER) {
        for folder in Path::new(CLUSTERS).ancestors().skip(1).take(2) {
            // Not if something else is in it.
            drop(fs::remove_dir(folder));
        }
    }
}

/// The line by which our files are known.
const MARK: &str = "# Of `cargo xtask setup`, while it installs: starts no server.";

fn is_ours(text: &str) -> bool {
    text.lines().any(|line| line == MARK)
}

/// Forbids as long as this process lives.
fn policy(id: u32) -> String {
    format!("#!/bin/sh\n{MARK}\nkill -0 {id} 2>/dev/null && exit 101\nexit 0\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_with_our_line_are_ours() {
        assert!(is_ours(&policy(7)));
        assert!(!is_ours("#!/bin/sh\n# Like that of `cargo xtask setup`.\nexit 101\n"));
        assert!(!is_ours(""));
    }

    #[test]
    fn the_policy_ends_with_its_process() {
        let asked = |id| own::Command::new("sh").args(["-c", &policy(id)]).status().unwrap().code();
        assert_eq!(asked(own::id()), Some(101));
        let mut gone = own::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        assert_eq!(asked(gone.id()), Some(0));
    }
}
