//! What a push consists of, and in which order.

use std::mem;

use super::{DeltaStream, refusals::Wanted as _, writer::Writer};
use crate::{ads::DeltaDiscoveryResponse, snapshot::Snapshot};

impl DeltaStream {
    /// Everything due of a snapshot, or of a stage of it; what is sent is settled.
    ///
    /// xDS protocol, "Eventual consistency considerations": make before break, so additions in
    /// push order come before removals in reverse order.
    pub(super) fn collect(&mut self, snapshot: &Snapshot) -> Vec<DeltaDiscoveryResponse> {
        let mut nonce = self.last_nonce;
        let limit = self.config.max_response_bytes;
        let mut writer = Writer::new(limit, snapshot.revision(), &mut nonce);
        let order = self.order();
        self.add(&order, snapshot, &mut writer);
        self.remove(&order, &mut writer);
        self.commit(snapshot, &mut writer);
        let responses = writer.finish();
        self.last_nonce = nonce;
        responses
    }

    /// Additions and what was asked for; removals are noted.
    fn add(&mut self, order: &[String], snapshot: &Snapshot, writer: &mut Writer<'_>) {
        let in_stages = !self.config.staged.is_empty();
        let is_staged = |type_url: &str| self.config.staged.contains(&type_url);
        let push = self.push.as_ref();
        let mut not_ready = push
            .is_some_and(|push| push.unanswered.values().any(|sent| !is_staged(&sent.type_url)));
        self.postponed = false;
        let (first, second) = self.config.warmed.unzip();
        for type_url in order {
            let Some(subscription) = self.subscriptions.get_mut(type_url) else {
                continue;
            };
            let target = snapshot.resources(type_url).unwrap_or(&self.nothing);
            if second == Some(type_url.as_str()) {
                let exists = |name: &str| subscription.covers(name) && target.contains_key(name);
                let due = self.warming.due(exists);
                subscription.demand(due);
            }
            let mut due = subscription.due(target, false);
            if is_staged(type_url) && not_ready && !subscription.is_asking() {
                self.postponed |= !due.is_empty();
                continue;
            }
            let removals = self.removals.entry(type_url.clone()).or_default();
            for (name, _) in &due.added {
                removals.remove(*name);
            }
            let mut answered = Vec::new();
            if in_stages {
                // Who asks for what does not exist waits to hear it.
                let asked = |name: &mut String| subscription.demands(name);
                answered = due.removed.extract_if(.., asked).collect();
            }
            let silent = due.added.is_empty() && answered.is_empty();
            let empty_answer = subscription.answer_due() && (due.removed.is_empty() || in_stages);
            if !silent || empty_answer {
                writer.write(type_url, &due.added, answered);
                not_ready |= !is_staged(type_url);
            }
            if first == Some(type_url.as_str()) {
                self.warming.sent(due.added.iter().map(|(name, _)| *name));
            }
            removals.extend(due.removed);
            subscription.settle(target);
        }
    }

    /// Removals, as soon as nothing may refer any more to what goes: in stages, once everything
    /// has been answered and nothing that refers to something is refused. What refers goes itself
    /// in any case, and with it what is refused of it.
    fn remove(&mut self, order: &[String], writer: &mut Writer<'_>) {
        let staged = self.config.staged;
        let outstanding = self.push.as_ref().is_some_and(|push| !push.unanswered.is_empty());
        if !staged.is_empty() && (outstanding || !writer.is_empty()) {
            return;
        }
        let stays = |type_url: &&str| {
            let going = self.removals.get(*type_url);
            let is_going = |name: &String| going.is_some_and(|going| going.contains(name));
            !self.refusals.names(type_url).iter().all(is_going)
        };
        let refused = staged.iter().any(stays);
        for type_url in order.iter().rev() {
            if refused && !staged.contains(&type_url.as_str()) {
                continue;
            }
            let removed = self.removals.get_mut(type_url).map(mem::take).unwrap_or_default();
            let subscription = self.subscriptions.get(type_url);
            let wanted = |name: &String| subscription.is_some_and(|it| it.covers(name));
            let removed: Vec<String> = removed.into_iter().filter(wanted).collect();
            if !removed.is_empty() {
                writer.write(type_url, &[], removed);
            }
        }
    }

    /// What ends a push.
    fn commit(&mut self, snapshot: &Snapshot, writer: &mut Writer<'_>) {
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
