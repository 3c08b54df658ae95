//! One type on one state-of-the-world stream: what the client wants, what it has, and what is
//! due of a snapshot. As in the delta variant, what it has is remembered as the snapshot's own
//! index of the type.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::refusals::Wanted;
use crate::{
    WILDCARD,
    snapshot::{Resource, Resources},
    types,
};

/// Room for what is around the body of a resource in a response: its type and some lengths.
const OVERHEAD: usize = 100;

/// What the client was sent: everything of this index if `all`, else the subscribed names in it.
/// A refused resource counts as held: it is sent again when it changes, not before.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) resources: Arc<Resources>,
    pub(super) all: bool,
}

type Found<'s> = Vec<(&'s str, &'s Arc<Resource>)>;

/// A response that waits for its answer.
#[derive(Debug)]
pub(super) struct Sent {
    /// Counts the responses of the stream.
    pub(super) number: u64,
    pub(super) nonce: String,
    pub(super) revision: u64,
    /// What is in it; empty for a complete type, whose response has all that is held.
    pub(super) names: Vec<String>,
    /// Names in it that the client refuses until it answers this.
    pub(super) retried: Vec<String>,
}

impl Sent {
    /// The only resource of the response.
    pub(super) fn only<'s>(&'s self, subscription: &'s Subscription) -> Option<&'s str> {
        let only = |mut all: Box<dyn Iterator<Item = &'s str> + 's>| {
            all.next().filter(|_| all.next().is_none())
        };
        match &subscription.held {
            Some(held) if subscription.complete => {
                let held = subscription.selected(&held.resources, held.all).map(|(name, _)| name);
                let retained = subscription.retained.keys().map(String::as_str);
                only(Box::new(held.chain(retained)))
            }
            _ => only(Box::new(self.names.iter().map(String::as_str))),
        }
    }
}

/// What a response has to hold.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) resources: Vec<(String, Arc<Resource>)>,
    /// Names that are due as well and did not fit in.
    pub(super) rest: BTreeSet<String>,
}

impl Due {
    /// Whether a resource is in it; those of a partial response are in order.
    fn has(&self, name: &str) -> bool {
        self.resources.binary_search_by(|(other, _)| other.as_str().cmp(name)).is_ok()
    }
}

/// One type's subscription.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Whether a response says all there is: what it lacks is gone.
    pub(super) complete: bool,
    pub(super) wildcard: bool,
    pub(super) names: Arc<BTreeSet<String>>,
    /// Whether a request has ever given a name: from then on no names means nothing.
    named: bool,
    pub(super) held: Option<Held>,
    /// Gone from the snapshot, and left with the client until nothing refers to it.
    pub(super) retained: BTreeMap<String, Arc<Resource>>,
    /// What the first request said the client has.
    claimed: String,
    /// Names to be answered whether or not they changed or exist.
    pub(super) demanded: BTreeSet<String>,
    /// Whether a response is due even if there is nothing to say.
    answer_due: bool,
    /// Whether names were given up since the last response, which its version covers.
    outdated: bool,
    /// Whether the last response of a complete type was refused: with fewer names the next may do.
    refused: bool,
    /// Names that the client refuses: of a complete type, in the last response.
    bad: BTreeSet<String>,
    /// Other names in a refused response, which the client may have or not.
    doubtful: BTreeSet<String>,
    pub(super) unanswered: Option<Sent>,
}

impl Subscription {
    /// The first request of a type on a stream. `claimed` is the version of what the client has
    /// from an earlier stream, empty if nothing.
    pub(super) fn first(type_url: &str, names: Vec<String>, claimed: String) -> Self {
        let complete = types::is_complete(type_url);
        let mut first = Self { complete, claimed, ..Self::default() };
        first.request(names);
        first
    }

    /// Whether something was asked that has not been answered.
    pub(super) fn is_asking(&self) -> bool {
        self.answer_due || !self.demanded.is_empty()
    }

    /// Take the names of a request over: each request has all of them.
    ///
    /// xDS protocol, "How the client specifies what resources to return": without names the
    /// first requests of some types mean everything, and after names nothing any more.
    pub(super) fn request(&mut self, names: Vec<String>) {
        let everything = self.complete && names.is_empty() && !self.named;
        self.named |= !names.is_empty();
        let mut names: BTreeSet<String> = names.into_iter().collect();
        let wildcard = names.remove(WILDCARD) || everything;
        self.answer_due |= wildcard && !self.wildcard;
        if wildcard && !self.wildcard {
            // What it has is a part of what it wants now.
            self.held = None;
        } else if let Some(held) = &mut self.held {
            held.all = wildcard;
        }
        self.wildcard = wildcard;
        // "The server must honor newly subscribed resources even if they have not changed."
        self.demanded.extend(names.difference(&self.names).cloned());
        let gone: Vec<String> = self.names.difference(&names).cloned().collect();
        for name in gone.iter().filter(|_| !wildcard) {
            self.demanded.remove(name);
            self.bad.remove(name);
            self.doubtful.remove(name);
            self.retained.remove(name);
        }
        self.outdated |= !gone.is_empty();
        self.answer_due |= self.refused && self.outdated;
        if *self.names != names {
            self.names = names.into();
        }
        if self.is_empty() {
            // Envoy does not answer a response of a type that it wants nothing of any more.
            *self = Self { complete: self.complete, named: self.named, ..Self::default() };
        }
    }

    /// Whether the client claims to have exactly what it would be sent; if so, it is settled.
    pub(super) fn is_claimed(&mut self, target: &Arc<Resources>) -> bool {
        let claimed = std::mem::take(&mut self.claimed);
        if claimed.is_empty() || self.is_empty() || claimed != self.version(target, false) {
            return false;
        }
        self.held = Some(Held { resources: Arc::clone(target), all: self.wildcard });
        self.demanded.clear();
        (self.answer_due, self.outdated) = (false, false);
        true
    }

    /// Whether a response is due.
    pub(super) fn is_due(&self, target: &Arc<Resources>, keep: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        // A partial type cannot say what is gone; the client is told a version without it.
        let outdated = || {
            if !self.complete {
                self.outdated || self.gone(target).next().is_some()
            } else if keep {
                self.kept(target).len() < self.retained(target).len()
            } else {
                !self.retained(target).is_empty()
            }
        };
        self.is_asking() || !self.added(target).is_empty() || outdated()
    }

    /// What a response holds; a partial one only up to a number of bytes. With `keep`, a complete
    /// one goes on to list what is gone.
    pub(super) fn due(&self, target: &Arc<Resources>, keep: bool, limit: usize) -> Due {
        let own =
            |(name, resource): (&str, &Arc<Resource>)| (name.to_owned(), Arc::clone(resource));
        if self.complete {
            let mut resources: Vec<_> = self.selected(target, self.wildcard).map(own).collect();
            resources.extend(keep.then(|| self.kept(target)).into_iter().flatten());
            return Due { resources, rest: BTreeSet::new() };
        }
        let mut resources: Vec<_> = self.partial(target).into_iter().map(own).collect();
        let mut bytes = 0_usize;
        let fit = resources.iter().take_while(|(_, resource)| {
            bytes = bytes.saturating_add(resource.body.len() + OVERHEAD);
            bytes <= limit
        });
        let fit = fit.count().max(1).min(resources.len());
        let rest = resources.split_off(fit);
        Due { resources, rest: rest.into_iter().map(|(name, _)| name).collect() }
    }

    /// A response has been written; a `rest` did not fit in.
    pub(super) fn settle(&mut self, target: &Arc<Resources>, keep: bool, rest: BTreeSet<String>) {
        self.retained = if keep { self.kept(target) } else { BTreeMap::new() };
        self.held = Some(Held { resources: Arc::clone(target), all: self.wildcard });
        self.demanded = rest;
        self.bad.retain(|name| !self.complete && target.contains_key(name));
        self.doubtful.retain(|name| target.contains_key(name));
        (self.answer_due, self.outdated, self.refused) = (false, false, false);
    }

    /// Version of what the client has when it has accepted a response with these names.
    ///
    /// A content hash of everything that is subscribed to, also of what does not exist: so the
    /// version that a client comes back with says whether it has all that it asks for, whichever
    /// replica it had that from. Where it may lack something, no such version must come out.
    ///
    /// One thing cannot be seen: a name that was given up and asked for again between two streams.
    /// Envoy and gRPC ask for names because of what a stream has told them, except for the
    /// listeners of gRPC, whose versions go with the last channel to a target.
    pub(super) fn version_with(&self, due: &Due, target: &Arc<Resources>, keep: bool) -> String {
        let version = self.version(target, keep);
        let lacking = self.bad.iter().chain(&self.doubtful);
        let mut lacking = lacking.filter(|name| target.contains_key(name) && !due.has(name));
        if self.complete || (due.rest.is_empty() && lacking.next().is_none()) {
            version
        } else {
            version + "-incomplete"
        }
    }

    fn version(&self, target: &Arc<Resources>, keep: bool) -> String {
        let mut text = Vec::new();
        let mut line = |name: &str, version: &str| {
            for part in [name, "\0", version, "\n"] {
                text.extend_from_slice(part.as_bytes());
            }
        };
        if self.wildcard {
            target.iter().for_each(|(name, resource)| line(name, &resource.version));
        }
        for name in self.names.iter() {
            match target.get(name) {
                Some(_) if self.wildcard => {}
                found => line(name, found.map_or("", |resource| &resource.version)),
            }
        }
        for (name, resource) in keep.then(|| self.kept(target)).into_iter().flatten() {
            line(&name, &resource.version);
        }
        mesh_api::resource::version_of(&text)
    }

    /// Whether a response has everything that was refused without a name.
    pub(super) fn is_settled_by(&self, sent: &Sent) -> bool {
        self.doubtful.iter().all(|name| sent.names.contains(name))
    }

    /// The client has accepted a response.
    pub(super) fn accepted(&mut self, sent: &Sent) {
        for name in &sent.names {
            self.bad.remove(name);
            self.doubtful.remove(name);
        }
    }

    /// The client has refused a response, because of the resources with these names if any.
    ///
    /// It may have taken over the others or not (gRPC does, Envoy not always). So those are sent
    /// again: at once if the bad ones are known, since the response then gets better each time,
    /// else with the next change.
    pub(super) fn refused(&mut self, sent: Sent, bad: &[String]) {
        if self.complete {
            self.refused = true;
            self.answer_due |= self.outdated;
            self.bad = bad.iter().cloned().collect();
            return;
        }
        for name in sent.names.into_iter().filter(|name| !bad.contains(name)) {
            if !self.covers(&name) {
                continue;
            }
            if bad.is_empty() {
                self.doubtful.insert(name);
            } else {
                self.demanded.insert(name);
            }
        }
        let bad = bad.iter().filter(|name| self.covers(name)).cloned();
        self.bad.extend(bad.collect::<Vec<_>>());
    }

    /// What a partial response holds: what was demanded and exists, and what is new or changed;
    /// then also what the client may lack.
    fn partial<'s>(&'s self, target: &'s Arc<Resources>) -> Found<'s> {
        let mut due: BTreeMap<&str, &Arc<Resource>> = self.added(target).into_iter().collect();
        let demanded = self.demanded.iter().map(String::as_str);
        let mut extra: BTreeSet<&str> = demanded.collect();
        if !due.is_empty() || self.outdated || self.gone(target).next().is_some() {
            extra.extend(self.doubtful.iter().map(String::as_str));
        }
        for name in extra {
            if let Some(resource) = target.get(name) {
                due.insert(name, resource);
            }
        }
        due.into_iter().collect()
    }

    /// What is new or changed since the last response.
    pub(super) fn added<'s>(&'s self, target: &'s Arc<Resources>) -> Found<'s> {
        let Some(held) = &self.held else {
            return self.selected(target, self.wildcard).collect();
        };
        if Arc::ptr_eq(&held.resources, target) && held.all == self.wildcard {
            return Vec::new();
        }
        let differs = |(name, new): &(&str, &Arc<Resource>)| {
            let old = self.retained.get(*name).or_else(|| held.resources.get(name));
            old.is_none_or(|old| old.version != new.version)
        };
        if held.all && self.wildcard {
            target.apart_from(&held.resources).filter(differs).collect()
        } else {
            self.selected(target, self.wildcard).filter(differs).collect()
        }
    }

    /// What the client has and the snapshot has not.
    fn gone<'s>(
        &'s self,
        target: &'s Arc<Resources>,
    ) -> Box<dyn Iterator<Item = (&'s str, &'s Arc<Resource>)> + 's> {
        let absent = |(name, _): &(&str, &Arc<Resource>)| {
            !target.contains_key(name) && !self.demanded.contains(*name)
        };
        match &self.held {
            None => Box::new(std::iter::empty()),
            Some(held) if Arc::ptr_eq(&held.resources, target) => Box::new(std::iter::empty()),
            Some(held) if held.all && self.wildcard => {
                Box::new(held.resources.apart_from(target).filter(absent))
            }
            Some(held) => Box::new(self.selected(&held.resources, held.all).filter(absent)),
        }
    }

    /// What a response goes on to list although it is gone: not what may have been refused.
    fn kept(&self, target: &Arc<Resources>) -> BTreeMap<String, Arc<Resource>> {
        let mut kept = self.retained(target);
        if self.refused && self.bad.is_empty() {
            kept.clear();
        }
        kept.retain(|name, _| !self.bad.contains(name));
        kept
    }

    /// What a complete type has with the client that is gone.
    fn retained(&self, target: &Arc<Resources>) -> BTreeMap<String, Arc<Resource>> {
        if !self.complete {
            return BTreeMap::new();
        }
        let retained = self.retained.iter().map(|(name, resource)| (name.as_str(), resource));
        let retained = retained.filter(|(name, _)| !target.contains_key(name));
        let retained = retained.chain(self.gone(target));
        retained.map(|(name, resource)| (name.to_owned(), Arc::clone(resource))).collect()
    }

    fn selected<'s>(
        &'s self,
        resources: &'s Resources,
        all: bool,
    ) -> Box<dyn Iterator<Item = (&'s str, &'s Arc<Resource>)> + 's> {
        if all {
            Box::new(resources.iter())
        } else {
            let found = |name: &'s String| Some((name.as_str(), resources.get(name)?));
            Box::new(self.names.iter().filter_map(found))
        }
    }
}

impl Wanted for Subscription {
    fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }

    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn holds(&self, name: &str) -> bool {
        let held = self.held.as_ref().is_some_and(|held| held.resources.contains_key(name));
        self.covers(name) && (held || self.retained.contains_key(name))
    }
}
