//! What the control plane makes of all reports about endpoints: one status each. Pure: time is
//! passed in, nothing is sent.
//!
//! Of the reports about an endpoint decides, in this order: the agent of its own node; the control
//! plane; the last known status of whichever of them decided last and is gone, has stopped or has begun
//! anew; what was known before the control plane was restarted. Among equals, unhealthy wins. Reports
//! of other nodes are shown where they say something else, and never decide.

mod damping;
mod entry;
mod judge;
mod query;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mesh_api::model::{Health, Label, ObjectName};

pub use damping::{CALM, FIRST_HOLD, LONGEST_HOLD, MOST_CHANGES, SHOWN, WINDOW};
use entry::Entry;
pub use entry::{Conflict, View};
use judge::Standing;
pub use judge::{Finding, Source};
use types::Agent;
pub use types::{Counts, Subject, Transition};

/// Most sources that are remembered of one endpoint. Its own agent and the control plane always
/// are.
const MAX_REPORTERS: usize = 8;

/// Every endpoint that is checked, and what is reported about it.
#[derive(Debug, Default)]
pub struct Aggregator {
    endpoints: BTreeMap<ObjectName, Entry>,
    agents: BTreeMap<Label, Agent>,
    /// When the agents that report now are taken for gone.
    deadlines: BTreeSet<(Instant, Label)>,
    /// When holds are over.
    holds: BTreeSet<(Instant, ObjectName)>,
    counts: Counts,
    /// Endpoints that look different, or are gone, since they were taken.
    changed: BTreeSet<ObjectName>,
    transitions: Vec<Transition>,
    /// Moves whenever another endpoint may be without an agent.
    coverage: u64,
}

impl Aggregator {
    /// An endpoint is checked from now on, or has changed. What is known of another address is
    /// forgotten.
    pub fn put(&mut self, subject: Subject, now: Instant) {
        let name = subject.name.clone();
        if let Some(entry) = self.endpoints.get(&name) {
            if entry.subject == subject {
                return;
            }
            if entry.subject.address != subject.address {
                self.remove(&name);
            }
        }
        // Its agent may have reported about it before, when it was not asked to.
        if let Some(agent) = subject.node.as_ref().and_then(|node| self.agents.get_mut(node)) {
            agent.resend = true;
        }
        self.coverage += 1;
        if let Some(entry) = self.endpoints.get_mut(&name) {
            let others = entry.moved(subject);
            self.forget_reports(&name, &others);
        } else {
            self.endpoints.insert(name.clone(), Entry::new(subject));
            self.counts.unknown += 1;
        }
        self.changed.insert(name.clone());
        self.evaluate(&name, now);
    }

    /// An endpoint is no longer checked, or is no more.
    pub fn remove(&mut self, name: &ObjectName) {
        let Some(entry) = self.endpoints.remove(name) else { return };
        self.coverage += 1;
        self.counts.take_off(&entry);
        if let Some(over) = entry.over() {
            self.holds.remove(&(over, name.clone()));
        }
        let sources: Vec<Source> = entry.sources().cloned().collect();
        self.forget_reports(name, &sources);
        self.changed.insert(name.clone());
    }

    /// Something else has changed that matters to whoever checks for want of an agent.
    pub const fn uncover(&mut self) {
        self.coverage += 1;
    }

    /// What an endpoint was before the control plane was restarted. Counts for nothing once
    /// anybody has decided.
    pub fn recall(&mut self, name: &ObjectName, status: Health, now: Instant) {
        // Every agent says it of every endpoint.
        if self.endpoints.get_mut(name).is_some_and(|entry| entry.recall(status)) {
            self.evaluate(name, now);
        }
    }

    /// The report of an agent: everything it checks, or what has changed. Returns whether the next
    /// one must be everything.
    pub fn heard(
        &mut self,
        node: &Label,
        (full, ttl): (bool, Duration),
        findings: impl IntoIterator<Item = (ObjectName, Finding)>,
        gone: impl IntoIterator<Item = ObjectName>,
        now: Instant,
    ) -> bool {
        let source = Source::Agent(node.clone());
        let known = self.agents.get(node).is_some_and(|agent| agent.until.is_some());
        if !known && !full {
            return true;
        }
        let agent = self.agents.entry(node.clone()).or_default();
        let until = now.checked_add(ttl).unwrap_or(now);
        if let Some(before) = agent.until.replace(until) {
            self.deadlines.remove(&(before, node.clone()));
        }
        self.deadlines.insert((until, node.clone()));
        agent.resend &= !full;
        let resend = agent.resend;
        let mut before = if full { agent.endpoints.clone() } else { BTreeSet::new() };
        for (name, finding) in findings {
            before.remove(&name);
            self.report(&source, &name, finding, now);
        }
        // It may have begun anew and not know yet what it will check.
        for name in before {
            self.unsure(&source, &name, Standing::Undecided, now);
        }
        for name in gone {
            self.withdraw(&source, &name, now);
        }
        resend
    }

    /// What a source has found.
    pub fn report(&mut self, source: &Source, name: &ObjectName, finding: Finding, now: Instant) {
        let Some(entry) = self.endpoints.get_mut(name) else { return };
        if !entry.report(source, finding) {
            return;
        }
        if let Source::Agent(node) = source {
            let agent = self.agents.entry(node.clone()).or_default();
            agent.endpoints.insert(name.clone());
        }
        self.evaluate(name, now);
    }

    /// A source does not check an endpoint any more.
    pub fn withdraw(&mut self, source: &Source, name: &ObjectName, now: Instant) {
        let Some(entry) = self.endpoints.get_mut(name) else { return };
        entry.withdraw(source);
        self.forget_reports(name, std::slice::from_ref(source));
        self.evaluate(name, now);
    }

    /// The control plane leaves an endpoint to its agent. What it found last stays until anybody
    /// decides.
    pub fn hand_over(&mut self, name: &ObjectName, now: Instant) {
        self.unsure(&Source::ControlPlane, name, Standing::Stopped, now);
    }

    /// Time has passed: agents that were not heard of are gone, holds end. Returns the agents.
    pub fn expire(&mut self, now: Instant) -> Vec<Label> {
        let mut gone = Vec::new();
        while let Some((until, node)) = self.deadlines.first().cloned()
            && until <= now
        {
            self.deadlines.pop_first();
            gone.push(node);
        }
        for node in &gone {
            let source = Source::Agent(node.clone());
            let Some(agent) = self.agents.get_mut(node) else { continue };
            agent.until = None;
            for name in agent.endpoints.clone() {
                self.unsure(&source, &name, Standing::Gone, now);
            }
            self.drop_agent_if_forgotten(node);
        }
        while let Some((over, name)) = self.holds.first().cloned()
            && over <= now
        {
            self.holds.pop_first();
            self.evaluate(&name, now);
        }
        gone
    }

    /// When [`Self::expire`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let agents = self.deadlines.first().map(|(until, _)| *until);
        let holds = self.holds.first().map(|(over, _)| *over);
        agents.into_iter().chain(holds).min()
    }

    /// Endpoints that look different, or are gone, since this was asked for the last time.
    pub fn take_changed(&mut self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.changed)
    }

    /// Published changes since this was asked for the last time.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// A report does not hold any more; what it said last may.
    fn unsure(&mut self, source: &Source, name: &ObjectName, standing: Standing, now: Instant) {
        let Some(entry) = self.endpoints.get_mut(name) else { return };
        if !entry.unsure(source, standing) {
            self.forget_reports(name, std::slice::from_ref(source));
        }
        self.evaluate(name, now);
    }

    /// Keeps what is known of agents in step with what endpoints hold.
    fn forget_reports(&mut self, name: &ObjectName, sources: &[Source]) {
        for source in sources {
            if let Source::Agent(node) = source
                && let Some(agent) = self.agents.get_mut(node)
            {
                agent.endpoints.remove(name);
                self.drop_agent_if_forgotten(node);
            }
        }
    }

    fn drop_agent_if_forgotten(&mut self, node: &Label) {
        let forgotten = |agent: &Agent| agent.until.is_none() && agent.endpoints.is_empty();
        if self.agents.get(node).is_some_and(forgotten) {
            self.agents.remove(node);
        }
    }

    /// Applies the rules to one endpoint.
    fn evaluate(&mut self, name: &ObjectName, now: Instant) {
        let Some(mut entry) = self.endpoints.remove(name) else { return };
        self.counts.take_off(&entry);
        let (over, covered) = (entry.over(), entry.is_covered());
        let superseded = entry.supersede();
        let (changed, transition) = entry.evaluate(now);
        if over != entry.over() {
            self.holds.extend(entry.over().map(|over| (over, name.clone())));
            if let Some(over) = over {
                self.holds.remove(&(over, name.clone()));
            }
        }
        if covered != entry.is_covered() {
            self.coverage += 1;
        }
        if changed {
            self.changed.insert(name.clone());
        }
        self.transitions.extend(transition);
        self.counts.add(&entry);
        self.endpoints.insert(name.clone(), entry);
        self.forget_reports(name, &superseded);
    }
}
