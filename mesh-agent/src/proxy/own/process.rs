//! A process that is known across restarts of the agent: by its number and by when it was started,
//! since numbers are given out again.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::LOOK;
use super::launch::Launch;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Clock ticks from the start of the machine to its own.
    started: u64,
}

/// What the state directory says about Envoy's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(flatten)]
    pub(super) process: Process,
    /// How many it has taken over from, one after the other.
    pub(super) epoch: u32,
    pub(super) cgroup: PathBuf,
    pub(super) launch: Launch,
}

impl Process {
    /// The process of this number.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let unknown =
            || io::Error::new(io::ErrorKind::InvalidData, "unknown form of /proc/PID/stat");
        let (_, started) = state(&stat).ok_or_else(unknown)?;
        Ok(Self { pid: pid.cast_signed(), started })
    }

    /// Whether it runs; a zombie does not.
    pub(super) fn is_alive(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        state(&stat).is_some_and(|(state, started)| started == self.started && state != "Z")
    }

    /// Takes away what is left of it, where the agent is the first process of a container and so the
    /// parent of all orphans.
    pub(super) fn reap(self) {
        if let Ok(status) = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG)) {
            tracing::info!(?status, "Envoy's end");
        }
    }

    pub(super) fn terminate(self) {
        self.signal(Signal::SIGTERM);
    }

    pub(super) fn kill(self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Err(error) = signal::kill(Pid::from_raw(self.pid), signal)
        {
            tracing::warn!(pid = self.pid, %error, "Envoy does not take a signal");
        }
    }

    /// Waits for its end; returns whether it has come.
    pub(super) fn wait(self, until: Instant) -> bool {
        while self.is_alive() {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }
}

/// State and start of a process, from `/proc/PID/stat` (`proc_pid_stat(5)`): fields 3 and 22, counted
/// after the name, which may contain anything.
fn state(stat: &str) -> Option<(&str, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl Record {
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let partial = path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec(self)?)?;
        fs::rename(partial, path)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.process.is_alive()
    }
}

/// Those in a cgroup.
pub(super) fn all(cgroup: &Path) -> Vec<Process> {
    let numbers = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    numbers.lines().filter_map(|number| Process::of(number.parse().ok()?).ok()).collect()
}

/// Has it tell clients to go elsewhere, and waits until they have, but not for ever.
pub(super) fn drain(admin: SocketAddr, most: Duration) {
    let until = Instant::now() + most;
    if ask(admin, "POST /drain_listeners?graceful&skip_exit").is_err() {
        return;
    }
    while Instant::now() < until {
        let said = ask(admin, "GET /stats?filter=%5Eserver.total_connections$").unwrap_or_default();
        if !said.contains("total_connections: ") || said.contains("total_connections: 0") {
            return;
        }
        thread::sleep(LOOK);
    }
}

/// One HTTP/1.0 request: there may be no runtime here.
fn ask(admin: SocketAddr, what: &str) -> io::Result<String> {
    let timeout = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&admin, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive(), "another one");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(
            process.wait(Instant::now() + Duration::from_mins(1)),
            "also where nobody has reaped it"
        );
        child.wait().unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn its_name_may_be_anything() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(state(&format!("7 (a) R (b)) S {rest}")), Some(("S", 4711)));
        assert_eq!(state("7 (a) S 1"), None);
        assert_eq!(state(""), None);
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        assert_eq!(Record::read(&path), None);
        let record = Record {
            process: Process { pid: 1, started: 2 },
            epoch: 3,
            cgroup: "/sys/fs/cgroup/x".into(),
            launch: Launch::of(&Settings {
                program: "/usr/bin/envoy".into(),
                state_dir: "/var/lib/x".into(),
                cgroup: "/sys/fs/cgroup/x".into(),
                concurrency: 2,
                bootstrap: "{}".to_owned(),
                admin: "127.0.0.1:15000".parse().unwrap(),
            }),
        };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path), Some(record));
    }
}
