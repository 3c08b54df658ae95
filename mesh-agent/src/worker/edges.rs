//! Reads the counters of connections, as a whole and by client, so that both agree.

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
    /// Entries of the map.
    pub(super) used: usize,
}

/// What is kept between two readings.
#[derive(Debug, Default)]
pub(super) struct Clients {
    rest: Rest,
}

impl Clients {
    pub(super) fn read(
        &mut self,
        reconciler: &mut Reconciler<KernelMaps>,
    ) -> Result<Counted, MapError> {
        let mut before = reconciler.totals()?;
        let mut tries = 0;
        loop {
            let raw = reconciler.maps().edges()?;
            let totals = reconciler.totals()?;
            tries += 1;
            if totals != before && tries < TRIES {
                before = totals;
                continue;
            }
            let edges = reconciler.edges(&raw);
            let rows = self.rest.rows(&before, &edges, &totals);
            return Ok(Counted { totals, rows, used: raw.len() });
        }
    }
}
