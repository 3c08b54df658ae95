//! Child processes that never outlive us: killed on drop, by the kernel when the thread that
//! spawned them ends, and by the cleanup on Ctrl-C. Always by process id, never by name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::cleanup::{self, Guard};
use crate::netns::NetNs;
use crate::ui;

pub use crate::sys::Place;

impl Place {
    /// In a network namespace.
    #[must_use]
    pub fn in_netns(netns: &NetNs) -> Self {
        Self { netns: Some(netns.fd()), ..Self::default() }
    }

    /// The same, and in a cgroup.
    #[must_use]
    pub fn and_cgroup(self, cgroup: &Cgroup) -> Self {
        Self { cgroup: Some(cgroup.procs()), ..self }
    }

    /// The same, and on one CPU.
    #[must_use]
    pub fn and_cpu(self, cpu: Option<usize>) -> Self {
        Self { cpu, ..self }
    }

    /// Makes `command` start here.
    pub fn confine(&self, command: &mut Command) {
        crate::sys::confine(command, self);
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: Option<PathBuf>,
    child: Arc<Mutex<Child>>,
    _guard: Guard,
}

impl Process {
    /// Starts `command` in `place`. With a `log`, both outputs are appended to that file;
    /// without, the command's own settings hold.
    pub fn spawn(
        name: &str,
        mut command: Command,
        place: &Place,
        log: Option<&Path>,
    ) -> anyhow::Result<Self> {
        if let Some(log) = log {
            let file = File::options()
                .create(true)
                .append(true)
                .open(log)
                .with_context(|| format!("open {}", log.display()))?;
            command.stdout(file.try_clone()?).stderr(file);
            command.stdin(Stdio::null()).env("NO_COLOR", "1");
        }
        place.confine(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        let child = Arc::new(Mutex::new(child));
        let undo = Arc::clone(&child);
        let guard = cleanup::on_exit(move || {
            let mut child = lock(&undo);
            drop(child.kill());
            drop(child.wait());
        });
        Ok(Self { name: name.to_owned(), log: log.map(Path::to_path_buf), child, _guard: guard })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// The child's standard streams, to be taken.
    pub fn with_child<T>(&self, take: impl FnOnce(&mut Child) -> T) -> T {
        take(&mut lock(&self.child))
    }

    /// Its exit status, if it has ended.
    pub fn status(&self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(lock(&self.child).try_wait()?)
    }

    /// Ends it as a crash does (SIGKILL) and waits until it is gone.
    pub fn kill(&self) -> anyhow::Result<()> {
        let mut child = lock(&self.child);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for its status.
    pub fn terminate(&self, patience: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.status()? {
            return Ok(status);
        }
        kill(Pid::from_raw(self.id().cast_signed()), Signal::SIGTERM)?;
        self.wait(patience)
    }

    /// Waits for its end.
    pub fn wait(&self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {patience:?}{}", self.name, self.tail());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Polls `ready` until it is true; fails when the process ends or patience does.
    pub fn wait_until(
        &self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !ready() {
            if let Some(status) = self.status()? {
                bail!("{} ended ({status}){}", self.name, self.tail());
            }
            if Instant::now() > deadline {
                bail!("{}: no {what} after {patience:?}{}", self.name, self.tail());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The end of its log, for error messages.
    #[must_use]
    pub fn tail(&self) -> String {
        let text =
            self.log.as_ref().and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(60)..).unwrap_or(&[]);
        if last.is_empty() {
            String::new()
        } else {
            format!("\n--- log of {}\n{}", self.name, last.join("\n"))
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failing test wants to know what its processes said.
        if thread::panicking() {
            let tail = self.tail();
            if !tail.is_empty() {
                ui::note(tail);
            }
        }
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
