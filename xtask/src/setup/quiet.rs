//! Debian starts the servers that it installs, and makes a database for one of them: nobody has
//! asked for that, so while packages are installed it is told not to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, process as own};

use anyhow::{Context as _, Result};

use super::say;
use crate::{machine, process};

/// Asked by Debian before a server is started or stopped.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Read before a database is made.
const CLUSTERS: &str = "/etc/postgresql-common/createcluster.d/xtask-setup.conf";

/// Keeps new servers from starting, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Quiet(Vec<PathBuf>);

impl Quiet {
    /// Begins. A policy that the machine has already is left as it is.
    pub(super) fn begin() -> Result<Self> {
        let mut quiet = Self::default();
        let is_ours = fs::read_to_string(POLICY).is_ok_and(|text| text.contains(MARK));
        if is_ours || !machine::exists(POLICY) {
            quiet.write(POLICY, &policy(own::id()))?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        quiet.write(CLUSTERS, "create_main_cluster = off\n")?;
        Ok(quiet)
    }

    fn write(&mut self, path: &str, text: &str) -> Result<()> {
        let path = Path::new(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("mkdir {}", folder.display()))?;
        }
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        self.0.push(path.to_path_buf());
        Ok(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        for path in &self.0 {
            drop(fs::remove_file(path));
            // Folders of others are not empty.
            for folder in path.ancestors().skip(1).take(2) {
                drop(fs::remove_dir(folder));
            }
        }
    }
}

const MARK: &str = "cargo xtask setup";

/// Forbids as long as this process lives: one that was interrupted leaves nothing that matters.
fn policy(id: u32) -> String {
    format!(
        "#!/bin/sh\n# Of `{MARK}`: starts no server while it installs.\n\
         kill -0 {id} 2>/dev/null && exit 101\nexit 0\n"
    )
}

/// With systemd, servers would start with the machine.
pub(super) fn disable(service: &str) -> Result<()> {
    if !machine::exists("/run/systemd/system") {
        return Ok(());
    }
    say(format_args!("disabling the service {service}, which the package has enabled"));
    process::run(Command::new("systemctl").args(["disable", "--now", "--quiet", service]))
}
