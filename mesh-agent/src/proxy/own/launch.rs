//! Starts an Envoy, and says in which way.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::orphan::SELF;
use super::process::{Process, Record};
use super::{LOG, NAME, OwnError, RECORD, failed};

/// Where Envoy writes the number by which the one that takes over finds it.
const BASE: &str = "base-id";

/// How it is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program.
    pub program: PathBuf,
    /// The agent's state directory.
    pub state_dir: PathBuf,
    /// Its own cgroup.
    pub cgroup: PathBuf,
    /// Threads that serve connections.
    pub concurrency: u32,
    /// What it starts with.
    pub bootstrap: String,
    /// Where it answers, as the bootstrap says.
    pub admin: SocketAddr,
}

impl Settings {
    /// Its directory.
    pub(super) fn directory(&self) -> PathBuf {
        self.state_dir.join(NAME)
    }
}

/// What was started: an Envoy with another one is not the Envoy that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Launch {
    program: PathBuf,
    /// Inode, size, and time of change of the program.
    file: (u64, u64, i64, i64),
    concurrency: u32,
    bootstrap: String,
    pub(super) admin: SocketAddr,
}

impl Launch {
    pub(super) fn of(settings: &Settings) -> Self {
        let file = fs::metadata(&settings.program);
        let file = file.map(|it| (it.ino(), it.size(), it.mtime(), it.mtime_nsec()));
        Self {
            program: settings.program.clone(),
            file: file.unwrap_or_default(),
            concurrency: settings.concurrency,
            bootstrap: settings.bootstrap.clone(),
            admin: settings.admin,
        }
    }

    /// The same, with the threads of the one before it where these are more: each has a socket of its
    /// own, and connections that wait at one which nobody takes over are reset (seen with Envoy 1.40).
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.concurrency = self.concurrency.max(before.concurrency);
        self
    }

    /// Whether the next one gets the listeners. Its admin interface has to be where the last one's is:
    /// until it is ready, nobody knows otherwise which of them answers.
    pub(super) fn can_hand_over_to(&self, next: &Self) -> bool {
        self.admin == next.admin
    }
}

/// Starts it, to take over from another one or alone.
pub(super) fn launch(settings: &Settings, before: Option<&Record>) -> Result<Record, OwnError> {
    let Settings { program, cgroup, bootstrap, .. } = settings;
    let mut wanted = Launch::of(settings);
    let directory = settings.directory();
    let base = directory.join(BASE);
    let given = before.and_then(|before| {
        let base = fs::read_to_string(&base).ok()?.trim().parse::<u32>().ok()?;
        Some((base, before.epoch.checked_add(1)?))
    });
    let epoch = given.map_or(0, |(_, epoch)| epoch);
    if let (Some(_), Some(before)) = (given, before) {
        wanted = wanted.after(&before.launch);
    }
    let config = directory.join(format!("bootstrap-{epoch}.json"));
    fs::write(&config, bootstrap).map_err(failed("cannot write", &config))?;
    let path = directory.join(LOG);
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log: File = log.map_err(failed("cannot write", &path))?;
    fs::create_dir_all(cgroup).map_err(failed("cannot create the cgroup", cgroup))?;
    let mut command = Command::new(SELF);
    command.arg("orphan").arg("--cgroup").arg(cgroup).arg("--").arg(program);
    command.arg("-c").arg(&config).args(["--log-level", "warn", "--concurrency"]);
    command.arg(wanted.concurrency.to_string());
    if let Some((base, epoch)) = given {
        command.args(["--base-id", &base.to_string(), "--restart-epoch", &epoch.to_string()]);
    } else {
        command.arg("--use-dynamic-base-id").arg("--base-id-path").arg(&base);
    }
    let said = command.stdin(Stdio::null()).stderr(log).output();
    let said = said.map_err(failed("cannot start", program))?;
    let number = String::from_utf8_lossy(&said.stdout).trim().parse();
    let unknown = |_error| {
        failed("nothing was started for", program)(io::Error::other(said.status.to_string()))
    };
    let process = Process::of(number.map_err(unknown)?);
    let process = process.map_err(failed("it has ended at once:", program))?;
    let record = Record { process, epoch, cgroup: cgroup.clone(), launch: wanted };
    let path = directory.join(RECORD);
    if let Err(error) = record.write(&path) {
        // It must not run without anybody who knows.
        process.kill();
        return Err(failed("cannot write", &path)(error));
    }
    Ok(record)
}
