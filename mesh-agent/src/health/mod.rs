//! Health of this node's endpoints: which are checked (`targets`, pure), what is passed on from
//! the worker to the checks (`feed`), what follows from a change (`prober`), how the control plane
//! is told (`report`), and what is counted (`metrics`). The checks themselves are `mesh_health`.

pub mod feed;
pub mod metrics;
pub mod prober;
pub mod report;
pub mod targets;
#[cfg(test)]
mod testing;

use mesh_health::checker::{Checker, Event, Handle, Settings};
use mesh_health::metrics::Metrics;
use mesh_health::probe::Prepare;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc::UnboundedReceiver;

use self::metrics::Source;

/// Checks under way at a time, where there are descriptors for so many.
const MOST: u64 = 1_024;
/// Descriptors that the agent asks for.
const DESCRIPTORS: u64 = 8_192;

/// The checks, not started yet.
#[derive(Debug)]
pub struct Checks {
    /// Tells them what to check.
    pub handle: Handle,
    /// The work.
    pub checker: Checker,
    /// What changes.
    pub events: UnboundedReceiver<Event>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Checks {
    /// Where the figures come from.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { handle: self.handle.clone(), metrics: self.metrics.clone() }
    }
}

/// Makes the checks. `prepare` keeps sockets out of the mesh.
#[must_use]
pub fn checks(prepare: Option<Prepare>, random01: fn() -> f64) -> Checks {
    let metrics = Metrics::default();
    let settings = Settings { most: most(), prepare, metrics: metrics.clone(), random01 };
    let (handle, checker, events) = Checker::new(settings);
    Checks { handle, checker, events, metrics }
}

/// How many checks may be under way: half of the descriptors, which are raised as far as the
/// hard limit lets them. Service managers start processes with a soft limit of 1,024 for the sake
/// of `select(2)`, which nobody here calls.
fn most() -> usize {
    let raise = || {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let wanted = soft.max(hard.min(DESCRIPTORS));
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
        Ok::<_, nix::Error>(wanted)
    };
    let descriptors = raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit of open files: fewer checks at a time");
        1_024
    });
    usize::try_from((descriptors / 2).clamp(16, MOST)).unwrap_or(16)
}
