//! What the worker tells about the maps: counters, usage, and what is wrong.

use std::collections::BTreeMap;
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
use crate::ledger::{Account, Totals};
use crate::maps::kernel::{KernelMaps, conns};
use crate::maps::{MapError, MapStore as _};
use crate::reconcile::Reconciler;
use crate::sockets;

/// What the worker knows about the maps.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Connections by who is counted.
    pub totals: Totals,
    /// The same, also by who makes them.
    pub edges: Rows,
    /// How many workloads `edges` tells apart, and how many it counts together.
    pub sources: (usize, usize),
    /// Connections that no backend could take, by service.
    pub without_backend: BTreeMap<Account, ServiceCounters>,
    /// Exits of the programs by reason.
    pub reasons: Vec<(&'static str, u64)>,
    /// Map name, entries used, entries possible.
    pub usage: Vec<(&'static str, u64, u64)>,
    /// What is rejected now.
    pub rejections: Vec<Rejection>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Sockets of removed endpoints, by what became of them.
    pub ended: sockets::Totals,
    /// Whether connections are accelerated now, because a service asks for it.
    pub accelerating: bool,
    /// Accelerated connections that are open.
    pub accelerated: Live,
    /// Writes to the maps since the start.
    pub writes: u64,
    /// Times the maps could not be written.
    pub failures: u64,
    /// Whether everything is counted for whom it will be: until the maps have been brought to what the
    /// agent knows, nobody knows whose some entries are.
    pub settled: bool,
    /// How long reading all this took, during which the worker did nothing else.
    pub took: Duration,
}

/// Reads everything.
pub(super) fn stats(state: &mut Maps, clients: &mut Clients) -> Result<Stats, MapError> {
    let began = Instant::now();
    let Counted { totals, rows, used } = clients.read(&mut state.reconciler)?;
    let reconciler = &state.reconciler;
    let maps = reconciler.maps();
    let journal = reconciler.journal();
    // The canary's refusals are nobody's connections.
    let mut own = ServiceCounters::default();
    for index in reconciler.canary().services.keys() {
        own = own.plus(journal.counted_service(index, maps.service_counters(index)?));
    }
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
    usage.push((names::CONNS, conns::used(&state.pin_path)?, u64::from(limits::CONNS)));
    Ok(Stats {
        totals,
        edges: rows,
        sources: reconciler.sources(),
        without_backend: reconciler.without_backend()?,
        reasons: maps.reasons()?.into_iter().map(reason).collect(),
        usage,
        rejections: report.rejections.clone(),
        warnings: report.warnings.iter().chain(&state.enrol_warnings).cloned().collect(),
        ended: state.upkeep.ended(),
        accelerating: reconciler.actual().accelerating,
        accelerated: maps.accelerated(&state.pin_path)?,
        writes: state.writes,
        failures: state.failures,
        settled: reconciler.is_installed(),
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
