//! What a tap has not shown, said at its end: also where it was interrupted.

use std::collections::BTreeMap;

use mesh_api::wire;

use crate::output::{Format, note};

/// Counts what has come; says it when it is dropped.
#[derive(Debug)]
pub(super) struct Summary {
    /// Whether people read along.
    is_for_people: bool,
    events: u64,
    /// What each node has said last, which is since the beginning.
    left_out: BTreeMap<String, wire::LeftOut>,
}

impl Summary {
    pub(super) const fn new(format: Format) -> Self {
        let is_for_people = matches!(format, Format::Table | Format::Wide);
        Self { is_for_people, events: 0, left_out: BTreeMap::new() }
    }

    /// A node has told of so many events.
    pub(super) fn heard(&mut self, node: &str, events: usize, left_out: wire::LeftOut) {
        self.events += u64::try_from(events).unwrap_or(u64::MAX);
        self.left_out.insert(node.to_owned(), left_out);
    }

    /// One line; nothing where there is nothing to say.
    fn text(&self) -> Option<String> {
        let sum = |of: fn(&wire::LeftOut) -> u64| self.left_out.values().map(of).sum::<u64>();
        let parts: Vec<String> = [
            (sum(|it| it.sampled), "by --sample"),
            (sum(|it| it.rate_limited), "that were more a second than a node tells of"),
            (sum(|it| it.unread), "that were not read in time"),
            (sum(|it| it.overrun), "of any service that came too fast for the node"),
            (sum(|it| it.lost), "of any service that were lost in the kernel"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
        if self.left_out.is_empty() || (parts.is_empty() && !self.is_for_people) {
            return None;
        }
        let plural = if self.events == 1 { "" } else { "s" };
        let left_out = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
        Some(format!("{} event{plural}; left out: {left_out}", self.events))
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        if let Some(text) = self.text() {
            note(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_said_for_all_nodes_together() {
        let mut summary = Summary::new(Format::Table);
        assert_eq!(summary.text(), None);
        summary.heard("a", 1, wire::LeftOut::default());
        assert_eq!(summary.text().as_deref(), Some("1 event; left out: nothing"));
        summary.heard("a", 2, wire::LeftOut { sampled: 3, ..wire::LeftOut::default() });
        summary.heard("a", 0, wire::LeftOut { sampled: 4, lost: 1, ..wire::LeftOut::default() });
        summary.heard("b", 0, wire::LeftOut { sampled: 5, ..wire::LeftOut::default() });
        let text =
            "3 events; left out: 9 by --sample, 1 of any service that were lost in the kernel";
        assert_eq!(summary.text().as_deref(), Some(text));
    }

    #[test]
    fn programs_are_told_only_of_a_loss() {
        let mut summary = Summary::new(Format::Json);
        summary.heard("a", 1, wire::LeftOut::default());
        assert_eq!(summary.text(), None);
        summary.heard("a", 1, wire::LeftOut { unread: 1, ..wire::LeftOut::default() });
        assert!(summary.text().is_some_and(|text| text.contains("1 that were not read in time")));
    }
}
