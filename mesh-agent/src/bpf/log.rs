//! What the programs write about single connections: from which level on, which is a constant in them,
//! and their lines, which become lines of the agent's log with the target `mesh_ebpf`.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aya_log::EbpfLogger;
use log::Log;
use mesh_common::reason::Reason;

use super::load::Loaded;
use crate::events::bucket::Bucket;

/// What the programs' lines are called in directives like `info,mesh_ebpf=debug`.
pub const TARGET: &str = "mesh_ebpf";
/// How long a line may wait.
const LOOK: Duration = Duration::from_millis(100);
/// Most lines in a second.
const LINES: u32 = 1_000;
/// How often it is said that there were more.
const SAY: Duration = Duration::from_secs(10);

/// From which level on the programs write lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    /// 0 (nothing) to 5 (trace), as `aya-log-ebpf` counts.
    pub(super) number: u8,
}

impl Level {
    /// Names by number, which are those of directives.
    const NAMES: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    /// What directives say about [`TARGET`]; nothing where they do not name it, whatever they say
    /// about all targets: a line for each connection is for who asks for it.
    #[must_use]
    pub fn of(directives: &str) -> Self {
        let directives = directives.split(',').rev();
        let named = directives.filter_map(|directive| {
            let (target, level) = directive.split_once('=').unwrap_or((directive, "trace"));
            (target.trim() == TARGET).then(|| level.trim().to_ascii_lowercase())
        });
        // Of several, the last counts, as everywhere in directives.
        let level = named.into_iter().next().unwrap_or_default();
        let at = Self::NAMES.iter().position(|name| *name == level);
        let at = at.or_else(|| level.parse().ok().filter(|at| *at < Self::NAMES.len()));
        Self { number: at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default() }
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_off(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.get(usize::from(self.number)).copied().unwrap_or("unknown"))
    }
}

/// Puts names in place of numbers of reasons: the programs know no text.
fn named(line: &str) -> String {
    const REASON: &str = "reason=";
    let Some((before, after)) = line.split_once(REASON) else { return line.to_owned() };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let (number, after) = after.split_at(end);
    let name = Reason::NAMES.into_iter().find(|(reason, _)| number.parse() == Ok(reason.code));
    format!("{before}{REASON}{}{after}", name.map_or(number, |(_, name)| name))
}

/// Writes what it is told into the agent's log.
#[derive(Debug)]
struct Tell {
    began: Instant,
    bucket: Mutex<Bucket>,
}

impl Tell {
    fn new() -> Self {
        let bucket = Mutex::new(Bucket::new(LINES, Duration::ZERO));
        Self { began: Instant::now(), bucket }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Tell {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.bucket().take(self.began.elapsed()) {
            return;
        }
        let line = named(&record.args().to_string());
        match record.level() {
            log::Level::Error => tracing::error!(target: TARGET, "{line}"),
            log::Level::Warn => tracing::warn!(target: TARGET, "{line}"),
            log::Level::Info => tracing::info!(target: TARGET, "{line}"),
            log::Level::Debug => tracing::debug!(target: TARGET, "{line}"),
            log::Level::Trace => tracing::trace!(target: TARGET, "{line}"),
        }
    }

    fn flush(&self) {
        let lines = self.bucket().take_left_out();
        if lines > 0 {
            tracing::warn!(target: TARGET, lines, "more lines in a second than are written: left out");
        }
    }
}

/// The lines of programs that have been loaded.
pub struct Lines(EbpfLogger<Arc<Tell>>, Arc<Tell>);

impl Lines {
    /// Of these programs; `None` where somebody else has them already.
    #[must_use]
    pub fn of(loaded: &mut Loaded) -> Option<Self> {
        let tell = Arc::new(Tell::new());
        let lines = EbpfLogger::init_with_logger(&mut loaded.ebpf, Arc::clone(&tell)).ok()?;
        Some(Self(lines, tell))
    }

    fn write(&mut self) {
        self.0.flush();
    }
}

/// Writes lines, of the programs that were loaded last, until nobody loads any more. Blocks.
pub fn run(fresh: &Receiver<Lines>) {
    let mut lines: Option<Lines> = None;
    let mut said = Instant::now();
    loop {
        let next = match (&lines, fresh.recv_timeout(LOOK)) {
            (None, Err(RecvTimeoutError::Timeout)) => match fresh.recv() {
                Ok(next) => Some(next),
                Err(RecvError) => return,
            },
            (_, Ok(next)) => Some(next),
            (_, Err(RecvTimeoutError::Timeout)) => None,
            (_, Err(RecvTimeoutError::Disconnected)) => return,
        };
        if let Some(lines) = &mut lines {
            lines.write();
            if said.elapsed() >= SAY {
                said = Instant::now();
                lines.1.flush();
            }
        }
        lines = next.or(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directives_that_name_the_programs_have_them_log() {
        let level = |directives| Level::of(directives).to_string();
        for off in ["", "debug", "info,mesh_agent=trace", "mesh_ebpf=off", "mesh_ebpf=loud"] {
            assert_eq!(level(off), "off", "{off}");
            assert!(Level::of(off).is_off());
        }
        assert_eq!(level("info,mesh_ebpf=debug"), "debug");
        assert_eq!(level("mesh_ebpf = WARN , h2=info"), "warn");
        assert_eq!(level("info,mesh_ebpf"), "trace");
        assert_eq!(level("mesh_ebpf=4"), "debug");
        assert_eq!(level("mesh_ebpf=debug,mesh_ebpf=info"), "info");
    }

    #[test]
    fn reasons_have_their_names() {
        let line = "no backend: service=3 reason=3";
        assert_eq!(named(line), "no backend: service=3 reason=no_backend_refused");
        assert_eq!(named("counted: reason=14 more"), "counted: reason=conns_overflow more");
        assert_eq!(named("counted: reason=999"), "counted: reason=999");
        assert_eq!(named("opened: service=1"), "opened: service=1");
    }
}
