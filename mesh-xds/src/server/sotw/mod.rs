//! The server's end of one state-of-the-world ADS stream, for gRPC and for Envoy as most people
//! configure it.
//!
//! As in the delta variant, a push is pinned to one snapshot until the client has answered all of
//! it, and snapshots that come meanwhile merge. A push has stages, so that nothing refers to what
//! is not there yet or no longer there:
//!
//! 1. clusters and endpoints, with the clusters that are gone left in;
//! 2. once these are answered, listeners and routes: Envoy acknowledges clusters when they are
//!    warm;
//! 3. once these are answered and none is refused, the clusters without those that are gone.
//!
//! What was asked for anew is answered at once in any stage, since a client may need it to go on.
//! There is at most one unanswered response of a type: who asks meanwhile is answered after it.

mod subscription;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Holding, MAX_NAMES, MAX_TYPES, Progress, ProtocolError, StreamConfig,
    refusals::{Answered, Refusals, Wanted as _},
    validate::validate_sotw,
    warming::Warming,
};
use crate::{
    ads::{Any, DiscoveryRequest, DiscoveryResponse},
    snapshot::{Resources, Snapshot},
};
use subscription::{Sent, Subscription};

/// One stream. Feed it every request and every snapshot, send what it returns, in order.
#[derive(Debug)]
pub struct SotwStream {
    config: StreamConfig,
    subscriptions: BTreeMap<String, Subscription>,
    /// What the outstanding push is pinned to.
    pinned: Option<Arc<Snapshot>>,
    last_nonce: u64,
    refusals: Refusals,
    warming: Warming,
    progress: Progress,
    /// What a type that the snapshot lacks is compared with.
    nothing: Arc<Resources>,
}

impl SotwStream {
    /// A stream that has seen no request yet. There is no commit type in this variant.
    #[must_use]
    pub fn new(config: StreamConfig) -> Self {
        Self {
            config,
            subscriptions: BTreeMap::new(),
            pinned: None,
            last_nonce: 0,
            refusals: Refusals::default(),
            warming: Warming::default(),
            progress: Progress::default(),
            nothing: Arc::default(),
        }
    }

    /// Take a request in. `latest` is the newest snapshot, never older than one passed before.
    /// After an error the stream must end.
    pub fn on_request(
        &mut self,
        request: DiscoveryRequest,
        latest: &Arc<Snapshot>,
    ) -> Result<Vec<DiscoveryResponse>, ProtocolError> {
        validate_sotw(&request)?;
        self.progress.identify(request.node.as_ref())?;
        self.answer(&request)?;
        self.resubscribe(request)?;
        Ok(self.advance(latest))
    }

    /// Take a newer snapshot in. Returns nothing while a push is outstanding; what has changed
    /// then follows once the push is answered.
    #[must_use]
    pub fn on_snapshot(&mut self, latest: &Arc<Snapshot>) -> Vec<DiscoveryResponse> {
        match self.pinned {
            Some(_) => Vec::new(),
            None => self.advance(latest),
        }
    }

    /// How far the client has got.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Pair an ACK or NACK with its response: by the nonce alone, and whether it is a NACK by the
    /// error alone (xDS protocol, "ACK and NACK semantics summary"). A nonce that is empty, stale
    /// or of an earlier stream means nothing: gRPC asks for more before it has read a response.
    fn answer(&mut self, request: &DiscoveryRequest) -> Result<(), ProtocolError> {
        let nonce = &request.response_nonce;
        let is_answered = |subscription: &Subscription| {
            subscription.unanswered.as_ref().is_some_and(|sent| sent.nonce == *nonce)
        };
        let found = self.subscriptions.iter_mut().find(|(_, it)| is_answered(it));
        let Some((type_url, subscription)) = found else {
            return Ok(());
        };
        if *type_url != request.type_url {
            return Err(ProtocolError::WrongType {
                nonce: nonce.clone(),
                sent: type_url.clone(),
                answered: request.type_url.clone(),
            });
        }
        let Some(sent) = subscription.unanswered.take() else {
            return Ok(());
        };
        let answered = Answered {
            type_url,
            revision: sent.revision,
            push: sent.number,
            retried: &sent.retried,
            settles: subscription.is_settled_by(&sent),
            only: sent.only(subscription),
        };
        self.refusals.answered(answered);
        if self.config.warmed.is_some_and(|(first, _)| first == type_url) {
            self.warming.answered();
        }
        if let Some(status) = &request.error_detail {
            let bad = self.refusals.refused(answered, status, subscription);
            subscription.refused(sent, &bad);
        } else {
            self.progress.acked(type_url, sent.revision);
            subscription.accepted(&sent);
        }
        Ok(())
    }

    /// Apply the subscription part of a request, also of one with a stale nonce: requests are in
    /// order, so the newest one has the names that the client wants now.
    fn resubscribe(&mut self, request: DiscoveryRequest) -> Result<(), ProtocolError> {
        let (type_url, names) = (request.type_url, request.resource_names);
        let types = self.subscriptions.len();
        match self.subscriptions.get_mut(&type_url) {
            Some(known) => known.request(names),
            // An answer to an earlier stream that arrives on this one.
            None if names.is_empty() && !request.response_nonce.is_empty() => {}
            None if types >= MAX_TYPES => return Err(ProtocolError::TooManyTypes),
            None => {
                let first = Subscription::first(&type_url, names, request.version_info);
                self.subscriptions.insert(type_url.clone(), first);
            }
        }
        if let Some(known) = self.subscriptions.get(&type_url) {
            self.refusals.resubscribed(&type_url, known);
        }
        self.progress.rejections = self.refusals.rejections();
        let count: usize = self.subscriptions.values().map(|it| it.names.len()).sum();
        if count > MAX_NAMES {
            return Err(ProtocolError::TooManyNames { field: "subscriptions", count });
        }
        Ok(())
    }

    /// Send what is due: from the pinned snapshot until nothing of it is outstanding, then from
    /// the latest.
    fn advance(&mut self, latest: &Arc<Snapshot>) -> Vec<DiscoveryResponse> {
        if let Some(pinned) = self.pinned.clone() {
            let responses = self.collect(&pinned);
            if self.is_outstanding() {
                return responses;
            }
            self.pinned = None;
        }
        let responses = self.collect(latest);
        if self.is_outstanding() {
            self.pinned = Some(Arc::clone(latest));
        }
        responses
    }

    fn is_outstanding(&self) -> bool {
        self.subscriptions.values().any(|it| it.unanswered.is_some())
    }

    /// Everything that may be sent now of a snapshot.
    fn collect(&mut self, snapshot: &Arc<Snapshot>) -> Vec<DiscoveryResponse> {
        let order = self.order();
        let revision = snapshot.revision();
        for (type_url, subscription) in &mut self.subscriptions {
            let target = snapshot.resources(type_url).unwrap_or(&self.nothing);
            if subscription.is_claimed(target) {
                self.progress.sent(type_url, revision);
                self.progress.acked(type_url, revision);
            }
        }
        let keep = self.keeps(snapshot);
        let mut responses = Vec::new();
        let mut not_ready = false;
        let (first, second) = self.config.warmed.unzip();
        for type_url in order {
            let staged = self.config.staged.contains(&type_url.as_str());
            let Some(subscription) = self.subscriptions.get_mut(&type_url) else {
                continue;
            };
            if second == Some(type_url.as_str()) && subscription.unanswered.is_none() {
                let due = self.warming.due(|name| subscription.covers(name));
                subscription.demanded.extend(due);
            }
            let may_go = subscription.unanswered.is_none()
                && (!staged || !not_ready || subscription.is_asking());
            let target = snapshot.resources(&type_url).unwrap_or(&self.nothing);
            let keep = keep && !staged;
            if may_go && subscription.is_due(target, keep) {
                let target = Arc::clone(target);
                if first == Some(type_url.as_str()) {
                    self.warming
                        .sent(subscription.added(&target).into_iter().map(|(name, _)| name));
                }
                responses.extend(self.respond(&type_url, &target, revision, keep));
            }
            let sent = self.subscriptions.get(&type_url).is_some_and(|it| it.unanswered.is_some());
            not_ready |= !staged && sent;
        }
        self.note(snapshot);
        responses
    }

    /// Whether what is gone must stay with the client, for something that may still refer to it:
    /// that has not been told yet, has not been answered, or was refused.
    fn keeps(&self, snapshot: &Snapshot) -> bool {
        let refers = |(type_url, it): (&String, &Subscription)| {
            let staged = self.config.staged.contains(&type_url.as_str());
            let target = snapshot.resources(type_url).unwrap_or(&self.nothing);
            let told = it.unanswered.is_none() && !it.is_due(target, false);
            (staged || !it.complete) && (!told || (staged && self.refusals.concern(type_url)))
        };
        self.subscriptions.iter().any(refers)
    }

    /// Write the response of one type.
    fn respond(
        &mut self,
        type_url: &str,
        target: &Arc<Resources>,
        revision: u64,
        keep: bool,
    ) -> Option<DiscoveryResponse> {
        let subscription = self.subscriptions.get_mut(type_url)?;
        let due = subscription.due(target, keep, self.config.max_response_bytes);
        let version_info = subscription.version_with(&due, target, keep);
        let in_it = due.resources.iter().filter(|_| !subscription.complete);
        let names: Vec<String> = in_it.map(|(name, _)| name.clone()).collect();
        self.last_nonce += 1;
        let nonce = self.last_nonce.to_string();
        let mut retried = self.refusals.names(type_url);
        retried.retain(|name| {
            let is_gone = !name.is_empty() && !target.contains_key(name);
            subscription.complete || names.contains(name) || is_gone
        });
        let number = self.last_nonce;
        let sent = Sent { number, nonce: nonce.clone(), revision, names, retried };
        subscription.unanswered = Some(sent);
        subscription.settle(target, keep, due.rest);
        self.progress.sent(type_url, revision);
        let any = |value: &[u8]| Any { type_url: type_url.to_owned(), value: value.to_vec() };
        Some(DiscoveryResponse {
            version_info,
            resources: due.resources.iter().map(|(_, resource)| any(&resource.body)).collect(),
            type_url: type_url.to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        })
    }

    /// Note how far the client has got with a snapshot.
    fn note(&mut self, snapshot: &Snapshot) {
        for (type_url, it) in &self.subscriptions {
            let Some(held) = &it.held else { continue };
            let held = Holding::new(&held.resources, held.all, &it.names);
            if self.progress.held.get(type_url) != Some(&held) {
                self.progress.held.insert(type_url.clone(), held);
            }
        }
        let mut wanted = self.subscriptions.iter().filter(|(_, it)| !it.is_empty()).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let handed_out = wanted.all(|(type_url, it)| {
            let target = snapshot.resources(type_url).unwrap_or(&self.nothing);
            !it.is_due(target, false)
        });
        if handed_out {
            self.progress.sent_revision = snapshot.revision();
            if !self.is_outstanding() && self.refusals.is_empty() {
                self.progress.live_revision = Some(snapshot.revision());
            }
        }
    }

    /// Subscribed types in push order.
    fn order(&self) -> Vec<String> {
        let listed = self.config.push_order;
        let rest = self.subscriptions.keys().map(String::as_str);
        let rest = rest.filter(|type_url| !listed.contains(type_url));
        listed.iter().copied().chain(rest).map(str::to_owned).collect()
    }
}
