//! One type on one stream: what the client wants, what it holds, and the difference to a
//! snapshot. What it holds is remembered as the snapshot's own index of the type, so that an
//! idle stream costs a pointer, not a copy of every name.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Holding, refusals::Wanted};
use crate::{
    WILDCARD,
    snapshot::{Resource, Resources},
    types,
};

/// What the client holds of what it is subscribed to.
#[derive(Debug)]
enum Held {
    /// What its first request said, name to version.
    Claimed(BTreeMap<String, String>),
    /// What it was sent: everything of this index if `all`, else the subscribed names in it.
    /// A refused resource counts as held: it is sent again when it changes, not before.
    Sent { resources: Arc<Resources>, all: bool },
}

/// One type's subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    wildcard: bool,
    /// Shared with what is told of the client.
    names: Arc<BTreeSet<String>>,
    held: Held,
    /// Names to be answered whether or not they changed or exist.
    demanded: BTreeSet<String>,
    /// Whether a response is due even if there is nothing to say.
    answer_due: bool,
}

/// What must be sent.
#[derive(Debug, Default)]
pub(super) struct Due<'s> {
    /// New, changed and demanded resources.
    pub(super) added: Vec<(&'s str, &'s Arc<Resource>)>,
    /// Names that the client holds or demanded and that do not exist.
    pub(super) removed: Vec<String>,
}

impl Due<'_> {
    pub(super) const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Subscription {
    /// The first request of a type on a stream.
    ///
    /// xDS protocol, "Incremental xDS": without names to subscribe to or to unsubscribe from
    /// it subscribes to everything, where the type can be; `initial_resource_versions` says what the client has.
    pub(super) fn first(
        type_url: &str,
        subscribe: Vec<String>,
        unsubscribe: &[String],
        claimed: HashMap<String, String>,
    ) -> Self {
        let nameless = subscribe.is_empty() && unsubscribe.is_empty();
        let mut first = Self {
            wildcard: nameless && !types::is_named(type_url),
            names: Arc::default(),
            held: Held::Claimed(BTreeMap::new()),
            demanded: BTreeSet::new(),
            answer_due: true,
        };
        first.subscribe(subscribe);
        // A claimed name needs no answer beyond its difference: sparing it is what the claim
        // is for.
        first.demanded.retain(|name| !claimed.contains_key(name));
        first.held = Held::Claimed(claimed.into_iter().collect());
        first.unsubscribe(unsubscribe);
        first.answer_due = first.wildcard || !first.names.is_empty();
        first
    }

    /// Number of names subscribed to explicitly.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether something was asked that has not been answered.
    pub(super) fn is_asking(&self) -> bool {
        self.answer_due || !self.demanded.is_empty()
    }

    /// Whether a name is to be answered whether or not it exists.
    pub(super) fn demands(&self, name: &str) -> bool {
        self.demanded.contains(name)
    }

    /// These names are to be answered, whether or not they have changed.
    pub(super) fn demand(&mut self, names: Vec<String>) {
        self.demanded.extend(names);
    }

    /// Whether a response is due even if there is nothing to say.
    pub(super) const fn answer_due(&self) -> bool {
        self.answer_due
    }

    /// xDS protocol, "Subscribing to Resources": every name in the list is answered, even one
    /// that the client is subscribed to and has, since it may have forgotten it. A wildcard
    /// that is subscribed already changes nothing: it names no resource.
    pub(super) fn subscribe(&mut self, names: Vec<String>) {
        for name in names {
            if name == WILDCARD {
                self.answer_due |= !self.wildcard;
                self.wildcard = true;
            } else {
                self.demanded.insert(name.clone());
                Arc::make_mut(&mut self.names).insert(name);
            }
        }
    }

    /// xDS protocol, "Unsubscribing from Resources": unknown names are ignored, nothing is
    /// answered, except for a name that the wildcard may still cover: the client cannot know
    /// whether to keep that resource, so it is sent, or named as removed.
    pub(super) fn unsubscribe(&mut self, names: &[String]) {
        // First the wildcard: the exception depends on what remains.
        if names.iter().any(|name| name == WILDCARD) {
            self.wildcard = false;
            if let Held::Sent { all, .. } = &mut self.held {
                *all = false;
            }
        }
        for name in names.iter().filter(|name| *name != WILDCARD) {
            let was_subscribed =
                self.names.contains(name) && Arc::make_mut(&mut self.names).remove(name);
            if !self.wildcard {
                self.demanded.remove(name);
            } else if was_subscribed {
                self.demanded.insert(name.clone());
            }
        }
    }

    /// The difference between what the client holds and this index; `everything` sends also
    /// what has not changed.
    ///
    /// xDS protocol, "Grouping Resources into Responses" (only what changed) and "Knowing When
    /// a Requested Resource Does Not Exist" (absent names are named as removed).
    pub(super) fn due<'s>(&'s self, target: &'s Arc<Resources>, everything: bool) -> Due<'s> {
        if !everything && self.is_current(target) {
            return Due::default();
        }
        let mut due = Due::default();
        let (held, wanted) = self.compared(target, everything);
        let (mut held, mut wanted) = (held.peekable(), wanted.peekable());
        loop {
            let order = match (held.peek(), wanted.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            match order {
                Ordering::Less => due.removed.extend(held.next().map(|(name, _)| name.to_owned())),
                Ordering::Greater => due.added.extend(wanted.next()),
                Ordering::Equal => {
                    if let (Some((_, version)), Some((name, new))) = (held.next(), wanted.next())
                        && (everything || version != new.version || self.demanded.contains(name))
                    {
                        due.added.push((name, new));
                    }
                }
            }
        }
        let absent: Vec<String> = self
            .demanded
            .iter()
            .filter(|name| !target.contains_key(name) && due.removed.binary_search(name).is_err())
            .cloned()
            .collect();
        due.removed.extend(absent);
        due
    }

    /// The difference has been sent.
    pub(super) fn settle(&mut self, target: &Arc<Resources>) {
        self.held = Held::Sent { resources: Arc::clone(target), all: self.wildcard };
        self.demanded.clear();
        self.answer_due = false;
    }

    /// What the client was sent; nothing before it was sent anything.
    pub(super) fn holding(&self) -> Option<Holding> {
        match &self.held {
            Held::Claimed(_) => None,
            Held::Sent { resources, all } => Some(Holding::new(resources, *all, &self.names)),
        }
    }

    /// Whether a comparison would find nothing, without comparing.
    fn is_current(&self, target: &Arc<Resources>) -> bool {
        match &self.held {
            Held::Claimed(_) => false,
            Held::Sent { resources, all } => {
                Arc::ptr_eq(resources, target) && *all == self.wildcard && self.demanded.is_empty()
            }
        }
    }

    /// What the client holds and what it wants, in order. Whoever wants everything and has had it
    /// before differs only where the two versions of the index do.
    fn compared<'s>(
        &'s self,
        target: &'s Arc<Resources>,
        everything: bool,
    ) -> (Versions<'s>, Selection<'s>) {
        match &self.held {
            Held::Sent { resources, all: true }
                if self.wildcard && self.demanded.is_empty() && !everything =>
            {
                let held = resources.apart_from(target);
                let held = held.map(|(name, resource)| (name, resource.version.as_str()));
                (Box::new(held), Box::new(target.apart_from(resources)))
            }
            Held::Claimed(_) | Held::Sent { .. } => (self.held(), self.wanted(target)),
        }
    }

    /// Names and versions that the client holds, in order.
    fn held(&self) -> Versions<'_> {
        match &self.held {
            Held::Claimed(claimed) => Box::new(
                claimed
                    .iter()
                    .filter(|(name, _)| self.covers(name))
                    .map(|(name, version)| (name.as_str(), version.as_str())),
            ),
            Held::Sent { resources, all } => Box::new(
                self.select(resources, *all)
                    .map(|(name, resource)| (name, resource.version.as_str())),
            ),
        }
    }

    fn wanted<'s>(&'s self, target: &'s Resources) -> Selection<'s> {
        self.select(target, self.wildcard)
    }

    fn select<'s>(&'s self, resources: &'s Resources, all: bool) -> Selection<'s> {
        if all {
            Box::new(resources.iter())
        } else {
            Box::new(
                self.names.iter().filter_map(|name| Some((name.as_str(), resources.get(name)?))),
            )
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
        match &self.held {
            Held::Claimed(claimed) => claimed.contains_key(name),
            Held::Sent { resources, .. } => self.covers(name) && resources.contains_key(name),
        }
    }
}

/// Names and versions, in order of the names.
type Versions<'s> = Box<dyn Iterator<Item = (&'s str, &'s str)> + 's>;
/// Some resources of an index, in order of their names.
type Selection<'s> = Box<dyn Iterator<Item = (&'s str, &'s Arc<Resource>)> + 's>;
