//! Who is counted for what the kernel counts by client, and what becomes of it when backends and
//! clients go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_common::backend::BackendIndex;
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::refusal::{RefusalCounters, RefusalKey};

use super::{Reconciler, refusals};
use crate::edges::refusals::Refusals;
use crate::edges::{Edges, Rest, add, uses};
use crate::ledger::{Account, EdgeStep};
use crate::maps::{MapError, MapStore};

/// How often the map is looked through.
const SWEEP: Duration = Duration::from_secs(10);
/// How long an edge whose client has gone must have been as it is, with no connection open: longer
/// than a connect can be under way.
const QUIET: Duration = Duration::from_mins(3);

/// What the kernel says.
type Raw = [(EdgeKey, EdgeCounters)];

/// What is kept between two sweeps.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    last: Option<Duration>,
    /// Edges whose client has gone: since when they have been as they are.
    idle: BTreeMap<EdgeKey, (EdgeCounters, Duration)>,
    /// Refusals of clients that have gone, as they were.
    pub(super) refused: BTreeMap<RefusalKey, RefusalCounters>,
}

/// Cgroups that the maps had something of when they were last read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    edges: BTreeSet<u64>,
    refusals: BTreeSet<u64>,
}

impl<M: MapStore> Reconciler<M> {
    /// Finds out about cgroups that have just been made, as long as they are there.
    pub fn meet(&mut self, cgroups: impl Iterator<Item = u64>) {
        self.names.meet(cgroups);
    }

    /// What is counted by client, by who is counted, where nothing was refused.
    pub fn edges(&mut self, raw: &Raw) -> Edges {
        self.clients(raw, &[]).0
    }

    /// What is counted and what was refused by client, by who is counted; `raw` and `refused` are what
    /// the kernel says now.
    pub fn clients(&mut self, raw: &Raw, refused: &refusals::Raw) -> (Edges, Refusals) {
        self.see_edges(raw);
        self.see_refusals(refused);
        self.follow();
        let mut edges = self.journal.edges().settled().clone();
        for (key, counters) in raw {
            if let Some(account) = self.edge_account(key) {
                let counted = self.journal.edges().counted(key, counters);
                add(&mut edges, self.names.source(key.cgroup), &account, &counted);
            }
        }
        let mut refusals = self.refusals(refused);
        let ids = self.seen.edges.union(&self.seen.refusals);
        let live = ids.filter_map(|id| self.names.name(*id).cloned()).collect();
        let seats = self.roster.admit(uses(&edges, &refusals), &live);
        self.roster.put_together(&mut edges, &seats);
        self.roster.put_together(&mut refusals, &seats);
        for seat in seats {
            self.journal.enter_edge(EdgeStep::Seat(seat));
        }
        self.commit();
        (edges, refusals)
    }

    fn see_edges(&mut self, raw: &Raw) {
        self.seen.edges = raw.iter().map(|(key, _)| key.cgroup).collect();
    }

    pub(super) fn see_refusals(&mut self, raw: &refusals::Raw) {
        self.seen.refusals = raw.iter().map(|(key, _)| key.cgroup).collect();
    }

    /// What earlier agents told as nobody's.
    pub fn kept_rest(&self) -> Rest {
        Rest::kept(self.journal.edges().rest())
    }

    /// Keeps what is told as nobody's, given the edges it was made of.
    pub fn keep_rest(&mut self, rest: &Rest, edges: &Edges) {
        let news = rest.news(self.journal.edges().rest(), edges);
        if !news.is_empty() {
            for (account, numbers) in news {
                self.journal.enter_edge(EdgeStep::Rest(account, numbers));
            }
            self.commit();
        }
    }

    /// Who has to be told knows the moves up to this number.
    pub fn moves_told(&mut self, number: u64) {
        if !self.journal.edges().moves().0.is_empty() {
            self.journal.enter_edge(EdgeStep::Told(number));
            self.commit();
        }
    }

    /// How many workloads are told apart, and how many are counted together.
    pub fn sources(&self) -> (usize, usize) {
        self.roster.size()
    }

    /// Who is counted for an edge; `None` where its backend is not the one in the maps.
    fn edge_account(&self, key: &EdgeKey) -> Option<Account> {
        self.is_live(key).then(|| self.account(key.backend))
    }

    fn is_live(&self, key: &EdgeKey) -> bool {
        let backend = self.state.actual.backends.get(&key.backend);
        backend.is_some_and(|backend| backend.generation == key.generation)
    }

    /// Who is counted for a backend in the maps.
    pub(super) fn account(&self, index: BackendIndex) -> Account {
        let left = self.journal.leaver(index).cloned();
        left.or_else(|| self.state.account(index)).unwrap_or_default()
    }

    /// Finds out who the clients are, and keeps it for when they have gone.
    pub(super) fn follow(&mut self) {
        let ids: BTreeSet<u64> = self.seen.edges.union(&self.seen.refusals).copied().collect();
        self.names.follow(&ids);
        let noted = self.journal.edges().names();
        let gone = noted.keys().filter(|id| !ids.contains(id));
        let mut steps: Vec<_> = gone.map(|id| EdgeStep::Name(*id, None)).collect();
        for id in ids.iter().filter(|id| !noted.contains_key(id)) {
            if let Some(name) = self.names.name(*id) {
                steps.push(EdgeStep::Name(*id, Some(name.clone())));
            }
        }
        if !steps.is_empty() {
            for step in steps {
                self.journal.enter_edge(step);
            }
            self.commit();
        }
    }

    /// What these backends' edges have counted is for these accounts, which is not to be told from
    /// the backend any more. To be called before the backends' counters are read: whoever is
    /// counted by client has been counted there.
    pub(super) fn settle_edges(
        &mut self,
        accounts: &BTreeMap<BackendIndex, Account>,
    ) -> Result<(), MapError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let raw = self.maps.edges()?;
        self.see_edges(&raw);
        self.follow();
        for (key, counters) in &raw {
            if let Some(account) = accounts.get(&key.backend) {
                self.settle_edge(key, account.clone(), counters);
            }
        }
        Ok(())
    }

    fn settle_edge(&mut self, key: &EdgeKey, account: Account, raw: &EdgeCounters) {
        if self.journal.edges().counted(key, raw) != EdgeCounters::ZERO {
            let source = self.roster.source(self.names.source(key.cgroup));
            self.journal.enter_edge(EdgeStep::Settle(*key, source, account, *raw));
        }
    }

    /// Takes over the map of edges from an earlier agent.
    pub(super) fn adopt_edges(&mut self) -> Result<(), MapError> {
        let raw = self.maps.edges()?;
        self.see_edges(&raw);
        // Where they were settled without their edges, nobody knows who was counted for these: it
        // stays unknown who has made those connections.
        if self.journal.edges_are_new() {
            let dead: Vec<EdgeKey> =
                raw.iter().map(|(key, _)| *key).filter(|key| !self.is_live(key)).collect();
            return self.maps.delete_edges(&dead);
        }
        self.drop_stale(&raw);
        self.commit();
        Ok(())
    }

    /// Drops watermarks of edges that were deleted without a word, also where the key has come back
    /// since, at 0.
    fn drop_stale(&mut self, raw: &Raw) {
        let raw: BTreeMap<_, _> = raw.iter().copied().collect();
        let is_stale = |(key, mark): &(&EdgeKey, &EdgeCounters)| {
            raw.get(key).is_none_or(|raw| fell(mark, raw))
        };
        let stale = self.journal.edges().marks().filter(is_stale);
        let stale: Vec<EdgeKey> = stale.map(|(key, _)| *key).collect();
        for key in stale {
            self.journal.enter_edge(EdgeStep::Drop(key));
        }
    }

    /// Takes edges and refusals out of their maps that nothing is counted for any more. `now` is the
    /// time since any fixed moment.
    pub fn sweep_edges(&mut self, now: Duration) -> Result<(), MapError> {
        if self.unsure || self.sweep.last.is_some_and(|last| now < last + SWEEP) {
            return Ok(());
        }
        self.sweep.last = Some(now);
        let raw = self.maps.edges()?;
        let refused = self.maps.refusals()?;
        self.see_edges(&raw);
        self.see_refusals(&refused);
        self.follow();
        self.drop_stale(&raw);
        self.drop_stale_refusals(&refused);
        // Settled with their backend, or the canary's.
        let mut done: Vec<EdgeKey> =
            raw.iter().map(|(key, _)| *key).filter(|key| !self.is_live(key)).collect();
        let quiet = self.quiet(&raw, now);
        for (key, counters) in &quiet {
            if let Some(account) = self.edge_account(key) {
                self.settle_edge(key, account, counters);
                done.push(*key);
            }
        }
        let unused = self.unused_refusals(&refused);
        // Also where nobody asks for numbers, who is settled is not without bound.
        self.clients(&raw, &refused);
        // Only what is on disk may go from the map.
        if !self.commit() {
            return Ok(());
        }
        self.discard_refusals(&unused)?;
        if done.is_empty() {
            return Ok(());
        }
        self.maps.delete_edges(&done)?;
        let marked: BTreeSet<EdgeKey> = self.journal.edges().marks().map(|(key, _)| *key).collect();
        for key in done.into_iter().filter(|key| marked.contains(key)) {
            self.journal.enter_edge(EdgeStep::Drop(key));
        }
        self.commit();
        Ok(())
    }

    /// Edges of clients that have gone, without a connection, and for long enough.
    fn quiet(&mut self, raw: &Raw, now: Duration) -> Vec<(EdgeKey, EdgeCounters)> {
        let gone = self.names.gone(&raw.iter().map(|(key, _)| key.cgroup).collect());
        let mut idle = BTreeMap::new();
        let mut quiet = Vec::new();
        for (key, counters) in raw {
            // There may have been no room for one that was opened, and some when it ended.
            if counters.opened > counters.closed || !gone.contains(&key.cgroup) {
                continue;
            }
            let before = self.sweep.idle.get(key).filter(|(before, _)| before == counters);
            let since = before.map_or(now, |(_, since)| *since);
            if now >= since + QUIET {
                quiet.push((*key, *counters));
            } else {
                idle.insert(*key, (*counters, since));
            }
        }
        self.sweep.idle = idle;
        quiet
    }
}

/// Whether counters are lower than they have been.
fn fell(mark: &EdgeCounters, raw: &EdgeCounters) -> bool {
    use crate::ledger::Count as _;
    mark.numbers().into_iter().zip(raw.numbers()).any(|(mark, raw)| raw < mark)
}
