//! The Envoy that the agent runs. It outlives the agent, so that a restart of that cuts no
//! connection: the next one finds it by what the state directory says and goes on with it. Where it
//! is to run in another way, or its program was replaced, a second one takes over its listeners
//! (Envoy's hot restart), and the first ends when its connections have. Both end by `mesh-agent
//! uninstall`, or with the first agent that is to run none.
//!
//! It runs in a cgroup of its own, which is not in the mesh: what it connects to must not lead back to
//! itself.

mod launch;
mod log;
pub mod orphan;
mod process;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mesh_xds::backoff::{Backoff, random01};

pub use self::launch::Settings;
use self::launch::{Launch, launch};
use self::log::Log;
use self::process::Record;

/// Name of its directory in the agent's state directory, and of its cgroup below the agent's.
pub const NAME: &str = "mesh-envoy";
const RECORD: &str = "process.json";
const LOG: &str = "envoy.log";
/// How long it must have run for the next restart to be soon again.
const STABLE: Duration = Duration::from_mins(1);
/// Bounds of the wait before a restart.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How long connections have to end when it is ended.
const DRAIN: Duration = Duration::from_secs(3);
/// How long it has to end after SIGTERM.
const TERM: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// Something about its files or its process failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}", .path.display())]
pub struct OwnError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// See the module.
#[derive(Debug)]
pub struct Own {
    settings: Settings,
    running: Option<Record>,
    /// Whom it takes over from, until it is ready.
    before: Option<Record>,
    since: Instant,
    next: Instant,
    backoff: Backoff,
    log: Log,
    restarts: u64,
}

impl Own {
    /// Goes on with the Envoy of an earlier agent, or starts one. One that cannot be started is
    /// tried again by [`Self::tend`].
    pub fn begin(settings: Settings) -> Result<Self, OwnError> {
        let directory = settings.directory();
        fs::create_dir_all(&directory).map_err(failed("cannot create", &directory))?;
        let now = Instant::now();
        let mut own = Self {
            log: Log::at_end(directory.join(LOG)),
            running: None,
            settings,
            before: None,
            since: now,
            next: now,
            backoff: Backoff::new(SHORTEST, LONGEST, 2.0),
            restarts: 0,
        };
        let wanted = Launch::of(&own.settings);
        match Record::read(&directory.join(RECORD)) {
            None => own.start(now),
            Some(record) if !record.is_alive() => {
                // What it was to take over from may still be there.
                stop(&record);
                own.start(now);
            }
            Some(record) if record.launch == wanted.clone().after(&record.launch) => {
                tracing::info!(pid = record.process.pid, "going on with the Envoy that runs");
                own.running = Some(record);
            }
            Some(record) if record.launch.can_hand_over_to(&wanted) => {
                tracing::info!(
                    pid = record.process.pid,
                    "another Envoy takes over from the one that runs"
                );
                own.before = Some(record);
                own.start(now);
            }
            Some(record) => {
                tracing::warn!(
                    pid = record.process.pid,
                    "the Envoy that runs answers elsewhere; it is ended"
                );
                stop(&record);
                own.start(now);
            }
        }
        Ok(own)
    }

    /// How often it was started again.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// It is ready, so that it needs nobody who goes on in its place.
    pub fn is_ready(&mut self) {
        self.before = None;
    }

    /// Passes on what it has logged, and starts it again where it has ended; but not where somebody
    /// has ended it with `uninstall`.
    pub fn tend(&mut self, now: Instant) {
        self.log.pass_on();
        if let Some(record) = self.running.take_if(|record| !record.is_alive()) {
            tracing::error!(pid = record.process.pid, "Envoy has ended");
            record.process.reap();
            self.put_off(now);
            self.fall_back();
        }
        let wanted = self.settings.directory().join(RECORD).exists();
        if self.running.is_none() && now >= self.next && wanted {
            self.restarts += 1;
            self.start(now);
        }
    }

    /// Goes on with the one that should have been followed by another.
    fn fall_back(&mut self) {
        let Some(before) = self.before.take().filter(Record::is_alive) else { return };
        tracing::warn!(
            pid = before.process.pid,
            "what should have taken over has ended; going on with the Envoy before it until the agent is \
             started again"
        );
        let path = self.settings.directory().join(RECORD);
        if let Err(error) = before.write(&path) {
            tracing::error!(%error, path = %path.display(), "cannot write");
        }
        self.running = Some(before);
    }

    fn put_off(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= STABLE {
            self.backoff.reset();
        }
        self.next = now + self.backoff.next(random01());
    }

    fn start(&mut self, now: Instant) {
        self.since = now;
        match launch(&self.settings, self.before.as_ref()) {
            Ok(record) => {
                tracing::info!(pid = record.process.pid, epoch = record.epoch, "Envoy started");
                self.running = Some(record);
            }
            Err(error) => {
                tracing::error!(%error, "Envoy does not start");
                self.put_off(now);
                self.fall_back();
            }
        }
    }
}

/// Ends the Envoy that an agent with this state directory has started, and removes its files and its
/// cgroup. Returns what was removed.
pub fn end(state_dir: &Path) -> Result<Vec<PathBuf>, OwnError> {
    let directory = state_dir.join(NAME);
    let path = directory.join(RECORD);
    let Some(record) = Record::read(&path) else { return Ok(Vec::new()) };
    // First, so that no agent starts it again.
    fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
    stop(&record);
    let mut removed = vec![directory.clone()];
    if fs::remove_dir(&record.cgroup).is_ok() {
        removed.push(record.cgroup);
    }
    fs::remove_dir_all(&directory).map_err(failed("cannot remove", &directory))?;
    Ok(removed)
}

/// Whether an agent with this state directory has started one.
#[must_use]
pub fn is_there(state_dir: &Path) -> bool {
    state_dir.join(NAME).join(RECORD).exists()
}

/// Lets connections end for a while, and then it, and those that it took over from.
fn stop(record: &Record) {
    if record.is_alive() {
        process::drain(record.launch.admin, DRAIN);
    }
    let all = process::all(&record.cgroup);
    for process in &all {
        process.terminate();
    }
    let until = Instant::now() + TERM;
    for process in &all {
        if !process.wait(until) {
            process.kill();
            process.wait(until + TERM);
        }
    }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OwnError + 'a {
    move |source| OwnError { what, path: path.to_owned(), source }
}
