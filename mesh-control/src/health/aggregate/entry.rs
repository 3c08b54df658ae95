//! One endpoint: the reports about it, and what is published.

use std::time::{Duration, Instant};

use mesh_api::model::Health;

use super::damping::{Damping, SHOWN, WINDOW};
use super::judge::{Finding, Report, Source, Standing, Verdict, judge, rank};
use super::{MAX_REPORTERS, Subject, Transition};

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    /// What it was before the control plane was restarted, or before it had this node.
    recalled: Option<Health>,
    reports: Vec<Report>,
    /// What the reports say together, without damping.
    raw: Option<Health>,
    damping: Damping,
    published: Verdict,
    conflicts: usize,
    covered: bool,
}

/// An endpoint as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// The endpoint.
    pub subject: &'a Subject,
    /// What is published; `None`: unknown.
    pub status: Option<Health>,
    /// Why.
    pub reason: &'a str,
    /// How long it has had this status; zero where nobody knows.
    pub age: Duration,
    /// Whose report decided.
    pub source: Option<&'a Source>,
    /// Of the last check that was answered, microseconds.
    pub latency_us: u64,
    /// It changed so often that it is taken for unhealthy, for so long yet at least.
    pub held: Option<Duration>,
    /// Reports that say something else.
    pub conflicts: Vec<Conflict<'a>>,
    /// Changes within the last minutes.
    pub changes: usize,
}

/// A report that says something else than the one that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// Whose.
    pub source: &'a Source,
    /// What it says.
    pub status: Health,
    /// Why.
    pub reason: &'a str,
    /// How long it has said so.
    pub age: Duration,
}

impl Entry {
    pub(super) fn new(subject: Subject) -> Self {
        let published = judge(subject.node.as_ref(), &[], None);
        Self {
            subject,
            recalled: None,
            reports: Vec::new(),
            raw: None,
            damping: Damping::default(),
            published,
            conflicts: 0,
            covered: false,
        }
    }

    pub(super) const fn status(&self) -> Option<Health> {
        self.published.status
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.reports.iter().map(|report| &report.source)
    }

    /// Whether the agent of its own node says now what it is.
    pub(super) const fn is_covered(&self) -> bool {
        self.covered
    }

    /// When a hold is over.
    pub(super) fn over(&self) -> Option<Instant> {
        self.damping.over()
    }

    pub(super) fn is_held(&self) -> bool {
        self.damping.needed().is_some()
    }

    pub(super) const fn has_conflicts(&self) -> bool {
        self.conflicts > 0
    }

    /// Takes a finding over; returns whether it is kept. One that knows nothing does not wipe out
    /// what its source has said before.
    pub(super) fn report(&mut self, source: &Source, finding: Finding) -> bool {
        if let Some(before) = self.reports.iter_mut().find(|it| it.source == *source) {
            if finding.status.is_none() && before.finding.status.is_some() {
                before.standing = Standing::Undecided;
            } else {
                before.finding = finding;
                before.standing = Standing::Current;
            }
            return true;
        }
        let counts = self.may_decide(source);
        let others = self.reports.iter().filter(|it| !self.may_decide(&it.source)).count();
        // Two are left for those that count.
        if !counts && others + 2 >= MAX_REPORTERS {
            return false;
        }
        let (source, standing) = (source.clone(), Standing::Current);
        self.reports.push(Report { source, finding, standing });
        true
    }

    /// What it was before the control plane was restarted; among several, unhealthy wins. Returns
    /// whether that is news.
    pub(super) fn recall(&mut self, status: Health) -> bool {
        let decided = self.published.source.is_some();
        if decided || self.recalled >= Some(status) {
            return false;
        }
        self.recalled = Some(status);
        true
    }

    pub(super) fn withdraw(&mut self, source: &Source) {
        self.reports.retain(|report| report.source != *source);
    }

    /// A report does not hold any more; returns whether it is kept as the last known status.
    pub(super) fn unsure(&mut self, source: &Source, standing: Standing) -> bool {
        let counts = self.may_decide(source);
        let report = self.reports.iter_mut().find(|report| report.source == *source);
        match report {
            Some(report) if counts && report.finding.status.is_some() => {
                report.standing = standing;
                true
            }
            Some(_) | None => {
                self.withdraw(source);
                false
            }
        }
    }

    /// It has another service or node. Drops the reports of sources that do not count any more;
    /// returns whose.
    pub(super) fn moved(&mut self, subject: Subject) -> Vec<Source> {
        self.subject = subject;
        // Until the new node's agent has decided.
        self.recalled = self.raw;
        let reports = std::mem::take(&mut self.reports).into_iter();
        let (kept, others): (Vec<Report>, Vec<Report>) =
            reports.partition(|report| self.may_decide(&report.source));
        self.reports = kept;
        others.into_iter().map(|report| report.source).collect()
    }

    /// Drops the last known statuses once somebody has decided again: they are older, and must not
    /// come back when that one stops. Returns whose.
    pub(super) fn supersede(&mut self) -> Vec<Source> {
        let decides = |report: &Report| report.decides() && self.may_decide(&report.source);
        if !self.reports.iter().any(decides) {
            return Vec::new();
        }
        let old = self.reports.extract_if(.., |report| report.standing != Standing::Current);
        old.map(|report| report.source).collect()
    }

    /// Applies the rules. Returns whether it looks different now, and the change of its status.
    pub(super) fn evaluate(&mut self, now: Instant) -> (bool, Option<Transition>) {
        let was_held = self.is_held();
        let node = self.subject.node.as_ref();
        let verdict = judge(node, &self.reports, self.recalled);
        let own = |source: &Source| matches!(source, Source::Agent(agent) if node == Some(agent));
        self.covered = self.reports.iter().any(|it| it.decides() && own(&it.source));
        if verdict.source.is_some() {
            self.recalled = None;
        }
        if verdict.status != self.raw {
            self.raw = verdict.status;
            self.damping.changed(verdict.status, now);
        }
        self.damping.settle(now);
        let mut next = self.damped(verdict);
        let conflicts = self.conflicting().count();
        let before = &self.published;
        let same_status = next.status == before.status;
        next.since = if same_status {
            before.since
        } else {
            // From when it was found, which may be before this control plane; but not while
            // something else was published.
            let found = next.since.filter(|_| !was_held).unwrap_or(now);
            before.since.max(Some(found))
        };
        let changed = !same_status
            || next.reason != before.reason
            || next.source != before.source
            || conflicts != self.conflicts;
        let transition = (!same_status).then(|| Transition {
            endpoint: self.subject.name.clone(),
            service: self.subject.service.clone(),
            from: before.status,
            to: next.status,
            reason: next.reason.clone(),
            source: next.source.clone(),
        });
        self.conflicts = conflicts;
        self.published = next;
        (changed, transition)
    }

    pub(super) fn view(&self, now: Instant) -> View<'_> {
        let published = &self.published;
        let age = |since: Instant| now.saturating_duration_since(since);
        let conflicts = self.conflicting().map(|(status, report)| Conflict {
            source: &report.source,
            status,
            reason: &report.finding.reason,
            age: age(report.finding.since),
        });
        View {
            subject: &self.subject,
            status: published.status,
            reason: &published.reason,
            age: published.since.map(age).unwrap_or_default(),
            source: published.source.as_ref(),
            latency_us: published.latency_us,
            held: self.damping.held(now),
            conflicts: conflicts.collect(),
            changes: self.damping.within(SHOWN, now),
        }
    }

    fn damped(&self, verdict: Verdict) -> Verdict {
        let (Some(needed), Some(_)) = (self.damping.needed(), verdict.status) else {
            return verdict;
        };
        let (most, within) = (super::MOST_CHANGES, WINDOW.as_secs());
        let reason = format!(
            "changed {most} times within {within}s: unhealthy until it has been healthy for {}s; \
             last: {}",
            needed.as_secs(),
            verdict.reason
        );
        Verdict { status: Some(Health::Unhealthy), reason, since: None, ..verdict }
    }

    /// Current reports that say something else than what decided.
    fn conflicting(&self) -> impl Iterator<Item = (Health, &Report)> {
        let current = self.reports.iter().filter(|it| it.standing == Standing::Current);
        current.filter_map(|report| {
            let status = report.finding.status?;
            (Some(status) != self.raw).then_some((status, report))
        })
    }

    fn may_decide(&self, source: &Source) -> bool {
        rank(self.subject.node.as_ref(), source, Standing::Current).is_some()
    }
}
