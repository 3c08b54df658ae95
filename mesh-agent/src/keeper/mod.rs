//! Keeps the programs attached, and knows whether they can be trusted: looks at the links every
//! moment, attaches again what is lost, has the canary try every hook, and watches for programs
//! of others. A thin shell: it is called regularly and blocks.

pub mod log;
mod schedule;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bpf::attach::{AttachError, Attached, attach};
use crate::bpf::effective::{Foreign, Survey, below, survey};
use crate::bpf::load::Loaded;
use crate::bpf::tombstone::uninstalled;
use crate::canary::Trial;
use crate::canary::verdict::{Fires, Verdict};

use self::log::ProgramLog;
use self::schedule::Schedule;

/// How often cgroups below ours are looked into at least.
const BELOW: Duration = Duration::from_secs(30);

/// What is known about the programs, beyond what [`survey`] says at any moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// What the canary found; empty before it has run.
    pub fires: Verdict,
    /// Programs of others.
    pub foreign: Vec<Foreign>,
    /// Whether there were more cgroups below ours than are looked into.
    pub incomplete: bool,
    /// Why programs are not attached, or the canary could not run.
    pub problem: Option<String>,
}

impl Trust {
    /// What the canary found about one program.
    #[must_use]
    pub fn fires(&self, program: &str) -> Fires {
        self.fires.get(program).cloned().unwrap_or_default()
    }
}

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again at once; what is known has changed meanwhile.
    Again,
    /// Call again in a moment.
    Later,
    /// End: a person has uninstalled.
    End,
}

/// After how many trials in a row that could not be made nothing is known any more.
const MOST_UNTRIED: u32 = 3;

/// The programs, and what is known of them.
#[derive(Debug)]
pub struct Keeper {
    loaded: Loaded,
    log: ProgramLog,
    trial: Trial,
    schedule: Schedule,
    trust: Trust,
    /// When cgroups below ours are looked into next.
    below: Duration,
    /// Of these, programs of others that were there last.
    lower: Vec<Foreign>,
    /// Trials in a row that could not be made.
    untried: u32,
}

impl Keeper {
    /// Keeps programs that have just been attached.
    #[must_use]
    pub fn new(loaded: Loaded, log: ProgramLog, trial: Trial, interval: Duration) -> Self {
        Self {
            loaded,
            log,
            trial,
            schedule: Schedule::new(interval),
            trust: Trust::default(),
            below: Duration::ZERO,
            lower: Vec::new(),
            untried: 0,
        }
    }

    /// What is known.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// One look at everything. `now` is the time since any fixed moment.
    pub fn look(&mut self, now: Duration) -> Next {
        let Trial { cgroup, pin_path, .. } = &self.trial;
        if uninstalled(pin_path) {
            return Next::End;
        }
        let seen = survey(cgroup, pin_path);
        if seen.hooks.iter().any(|hook| !hook.link.attached) {
            return self.attach_again(&seen);
        }
        if let Some(loaded) = self.log.look(cgroup, pin_path) {
            self.loaded = loaded;
            self.schedule.changed();
        }
        let due = self.schedule.is_due(now);
        if due || self.below <= now {
            self.below = now.saturating_add(BELOW);
            (self.lower, self.trust.incomplete) = below(cgroup, &seen);
        }
        let mut foreign = seen.foreign;
        foreign.extend(self.lower.iter().cloned());
        if self.note(foreign) && !due {
            self.schedule.changed();
            return Next::Again;
        }
        if due {
            self.try_hooks(now);
        }
        Next::Later
    }

    /// Attaches what is lost, as soon as there is a cgroup to attach to.
    fn attach_again(&mut self, seen: &Survey) -> Next {
        let lost = seen.hooks.iter().filter(|hook| !hook.link.attached);
        let lost: Vec<&str> = lost.map(|hook| hook.link.program.as_str()).collect();
        let lost = format!("not attached: {}", lost.join(", "));
        self.trust.fires.clear();
        self.schedule.changed();
        let Trial { cgroup, pin_path, .. } = &self.trial;
        match attach(&mut self.loaded, cgroup, pin_path) {
            Ok(outcomes) => {
                tracing::error!("{lost}; connections made meanwhile were not redirected");
                let again = outcomes.iter().filter(|(_, how)| *how != Attached::Replaced);
                for (program, outcome) in again {
                    tracing::info!(program, cgroup = %cgroup.display(), ?outcome, "attached again");
                }
                self.trust.problem = None;
                Next::Again
            }
            Err(AttachError::Uninstalled(_)) => Next::End,
            Err(error) => {
                self.complain(format!("{lost}: {error}; waiting"));
                Next::Later
            }
        }
    }

    /// Says a problem once.
    fn complain(&mut self, problem: String) {
        if self.trust.problem.as_ref() != Some(&problem) {
            tracing::error!("{problem}");
            self.trust.problem = Some(problem);
        }
    }

    /// Notes programs of others, one line for each that came or went; says whether any did.
    fn note(&mut self, foreign: Vec<Foreign>) -> bool {
        let before: BTreeSet<&Foreign> = self.trust.foreign.iter().collect();
        let after: BTreeSet<&Foreign> = foreign.iter().collect();
        for Foreign { hook, id, name, position, cgroup } in after.difference(&before) {
            let cgroup = cgroup.display();
            tracing::warn!(
                hook, id, name, ?position, %cgroup,
                "a program of others runs at the same hook; it may refuse or redirect what the \
                 mesh decided"
            );
        }
        for Foreign { hook, id, name, .. } in before.difference(&after) {
            tracing::info!(hook, id, name, "a program of others is gone");
        }
        let changed = before != after;
        self.trust.foreign = foreign;
        changed
    }

    fn try_hooks(&mut self, now: Duration) {
        match self.trial.run() {
            Ok(verdict) => {
                let before = std::mem::replace(&mut self.trust.fires, verdict);
                self.trust.problem = None;
                self.untried = 0;
                self.tell(&before);
            }
            Err(error) => {
                // That it could not be tried says nothing about the programs, for a while.
                self.untried += 1;
                if self.untried >= MOST_UNTRIED {
                    self.trust.fires.clear();
                }
                self.complain(error.to_string());
            }
        }
        let fires = &self.trust.fires;
        let good = !fires.is_empty() && fires.values().all(Fires::is_good);
        self.schedule.tried(now, good);
    }

    /// One line for each program whose verdict has changed, or for all if all is well.
    fn tell(&self, before: &Verdict) {
        if self.trust.fires.values().all(|fires| *fires == Fires::Yes) {
            if *before != self.trust.fires {
                tracing::info!("every program fires");
            }
            return;
        }
        for (program, fires) in &self.trust.fires {
            let known = before.get(program);
            if known == Some(fires) {
                continue;
            }
            match fires {
                Fires::Yes => tracing::info!(program, "fires"),
                Fires::Unknown => tracing::warn!(program, "cannot be tried"),
                Fires::No(reason) => tracing::error!(program, "does not fire: {reason}"),
                Fires::Unavailable(reason) => tracing::info!(program, "unavailable: {reason}"),
            }
        }
    }
}
