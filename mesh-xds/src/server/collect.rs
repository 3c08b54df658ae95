//! What a push consists of, and in which order.

use super::{DeltaStream, refusals::Wanted as _, writer::Writer};
use crate::{ads::DeltaDiscoveryResponse, snapshot::Snapshot};

impl DeltaStream {
    /// Everything due of a snapshot; all subscriptions are settled to it.
    ///
    /// xDS protocol, "Eventual consistency considerations": make before break, so additions in
    /// push order come before removals in reverse order.
    pub(super) fn collect(&mut self, snapshot: &Snapshot) -> Vec<DeltaDiscoveryResponse> {
        let (limit, revision) = (self.config.max_response_bytes, snapshot.revision());
        let order = self.order();
        let mut writer = Writer::new(limit, revision, &mut self.last_nonce);
        let mut removals = Vec::new();
        for type_url in &order {
            let Some(subscription) = self.subscriptions.get_mut(type_url) else {
                continue;
            };
            let target = snapshot.resources(type_url).unwrap_or(&self.nothing);
            let due = subscription.due(target, false);
            if !due.added.is_empty() || (subscription.answer_due() && due.removed.is_empty()) {
                writer.write(type_url, &due.added, Vec::new());
            }
            if !due.removed.is_empty() {
                removals.push((type_url, due.removed));
            }
            subscription.settle(target);
        }
        for (type_url, removed) in removals.into_iter().rev() {
            writer.write(type_url, &[], removed);
        }
        if let Some(commit) = self.config.commit_type
            && let Some(subscription) = self.subscriptions.get_mut(commit)
            && !subscription.is_empty()
        {
            let target = snapshot.resources(commit).unwrap_or(&self.nothing);
            let ends_a_push = !writer.is_empty() || subscription.answer_due();
            if ends_a_push || !subscription.due(target, false).is_empty() {
                let due = subscription.due(target, true);
                writer.write(commit, &due.added, due.removed);
                subscription.settle(target);
            }
        }
        writer.finish()
    }

    /// Subscribed types in push order, without the commit type.
    fn order(&self) -> Vec<String> {
        let listed = self.config.push_order;
        let rest = self.subscriptions.keys().map(String::as_str);
        let rest = rest.filter(|type_url| !listed.contains(type_url));
        listed
            .iter()
            .copied()
            .chain(rest)
            .filter(|type_url| Some(*type_url) != self.config.commit_type)
            .map(str::to_owned)
            .collect()
    }
}
