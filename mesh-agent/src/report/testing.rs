//! Stats of a node that has counted nothing, for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::accel::live::Live;
use crate::edges::Rows;
use crate::ledger::Totals;
use crate::sockets;
use crate::worker::Stats;

pub(super) fn stats() -> Stats {
    Stats {
        totals: Totals::new(),
        edges: Rows::default(),
        sources: (0, 0),
        without_backend: BTreeMap::new(),
        reasons: Vec::new(),
        usage: Vec::new(),
        rejections: Vec::new(),
        warnings: Vec::new(),
        ended: sockets::Totals::default(),
        accelerating: false,
        accelerated: Live::default(),
        writes: 0,
        failures: 0,
        took: Duration::ZERO,
    }
}
