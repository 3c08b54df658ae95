//! The server's end of one ADS stream: here the delta variant, in [`sotw`] the other one.
//!
//! ```text
//!            subscription, or newer snapshot            every response answered,
//!   ┌──────┐ with something due ────────────► ┌─────────┐ newer snapshot due ──┐
//!   │ idle │                                  │ pushing │ ◄────────────────────┘
//!   └──────┘ ◄──────────────────────────────  └─────────┘ ◄─┐ subscription: answered at once
//!            every response answered,             │         │ from the same snapshot
//!            nothing due                          └─────────┘
//! ```
//!
//! A push is pinned to one snapshot until the client has answered all of it; snapshots that
//! come meanwhile merge into the difference that follows. So a slow client costs one pinned
//! snapshot and never a queue, and it never sees parts of two revisions mixed.
//!
//! Within a push: additions in push order, then removals in reverse (xDS protocol, "Eventual
//! consistency considerations": make before break), then the commit type. If the client
//! subscribed to the commit type, every push ends with all its resources, changed or not.
//!
//! For clients that need time between what refers and what is referred to, as Envoy does, a push
//! has stages: [`StreamConfig::staged`].

mod collect;
mod error;
mod lanes;
mod progress;
mod refusals;
mod sotw;
mod subscription;
mod validate;
mod warming;
mod writer;

pub use error::ProtocolError;
pub use lanes::Lanes;
pub use progress::{Holding, NodeInfo, Progress, Rejection, TypeProgress};
pub use sotw::SotwStream;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    snapshot::{Resources, Snapshot},
};
use refusals::{Answered, Refusals};
use subscription::Subscription;
use validate::validate;
use warming::Warming;

#[cfg(test)]
mod tests;

/// Longest node id, type URL, resource name or version in a request, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Most types on one stream.
pub const MAX_TYPES: usize = 64;
/// Most names in one field of a request, and most explicit subscriptions of one stream.
pub const MAX_NAMES: usize = 250_000;

/// How a stream is served.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Responses are cut below this many encoded bytes; one larger resource goes alone.
    pub max_response_bytes: usize,
    /// Type URLs, referred-to first. Types that are not listed follow in alphabetical order.
    pub push_order: &'static [&'static str],
    /// The type that ends every push, if the clients wait for one.
    pub commit_type: Option<&'static str>,
    /// Types that may refer to what the client must first make ready: their changes wait until
    /// the other types of the push have been answered, and removals until everything has. Empty:
    /// a push is sent at once. Not together with a commit type.
    pub staged: &'static [&'static str],
    /// A type whose changed resources the client makes ready with those of the same names of
    /// another type, which it has to be sent after them, changed or not. Not together with a
    /// commit type.
    pub warmed: Option<(&'static str, &'static str)>,
}

/// A push that the client has not answered completely.
#[derive(Debug)]
struct Push {
    snapshot: Arc<Snapshot>,
    /// By nonce.
    unanswered: BTreeMap<String, Sent>,
    /// Nonces of the newest responses of the commit type that are not acknowledged; the ACK of
    /// the last one makes the revision live, and one NACK keeps it from that. `None` when there
    /// is none, or when the commit resource does not exist.
    commit: Option<BTreeSet<String>>,
    /// Types of which anything was refused.
    refused: BTreeSet<String>,
}

#[derive(Debug)]
struct Sent {
    type_url: String,
    /// Names in the response that the client refuses until it answers this.
    retried: Vec<String>,
    /// Its only resource.
    only: Option<String>,
}

/// One stream. Feed it every request and every snapshot, send what it returns, in order.
#[derive(Debug)]
pub struct DeltaStream {
    config: StreamConfig,
    subscriptions: BTreeMap<String, Subscription>,
    push: Option<Push>,
    pushes: u64,
    last_nonce: u64,
    refusals: Refusals,
    warming: Warming,
    /// By type, names of what is gone and still to be removed.
    removals: BTreeMap<String, BTreeSet<String>>,
    /// Whether something waits for a later stage of the push.
    postponed: bool,
    progress: Progress,
    /// What a type that the snapshot lacks is compared with.
    nothing: Arc<Resources>,
}

impl DeltaStream {
    /// A stream that has seen no request yet.
    #[must_use]
    pub fn new(config: StreamConfig) -> Self {
        Self {
            config,
            subscriptions: BTreeMap::new(),
            push: None,
            pushes: 0,
            last_nonce: 0,
            refusals: Refusals::default(),
            warming: Warming::default(),
            removals: BTreeMap::new(),
            postponed: false,
            progress: Progress::default(),
            nothing: Arc::default(),
        }
    }

    /// Take a request in. `latest` is the newest snapshot, never older than one passed before.
    /// After an error the stream must end.
    pub fn on_request(
        &mut self,
        request: DeltaDiscoveryRequest,
        latest: &Arc<Snapshot>,
    ) -> Result<Vec<DeltaDiscoveryResponse>, ProtocolError> {
        self.take_in(request)?;
        Ok(self.advance(latest))
    }

    /// The part of a request that needs no snapshot.
    fn take_in(&mut self, request: DeltaDiscoveryRequest) -> Result<(), ProtocolError> {
        validate(&request)?;
        self.progress.identify(request.node.as_ref())?;
        // The two roles of a request are independent: "the server must honor changes to the
        // subscription state even if the nonce is stale" (xDS protocol, "Incremental xDS").
        self.answer(&request)?;
        self.resubscribe(request)
    }

    /// Take a newer snapshot in. Returns nothing while a push is outstanding; what has changed
    /// then follows once the push is answered.
    #[must_use]
    pub fn on_snapshot(&mut self, latest: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        match self.push {
            Some(_) => Vec::new(),
            None => self.advance(latest),
        }
    }

    /// How far the client has got.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Pair an ACK or NACK with its response. A nonce that is empty, stale, of an earlier
    /// stream or answered before has no meaning, and neither has an error without nonce.
    fn answer(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), ProtocolError> {
        let Some(push) = &mut self.push else {
            return Ok(());
        };
        let nonce = &request.response_nonce;
        let Some(sent) = push.unanswered.get(nonce) else {
            return Ok(());
        };
        if sent.type_url != request.type_url {
            return Err(ProtocolError::WrongType {
                nonce: nonce.clone(),
                sent: sent.type_url.clone(),
                answered: request.type_url.clone(),
            });
        }
        let revision = push.snapshot.revision();
        let answered = Answered {
            type_url: &sent.type_url,
            revision,
            push: self.pushes,
            retried: &sent.retried,
            settles: true,
            only: sent.only.as_deref(),
        };
        self.refusals.answered(answered);
        // xDS protocol, "ACK and NACK semantics summary": NACK is the presence of the error.
        if let Some(status) = &request.error_detail {
            push.refused.insert(request.type_url.clone());
            if let Some(subscription) = self.subscriptions.get(&sent.type_url) {
                self.refusals.refused(answered, status, subscription);
            }
        } else if let Some(commit) = &mut push.commit
            && commit.remove(nonce)
            && commit.is_empty()
        {
            self.progress.live_revision = Some(revision);
        }
        push.unanswered.remove(nonce);
        let type_url = &request.type_url;
        let more = push.unanswered.values().any(|sent| sent.type_url == *type_url);
        if !more && self.config.warmed.is_some_and(|(first, _)| first == type_url) {
            self.warming.answered();
        }
        if !more && !push.refused.contains(type_url) {
            self.progress.acked(type_url, revision);
        }
        if self.config.staged.is_empty() {
            self.finish();
        }
        self.progress.rejections = self.refusals.rejections();
        Ok(())
    }

    /// End the push if all of it has been answered.
    fn finish(&mut self) {
        let Some(push) = self.push.take_if(|push| push.unanswered.is_empty()) else {
            return;
        };
        let clean = push.refused.is_empty() && self.refusals.is_empty();
        if self.config.commit_type.is_none() && clean {
            self.progress.live_revision = Some(push.snapshot.revision());
        }
    }

    /// Apply the subscription part of a request. Empty lists, as in most ACKs, change nothing.
    fn resubscribe(&mut self, request: DeltaDiscoveryRequest) -> Result<(), ProtocolError> {
        let (subscribe, unsubscribe) =
            (request.resource_names_subscribe, request.resource_names_unsubscribe);
        let others: usize = self.subscriptions.values().map(Subscription::len).sum();
        let types = self.subscriptions.len();
        match self.subscriptions.get_mut(&request.type_url) {
            Some(known) => {
                known.subscribe(subscribe);
                known.unsubscribe(&unsubscribe);
                self.refusals.resubscribed(&request.type_url, known);
                self.progress.rejections = self.refusals.rejections();
            }
            // An answer to an earlier stream that arrives on this one: a first request carries
            // no nonce, so this is not meant to subscribe to everything.
            None if subscribe.is_empty() && !request.response_nonce.is_empty() => {}
            None if types >= MAX_TYPES => return Err(ProtocolError::TooManyTypes),
            None => {
                let claimed = request.initial_resource_versions;
                let first =
                    Subscription::first(&request.type_url, subscribe, &unsubscribe, claimed);
                self.subscriptions.insert(request.type_url, first);
            }
        }
        let count: usize = self.subscriptions.values().map(Subscription::len).sum();
        if count > MAX_NAMES && count > others {
            let field = "subscriptions";
            return Err(ProtocolError::TooManyNames { field, count });
        }
        Ok(())
    }

    /// Send what is due: from the pinned snapshot while a push is outstanding, so that a new
    /// subscription is answered at once and consistently, else from the latest.
    fn advance(&mut self, latest: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        if let Some(push) = &self.push {
            let responses = self.send(Arc::clone(&push.snapshot));
            self.finish();
            if self.push.is_some() {
                return responses;
            }
        }
        self.send(Arc::clone(latest))
    }

    fn note_held(&mut self) {
        for (type_url, subscription) in &self.subscriptions {
            let Some(held) = subscription.holding() else { continue };
            if self.progress.held.get(type_url) != Some(&held) {
                self.progress.held.insert(type_url.clone(), held);
            }
        }
    }

    fn send(&mut self, snapshot: Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        let responses = self.collect(&snapshot);
        let revision = snapshot.revision();
        if self.config.commit_type.is_none() {
            self.note_held();
        }
        if !self.subscriptions.is_empty() && !self.postponed {
            self.progress.sent_revision = revision;
        }
        if responses.is_empty() {
            // Nothing of the new revision concerns this client: it serves it already.
            let idle = self.push.is_none() && self.config.commit_type.is_none();
            if idle && self.refusals.is_empty() && !self.subscriptions.is_empty() {
                self.progress.live_revision = Some(revision);
            }
            return responses;
        }
        if self.push.is_none() {
            self.pushes += 1;
        }
        let push = self.push.get_or_insert_with(|| Push {
            snapshot,
            unanswered: BTreeMap::new(),
            commit: None,
            refused: BTreeSet::new(),
        });
        let commit = responses
            .iter()
            .filter(|response| Some(response.type_url.as_str()) == self.config.commit_type);
        if commit.clone().next().is_some() {
            let complete = commit.clone().any(|response| !response.resources.is_empty());
            let nonces = commit.map(|response| response.nonce.clone());
            push.commit = complete.then(|| nonces.collect());
        }
        for response in &responses {
            self.progress.sent(&response.type_url, revision);
            let added = response.resources.iter().map(|resource| &resource.name);
            let names = added.chain(&response.removed_resources);
            let sent = Sent {
                retried: self.refusals.among(&response.type_url, names),
                type_url: response.type_url.clone(),
                only: match response.resources.as_slice() {
                    [only] => Some(only.name.clone()),
                    _ => None,
                },
            };
            push.unanswered.insert(response.nonce.clone(), sent);
        }
        responses
    }
}
