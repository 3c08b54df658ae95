//! Has the programs log what the directives in force ask for. The level is a constant in the programs,
//! which costs nothing where it is off; so another level means other programs, which take the places
//! of those that run, without a gap.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::Sender;

use crate::bpf::attach::attach;
use crate::bpf::load::{LoadError, Loaded};
use crate::bpf::log::{Level, Lines};

/// Loads the programs again, with another level.
pub type Load = Box<dyn FnMut(Level) -> Result<Loaded, LoadError> + Send>;

/// What the programs log.
pub struct ProgramLog {
    /// What they were last to log.
    level: Level,
    /// What they are to log now.
    wanted: fn() -> Level,
    load: Load,
    lines: Sender<Lines>,
}

impl fmt::Debug for ProgramLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramLog").field("level", &self.level).finish_non_exhaustive()
    }
}

impl ProgramLog {
    /// Of programs that have been loaded. Lines go to `lines`.
    pub fn new(
        loaded: &mut Loaded,
        wanted: fn() -> Level,
        load: Load,
        lines: Sender<Lines>,
    ) -> Self {
        let log = Self { level: loaded.log, wanted, load, lines };
        log.follow(loaded);
        log
    }

    /// The programs that run now, if others were asked for. A level that cannot be had is told of
    /// once.
    pub(super) fn look(&mut self, cgroup: &Path, pin_path: &Path) -> Option<Loaded> {
        let level = (self.wanted)();
        if level == self.level {
            return None;
        }
        self.level = level;
        let attached = (self.load)(level).map_err(|error| error.to_string()).and_then(|mut new| {
            attach(&mut new, cgroup, pin_path).map_err(|error| error.to_string())?;
            Ok(new)
        });
        match attached {
            Ok(mut loaded) => {
                tracing::info!(%level, "the programs log");
                self.follow(&mut loaded);
                Some(loaded)
            }
            Err(error) => {
                tracing::error!(%level, "the programs log as before: {error}");
                None
            }
        }
    }

    fn follow(&self, loaded: &mut Loaded) {
        if self.level.is_off() {
            return;
        }
        if let Some(lines) = Lines::of(loaded) {
            // Nobody writes them any more once the agent ends.
            self.lines.send(lines).unwrap_or_default();
        }
    }
}
