//! Reads the counters of connections, as a whole and by client, so that both agree.

use crate::edges::refusals::{RefusalRest, Refusals, Wholes};
use crate::edges::{Rest, Rows};
use crate::ledger::Totals;
use crate::maps::kernel::KernelMaps;
use crate::maps::{MapError, MapStore as _};
use crate::reconcile::Reconciler;

/// How often it reads again while connections are counted; what it has then is within bounds.
const TRIES: usize = 3;

/// What was read.
pub(super) struct Counted {
    pub(super) totals: Totals,
    pub(super) rows: Rows,
    /// What no backend could take, and who was refused.
    pub(super) without_backend: Wholes,
    pub(super) refusals: Refusals,
    /// Entries of the maps.
    pub(super) used: usize,
    pub(super) refused: usize,
}

/// What is kept between two readings.
#[derive(Debug)]
pub(super) struct Clients {
    rest: Rest,
    refusals: RefusalRest,
}

impl Clients {
    /// Goes on from what an earlier agent has told.
    pub(super) fn new(reconciler: &Reconciler<KernelMaps>) -> Self {
        Self { rest: reconciler.kept_rest(), refusals: reconciler.kept_refusal_rest() }
    }

    pub(super) fn read(
        &mut self,
        reconciler: &mut Reconciler<KernelMaps>,
    ) -> Result<Counted, MapError> {
        let mut before = reconciler.raw()?;
        let mut tries = 0;
        loop {
            let raw = reconciler.maps().edges()?;
            let refused = reconciler.maps().refusals()?;
            let after = reconciler.raw()?;
            tries += 1;
            let is_same = before == after;
            if !is_same && tries < TRIES {
                before = after;
                continue;
            }
            let wholes = |raw| (reconciler.totals(raw), reconciler.without_backend(raw));
            let (totals, without_backend) = wholes(&after);
            let earlier = (!is_same).then(|| wholes(&before));
            let (least, least_without) =
                earlier.as_ref().map_or((&totals, &without_backend), |(a, b)| (a, b));
            let (edges, refusals) = reconciler.clients(&raw, &refused);
            let rows = self.rest.rows(least, &edges, &totals);
            reconciler.keep_rest(&self.rest, &edges);
            let rest = &mut self.refusals;
            let parts = refusals;
            let refusals = rest.rows(least_without, &parts, &without_backend);
            reconciler.keep_refusal_rest(rest, &parts);
            let (used, refused) = (raw.len(), refused.len());
            return Ok(Counted { totals, rows, without_backend, refusals, used, refused });
        }
    }
}
