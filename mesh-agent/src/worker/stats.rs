//! What the worker tells about the maps: counters, usage, and what is wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_common::counter::ServiceCounters;
use mesh_common::limits;
use mesh_common::names;
use mesh_common::reason::Reason;

use super::Maps;
use super::edges::{Clients, Counted};
use crate::accel::live::Live;
use crate::compile::{Limits, Rejection};
use crate::edges::Rows;
use crate::edges::refusals::{Refusals, Wholes};
use crate::ledger::{Move, Totals};
use crate::maps::kernel::{KernelMaps, conns};
use crate::maps::{MapError, MapStore as _};
use crate::proxy::course::Counts;
use crate::reconcile::Reconciler;
use crate::sockets;

/// What the worker knows about the maps.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Connections by who is counted.
    pub totals: Totals,
    /// The same, also by who makes them.
    pub edges: Rows,
    /// Connections to this node's endpoints, by who makes them and who is counted.
    pub inbound: Rows,
    /// How many workloads `edges` tells apart, and how many it counts together.
    pub sources: (usize, usize),
    /// What is counted among others since who has to be told has not answered yet, and the number of
    /// the last such move.
    pub moves: (Vec<Move>, u64),
    /// Edges whose counts are kept outside the map, and whether these are on disk.
    pub settled_edges: (usize, bool),
    /// Connections that no backend could take, by service.
    pub without_backend: Wholes,
    /// Those of them that were refused, by who asked and why.
    pub refusals: Refusals,
    /// Exits of the programs by reason.
    pub reasons: Vec<(&'static str, u64)>,
    /// Map name, entries used, entries possible.
    pub usage: Vec<(&'static str, u64, u64)>,
    /// What is rejected now.
    pub rejections: Vec<Rejection>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// How many services with rules for requests go which way.
    pub proxied: Counts,
    /// Sockets of removed endpoints, by what became of them.
    pub ended: sockets::Totals,
    /// Whether connections are accelerated now, because a service asks for it.
    pub accelerating: bool,
    /// Accelerated connections that are open.
    pub accelerated: Live,
    /// Who looks at connections as they come and go.
    pub taps: usize,
    /// Writes to the maps since the start.
    pub writes: u64,
    /// Times the maps could not be written.
    pub failures: u64,
    /// Whether everything is counted for whom it will be: until the maps have been brought to what the
    /// agent knows, and after a write has failed, nobody knows whose some entries are. Then connections
    /// must not be told.
    pub settled: bool,
    /// How long reading all this took, during which the worker did nothing else.
    pub took: Duration,
}

/// What was read last, for whoever asks soon after: reports and scrapes need not both read it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    last: Option<(Instant, Arc<Stats>)>,
}

impl Shared {
    /// What was read last, unless it is old; otherwise it is read.
    pub(super) fn read(
        &mut self,
        state: &mut Maps,
        clients: &mut Clients,
    ) -> Result<Arc<Stats>, MapError> {
        if let Some((at, stats)) = &self.last
            && is_young(at.elapsed(), stats.took)
        {
            return Ok(Arc::clone(stats));
        }
        self.forget();
        let read = Arc::new(stats(state, clients)?);
        self.last = Some((Instant::now(), Arc::clone(&read)));
        Ok(read)
    }

    /// The maps have changed: whoever knows that expects to see it.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

/// Whether what took so long to read need not be read again: for twenty times as long, and a second
/// at the most. Where it takes no time, nobody gets what is old.
fn is_young(age: Duration, took: Duration) -> bool {
    age < took.saturating_mul(20).min(Duration::from_secs(1))
}

/// Reads everything.
fn stats(state: &mut Maps, clients: &mut Clients) -> Result<Stats, MapError> {
    let began = Instant::now();
    let Counted { totals, rows, without_backend, refusals, used, refused } =
        clients.read(&mut state.reconciler)?;
    let (inbound, arrived) = state.reconciler.inbound()?;
    let reconciler = &state.reconciler;
    let maps = reconciler.maps();
    let journal = reconciler.journal();
    // The canary's refusals are nobody's connections.
    let mut own = ServiceCounters::default();
    for index in reconciler.canary().services.keys() {
        own = own.plus(journal.counted_service(index, maps.service_counters(index)?));
    }
    let (moves, last_move) = journal.edges().moves();
    let reason = |(reason, name, raw)| {
        let count = journal.counted_reason(reason, raw).count;
        let own = if reason == Reason::NO_BACKEND_REFUSED { own.refused } else { 0 };
        (name, count.saturating_sub(own))
    };
    let report = reconciler.report();
    let mut usage = usage(reconciler, maps.limits());
    usage.extend(state.enrol.usage());
    usage.push(state.upkeep.usage());
    usage.push((names::EDGES, u64::try_from(used).unwrap_or(u64::MAX), maps.most_edges().into()));
    usage.push((
        names::INBOUND,
        u64::try_from(arrived).unwrap_or(u64::MAX),
        u64::from(limits::MAX_INBOUND),
    ));
    usage.push((
        names::REFUSALS,
        u64::try_from(refused).unwrap_or(u64::MAX),
        u64::from(limits::MAX_REFUSALS),
    ));
    usage.push((names::CONNS, conns::used(&state.pin_path)?, u64::from(limits::CONNS)));
    Ok(Stats {
        totals,
        edges: rows,
        inbound,
        sources: reconciler.sources(),
        moves: (moves.iter().cloned().collect(), last_move),
        settled_edges: (journal.edges().settled().len(), journal.is_written()),
        without_backend,
        refusals,
        reasons: maps.reasons()?.into_iter().map(reason).collect(),
        usage,
        rejections: report.rejections.clone(),
        warnings: report.warnings.iter().chain(&state.enrol_warnings).cloned().collect(),
        proxied: reconciler.proxied(),
        ended: state.upkeep.ended(),
        accelerating: reconciler.actual().accelerating,
        accelerated: maps.accelerated(&state.pin_path)?,
        taps: state.taps,
        writes: state.writes,
        failures: state.failures,
        settled: reconciler.is_settled(),
        took: began.elapsed(),
    })
}

/// How full the maps are, without the canary's entries.
fn usage(reconciler: &Reconciler<KernelMaps>, limits: Limits) -> Vec<(&'static str, u64, u64)> {
    let image = reconciler.actual();
    let entry = |map, used: usize, limit: u32| {
        (map, u64::try_from(used).unwrap_or(u64::MAX), u64::from(limit))
    };
    vec![
        entry(names::FRONTENDS, image.frontends.len(), limits.frontends),
        entry(names::SERVICES, image.services.len(), limits.services),
        entry(names::SLOTS, image.slots.len(), limits.slots),
        entry(names::BACKENDS, image.backends.len(), limits.backends),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cheap_is_read_again_soon() {
        let millis = Duration::from_millis;
        assert!(is_young(millis(900), millis(50)));
        assert!(!is_young(millis(1_000), millis(500)));
        assert!(is_young(millis(9), millis(1)) && !is_young(millis(20), millis(1)));
        assert!(!is_young(Duration::ZERO, Duration::ZERO));
    }
}
