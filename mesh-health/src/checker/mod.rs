//! All checks of one process: who is checked, what is known of each, and what changes. The work
//! is one future ([`Checker::run`]) with one timer; whoever starts it keeps the [`Handle`] and
//! reads the events.

mod engine;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::{Health, HealthCheck, ObjectName};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use self::engine::Checker;
use crate::metrics::Metrics;
use crate::probe::Prepare;

/// An endpoint to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub check: Arc<HealthCheck>,
    /// Whether its sockets go through [`Settings::prepare`].
    pub prepared: bool,
}

/// Endpoints to check, by name.
pub type Targets = HashMap<ObjectName, Target>;

/// What a checker needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Checks under way at a time; each is an open socket.
    pub most: usize,
    /// What sockets of some targets go through before they connect; `None`: those are not checked.
    pub prepare: Option<Prepare>,
    /// Where it counts.
    pub metrics: Metrics,
    /// Uniform in 0..=1.
    pub random01: fn() -> f64,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What checks have decided; `None`: nothing yet, it is `initial` of its check.
    pub health: Option<Health>,
    /// For people: why it is unhealthy; empty where it is healthy.
    pub reason: String,
    /// Since when it has this status.
    pub since: Instant,
    /// Of the last check that was answered.
    pub latency: Option<Duration>,
    /// When the last check ended.
    pub checked: Option<Instant>,
}

/// What has happened to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It got a status.
    Changed(Transition),
    /// It is not checked any more, or is at another address and begins anew: what was decided
    /// holds no longer. Comes only where something was.
    Gone(ObjectName),
}

/// A change of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The endpoint.
    pub endpoint: ObjectName,
    /// Where it was checked.
    pub address: SocketAddr,
    /// What had been decided before; `None`: nothing.
    pub from: Option<Health>,
    /// What it is now.
    pub to: Health,
    /// For people: why it is unhealthy; empty where it is healthy.
    pub reason: String,
    /// What the check that decided took.
    pub latency: Duration,
}

/// Tells a checker what to check. It ends when all handles are gone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Set(Targets),
    Change(Vec<(ObjectName, Option<Target>)>),
    Statuses(oneshot::Sender<Vec<(ObjectName, Status)>>),
}

impl Handle {
    /// From now on these are checked and no others. Targets that stay as they were keep their
    /// status and their phase; with another check, their status; at another address, neither.
    pub fn set_targets(&self, targets: Targets) {
        self.send(Command::Set(targets));
    }

    /// The same for some endpoints only; `None`: not checked any more.
    pub fn change(&self, changes: Vec<(ObjectName, Option<Target>)>) {
        self.send(Command::Change(changes));
    }

    /// What is known of each endpoint, in no order; nothing where the checker has ended.
    pub async fn statuses(&self) -> Vec<(ObjectName, Status)> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Statuses(reply));
        answer.await.unwrap_or_default()
    }

    fn send(&self, command: Command) {
        // The process is going down where nobody listens.
        self.commands.send(command).unwrap_or_default();
    }
}
