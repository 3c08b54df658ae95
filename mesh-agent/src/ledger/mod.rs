//! The ledger of counters: who gets what the kernel has counted, across restarts, crashes and
//! changes of the maps.
//!
//! [`book`] is the principle, pure and proptested; [`Journal`] keeps the books and writes each
//! change to a file before it matters, so that an agent that is killed goes on where it was.

mod account;
mod book;
mod count;
mod edges;
#[cfg(test)]
mod edges_tests;
mod inbound;
mod journal;
mod line;
mod refusals;
#[cfg(test)]
mod refusals_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::reason::Reason;

use crate::edges::Seat;

pub use self::account::Account;
pub use self::book::{Book, Step};
pub use self::count::Count;
pub use self::edges::{EdgeBook, EdgeStep, MOVES, Move};
pub use self::inbound::{InboundBook, InboundStep};
pub use self::journal::{Journal, LedgerError};
pub use self::refusals::{RefusalBook, RefusalStep};

/// Counters of connections by who they are counted for.
pub type Totals = BTreeMap<Account, BackendCounters>;

/// Which maps the kernel counts in: an id is unique until the machine starts again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Id of this run of the machine.
    pub boot: String,
    /// Id of the map `backend_counters`.
    pub backends: u32,
    /// Id of the map `service_counters`.
    pub services: u32,
    /// Id of the map `reasons`.
    pub reasons: u32,
    /// Id of the map `edges`; 0 where an agent has kept the books that knows none.
    pub edges: u32,
    /// Id of the map `inbound`; 0 where an agent has kept the books that knows none.
    pub inbound: u32,
    /// Id of the map `refusals`; 0 where an agent has kept the books that knows none.
    pub refusals: u32,
}

/// What maps had counted when the last program left them, by index. Empty where the maps are the
/// present ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Of `backend_counters`.
    pub backends: Vec<BackendCounters>,
    /// Of `service_counters`.
    pub services: Vec<ServiceCounters>,
    /// Of `reasons`.
    pub reasons: Vec<ReasonCount>,
    /// Of the agent's own services, whose indices are not among `services`.
    pub own: ServiceCounters,
}

/// A change of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Of the backends' book.
    Backend(Step<BackendCounters>),
    /// Of the services' book.
    Service(Step<ServiceCounters>),
    /// Of the reasons' book.
    Reason(Step<ReasonCount>),
    /// Of the edges' book.
    Edge(EdgeStep),
    /// Of the book of connections to this node's endpoints.
    Inbound(InboundStep),
    /// Of the book of refusals.
    Refusal(RefusalStep),
}

/// All books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    sources: Sources,
    backends: Book<BackendCounters>,
    services: Book<ServiceCounters>,
    reasons: Book<ReasonCount>,
    edges: EdgeBook,
    inbound: InboundBook,
    refusals: RefusalBook,
}

impl Ledger {
    /// Empty books of these maps.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Applies a change.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Backend(step) => self.backends.apply(step),
            Entry::Service(step) => self.services.apply(step),
            Entry::Reason(step) => self.reasons.apply(step),
            Entry::Edge(step) => {
                self.edges.apply(step);
                if let EdgeStep::Seat(Seat::Others(name) | Seat::Fold(name)) = step {
                    for it in self.refusals.fold(name) {
                        self.edges.keep(it);
                    }
                }
            }
            Entry::Inbound(step) => self.inbound.apply(step),
            Entry::Refusal(step) => self.refusals.apply(step),
        }
    }

    /// Goes over to the present maps. Maps that the books were kept for and that are neither the
    /// present nor the `earlier` ones are gone with what they had counted: their book begins anew.
    pub fn carry(&mut self, present: &Sources, earlier: Option<(&Sources, &Last)>) {
        let known = &self.sources;
        let earlier = earlier.filter(|(sources, _)| sources.boot == known.boot);
        let same = known.boot == present.boot;
        let mut own = 0;
        if !same || known.inbound != present.inbound {
            self.inbound = InboundBook::default();
        }
        if !same || known.edges != present.edges {
            self.edges.go_over();
        }
        if !same || known.refusals != present.refusals {
            self.refusals.go_over();
            // The first time there is one, nothing was counted there before.
            if !same || known.refusals != 0 {
                self.edges.miss_moves();
            }
        }
        if !same || known.backends != present.backends {
            let last = earlier.filter(|(sources, _)| sources.backends == known.backends);
            if last.is_none() {
                // They are parts of what begins anew.
                self.edges = EdgeBook::default();
            }
            self.backends.go_over(last.map(|(_, last)| last.backends.as_slice()));
        }
        if !same || known.services != present.services {
            let last = earlier.filter(|(sources, _)| sources.services == known.services);
            if last.is_none() {
                // They are parts of what begins anew.
                self.refusals = RefusalBook::default();
            }
            self.services.go_over(last.map(|(_, last)| last.services.as_slice()));
            own = last.map_or(0, |(_, last)| last.own.refused);
        }
        if !same || known.reasons != present.reasons {
            let last = earlier.filter(|(sources, _)| sources.reasons == known.reasons);
            self.reasons.go_over(last.map(|(_, last)| last.reasons.as_slice()));
        }
        // They are subtracted from the reasons as long as they can be read; now they cannot.
        self.reasons.skip(Reason::NO_BACKEND_REFUSED.code, &ReasonCount { count: own });
        self.sources = present.clone();
    }

    /// Changes that make this ledger out of an empty one of the same maps.
    fn entries(&self) -> impl Iterator<Item = Entry> {
        let backends = self.backends.steps().map(Entry::Backend);
        let services = self.services.steps().map(Entry::Service);
        let reasons = self.reasons.steps().map(Entry::Reason);
        let edges = self.edges.steps().map(Entry::Edge);
        let inbound = self.inbound.steps().map(Entry::Inbound);
        // After who is counted with others: what is settled of these is among others.
        let refusals = self.refusals.steps().map(Entry::Refusal);
        backends.chain(services).chain(reasons).chain(edges).chain(inbound).chain(refusals)
    }
}
