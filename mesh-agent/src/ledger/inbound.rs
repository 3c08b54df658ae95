//! The book of connections to this node's endpoints: whose the entries of `inbound` are, and what was
//! counted in those that are not in the map any more.
//!
//! An id is given out once, and is in the book before it is in a map. An entry is settled when no
//! program can count there any more, then deleted from the map, then its watermark is dropped. So
//! an entry counts for one client and one account as long as it lives, and what is settled and
//! what lies beyond the watermarks come to what was counted, whatever is lost of these steps.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::model::Label;
use mesh_common::edge::EdgeCounters;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};

use super::account::Account;
use super::count::Count as _;
use crate::edges::{Edges, Source, add};

/// A change of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboundStep {
    /// A client is called so; `None`: nothing is counted for it any more.
    Client(ClientId, Option<Label>),
    /// Who is counted for an endpoint; `None`: nothing is counted for it any more.
    Endpoint(EndpointId, Option<Account>),
    /// What the entry has counted up to here is settled, for whom it was counted.
    Settle(InboundKey, EdgeCounters),
    /// The entry is not in the map any more.
    Drop(InboundKey),
    /// A client has rows of its own for good, or is counted with others for good.
    Seat(Label, bool),
    /// The watermark of an entry; only in a copy of the whole book.
    Mark(InboundKey, EdgeCounters),
    /// What is settled; only in a copy of the whole book.
    Total(Source, Account, EdgeCounters),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundBook {
    clients: BTreeMap<ClientId, Label>,
    endpoints: BTreeMap<EndpointId, Account>,
    marks: BTreeMap<InboundKey, EdgeCounters>,
    settled: Edges,
    own: BTreeSet<Label>,
    others: BTreeSet<Label>,
}

impl InboundBook {
    /// Applies a step.
    pub fn apply(&mut self, step: &InboundStep) {
        match step {
            InboundStep::Client(id, Some(name)) => drop(self.clients.insert(*id, name.clone())),
            InboundStep::Client(id, None) => drop(self.clients.remove(id)),
            InboundStep::Endpoint(id, Some(account)) => {
                self.endpoints.insert(*id, account.clone());
            }
            InboundStep::Endpoint(id, None) => drop(self.endpoints.remove(id)),
            InboundStep::Settle(key, raw) => {
                let counted = self.counted(key, raw);
                if counted != EdgeCounters::ZERO {
                    let (source, account) = (self.source(key.client), self.account(key.endpoint));
                    add(&mut self.settled, source, &account, &counted);
                    self.marks.insert(*key, *raw);
                }
            }
            InboundStep::Drop(key) => drop(self.marks.remove(key)),
            InboundStep::Seat(name, true) => drop(self.own.insert(name.clone())),
            InboundStep::Seat(name, false) => drop(self.others.insert(name.clone())),
            InboundStep::Mark(key, raw) => drop(self.marks.insert(*key, *raw)),
            InboundStep::Total(source, account, total) => {
                self.settled.insert((source.clone(), account.clone()), *total);
            }
        }
    }

    /// What an entry has counted and is not settled, given what the kernel says.
    #[must_use]
    pub fn counted(&self, key: &InboundKey, raw: &EdgeCounters) -> EdgeCounters {
        self.marks.get(key).map_or(*raw, |mark| raw.beyond(mark))
    }

    /// Who is counted for an endpoint; nobody where that was forgotten.
    #[must_use]
    pub fn account(&self, id: EndpointId) -> Account {
        self.endpoints.get(&id).cloned().unwrap_or_default()
    }

    /// Who a client is.
    #[must_use]
    pub fn source(&self, id: ClientId) -> Source {
        self.clients.get(&id).cloned().map_or(Source::Unknown, Source::Workload)
    }

    /// Clients that have rows of their own, and those that are counted with others.
    #[must_use]
    pub const fn seats(&self) -> (&BTreeSet<Label>, &BTreeSet<Label>) {
        (&self.own, &self.others)
    }

    /// Names of clients that something may be counted for.
    #[must_use]
    pub const fn clients(&self) -> &BTreeMap<ClientId, Label> {
        &self.clients
    }

    /// Endpoints that something may be counted for.
    #[must_use]
    pub const fn endpoints(&self) -> &BTreeMap<EndpointId, Account> {
        &self.endpoints
    }

    /// Entries with a watermark.
    pub fn marks(&self) -> impl Iterator<Item = &InboundKey> {
        self.marks.keys()
    }

    /// What is settled.
    #[must_use]
    pub const fn settled(&self) -> &Edges {
        &self.settled
    }

    /// Steps that make this book out of an empty one.
    pub fn steps(&self) -> impl Iterator<Item = InboundStep> {
        let total = |((source, account), total): (&(Source, Account), &EdgeCounters)| {
            InboundStep::Total(source.clone(), account.clone(), *total)
        };
        let client = |(id, name): (&ClientId, &Label)| InboundStep::Client(*id, Some(name.clone()));
        let endpoint = |(id, account): (&EndpointId, &Account)| {
            InboundStep::Endpoint(*id, Some(account.clone()))
        };
        let mark = |(key, mark): (&InboundKey, &EdgeCounters)| InboundStep::Mark(*key, *mark);
        let totals = self.settled.iter().map(total);
        let names = self.clients.iter().map(client).chain(self.endpoints.iter().map(endpoint));
        let own = self.own.iter().map(|name| InboundStep::Seat(name.clone(), true));
        let others = self.others.iter().map(|name| InboundStep::Seat(name.clone(), false));
        totals.chain(names).chain(self.marks.iter().map(mark)).chain(own).chain(others)
    }
}
