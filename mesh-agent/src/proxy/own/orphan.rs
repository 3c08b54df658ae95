//! Starts a program that is nobody's child: Envoy has the kernel end it with its parent
//! (`PR_SET_PDEATHSIG`, seen with Envoy 1.40), but is to outlive the agent.
//!
//! `mesh-agent orphan` starts itself again and ends. The second one waits until its parent has gone,
//! goes into the cgroup, and becomes the program.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// This program, also where its file has been replaced.
pub(super) const SELF: &str = "/proc/self/exe";
const LOOK: Duration = Duration::from_millis(1);

/// Why a program has not become an orphan.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// It cannot be put into its cgroup.
    #[error("cannot enter the cgroup {}: {source}", .path.display())]
    Cgroup {
        /// The cgroup.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It has no name.
    #[error("no program is given")]
    Nothing,
    /// It cannot be started.
    #[error("cannot start {}: {source}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Starts the program by another process; returns its number. With `after`, it is that other process:
/// it returns only where the program cannot be started.
pub fn run(cgroup: &Path, after: Option<u32>, command: &[OsString]) -> Result<u32, OrphanError> {
    let (program, arguments) = command.split_first().ok_or(OrphanError::Nothing)?;
    let failed = |source| OrphanError::Start { program: program.into(), source };
    let Some(parent) = after else {
        let stderr = || io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
        let child = Command::new(SELF)
            .arg("orphan")
            .arg("--cgroup")
            .arg(cgroup)
            .args(["--after", &std::process::id().to_string(), "--"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(stderr().map_err(failed)?)
            .stderr(stderr().map_err(failed)?)
            // What is typed at the agent's terminal is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        return Ok(child.id());
    };
    while parent_id() == parent {
        thread::sleep(LOOK);
    }
    let enter = fs::write(cgroup.join("cgroup.procs"), "0");
    enter.map_err(|source| OrphanError::Cgroup { path: cgroup.to_owned(), source })?;
    Err(failed(Command::new(program).args(arguments).exec()))
}
