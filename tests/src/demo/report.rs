//! The demo's figures, what they must be, and their form as JSON.

use serde_json::{Value, json};

use crate::stats::{share, sigmas};

/// Largest deviation of an honest split: a fair one exceeds it once in 370 samples, which is
/// why a sample that does is drawn once more.
pub(super) const SIGMAS: f64 = 3.0;

/// Least number of connections to survive without the agent.
pub(super) const WITHOUT_AGENT: u64 = 2_000;

/// How many connections went to version v2 while `share_asked` were to go there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Split {
    pub(super) to_v2: u64,
    pub(super) total: u64,
    /// Failures of the whole act, also where its sample was drawn twice.
    pub(super) failed: u64,
    /// Share of v2 that was asked for.
    pub(super) asked: f64,
}

impl Split {
    /// Distance from what was asked for, in standard deviations.
    pub(super) fn sigmas(&self) -> f64 {
        sigmas(self.to_v2, self.total, self.asked)
    }

    /// As "89.7/10.3".
    pub(super) fn percent(&self) -> String {
        let v2 = 100.0 * share(self.to_v2, self.total);
        format!("{:.1}/{v2:.1}", 100.0 - v2)
    }

    fn asked_percent(&self) -> String {
        let v2 = 100.0 * self.asked;
        format!("{:.0}/{v2:.0}", 100.0 - v2)
    }

    fn to_json(self) -> Value {
        json!({
            "split_requested": self.asked_percent(),
            "split_observed": self.percent(),
            "connections": self.total,
            "failed": self.failed,
            "sigmas": self.sigmas(),
        })
    }
}

/// Everything that the demo measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What served: "nginx/1.22.1" or the built-in server.
    pub(super) service: String,
    pub(super) first: Split,
    pub(super) shifted: Split,
    pub(super) agent_dead: Split,
    pub(super) restarted: Split,
    /// Connections and failures of the whole demo.
    pub(super) connections: u64,
    pub(super) failed: u64,
    /// From starting `meshctl apply --wait` to the first connection of the new split.
    pub(super) shift_converged_ms: f64,
    /// From starting `meshctl apply --wait` to its end.
    pub(super) apply_wait_ms: f64,
    pub(super) restart_ready_ms: f64,
    /// What is still there after the cleanup.
    pub(super) leftovers: Vec<String>,
    pub(super) seconds: f64,
}

impl Report {
    const fn splits(&self) -> [(&'static str, &Split); 4] {
        [
            ("at first", &self.first),
            ("after the shift", &self.shifted),
            ("while the agent was dead", &self.agent_dead),
            ("during and after its restart", &self.restarted),
        ]
    }

    /// The promises that were not kept, for a person.
    pub(super) fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (when, split) in self.splits() {
            if split.sigmas() > SIGMAS {
                broken.push(format!(
                    "split {when}: {} instead of {} ({:.1} sigma of {} connections)",
                    split.percent(),
                    split.asked_percent(),
                    split.sigmas(),
                    split.total
                ));
            }
            if split.failed > 0 {
                broken.push(format!("{} connections failed {when}", split.failed));
            }
        }
        if self.failed > 0 {
            broken.push(format!("{} connections failed in all", self.failed));
        }
        if self.agent_dead.total < WITHOUT_AGENT {
            broken.push(format!(
                "only {} connections while the agent was dead",
                self.agent_dead.total
            ));
        }
        let leftovers = self.leftovers.iter();
        broken.extend(leftovers.map(|what| format!("left behind: {what}")));
        broken
    }

    /// The figures, flat where the documentation names them.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "split_requested": self.first.asked_percent(),
            "split_observed": self.first.percent(),
            "connections": self.connections,
            "failed": self.failed,
            "shift_converged_ms": self.shift_converged_ms,
            "apply_wait_ms": self.apply_wait_ms,
            "connections_while_agent_dead": self.agent_dead.total,
            "failed_while_agent_dead": self.agent_dead.failed,
            "connections_during_restart": self.restarted.total,
            "failed_during_restart": self.restarted.failed,
            "restart_ready_ms": self.restart_ready_ms,
            "phases": {
                "first": self.first.to_json(),
                "shifted": self.shifted.to_json(),
                "agent_dead": self.agent_dead.to_json(),
                "restarted": self.restarted.to_json(),
            },
            "service": self.service,
            "leftovers": self.leftovers,
            "seconds": self.seconds,
        })
    }
}
