//! What the aggregation can be asked.

use std::time::Instant;

use mesh_api::model::{Health, Label, ObjectName};

use super::{Aggregator, Counts, Subject, View};

impl Aggregator {
    /// What is known of an endpoint.
    #[must_use]
    pub fn view(&self, name: &ObjectName, now: Instant) -> Option<View<'_>> {
        self.endpoints.get(name).map(|entry| entry.view(now))
    }

    /// What is known of all, by name.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = View<'_>> {
        self.endpoints.values().map(move |entry| entry.view(now))
    }

    /// The published status.
    #[must_use]
    pub fn status(&self, name: &ObjectName) -> Option<Health> {
        self.endpoints.get(name)?.status()
    }

    /// Names of the endpoints of a service that are checked.
    pub fn of_service<'a>(
        &'a self,
        service: &'a ObjectName,
    ) -> impl Iterator<Item = &'a ObjectName> {
        let of = self.endpoints.values().map(|entry| &entry.subject);
        of.filter(move |subject| subject.service == *service).map(|subject| &subject.name)
    }

    /// Endpoints whose agent does not say what they are: without a node, or of a node whose agent
    /// is gone, has never been heard of, or has not decided (again) yet.
    pub fn uncovered(&self) -> impl Iterator<Item = &Subject> {
        self.endpoints.values().filter(|entry| !entry.is_covered()).map(|entry| &entry.subject)
    }

    /// Whether an agent has been heard of within its time.
    #[must_use]
    pub fn is_alive(&self, node: &Label) -> bool {
        self.agents.get(node).is_some_and(|agent| agent.until.is_some())
    }

    /// Moves whenever [`Self::uncovered`] may have changed.
    #[must_use]
    pub const fn coverage(&self) -> u64 {
        self.coverage
    }

    /// How many endpoints there are of each sort.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many agents report now.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.deadlines.len()
    }
}
