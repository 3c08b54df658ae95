//! Services, nodes and edges at one time: put together from all that the control plane knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesh_api::convert::milliseconds;
use mesh_api::model::{EndpointState, Kind, Object, ObjectName};
use mesh_api::wire;
use tonic::Code;

use super::Sources;
use super::delta::{Rows, Shared};
use super::rows::{Edge, Node, Port, Rejection, Report, Service, Summary};
use crate::health::book::Tally;
use crate::world::World;
use crate::xds::NodeState;

/// For so long a survey serves all pages.
pub(super) const AGE: Duration = Duration::from_millis(900);
/// Time that rates are over.
const WINDOW_MS: u64 = 10_000;
/// Most workloads of a service that are named.
const MAX_WORKLOADS: usize = 64;

/// All that the page shows at first.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) summary: Summary,
    pub(super) services: Rows<Service>,
    pub(super) nodes: Rows<Node>,
    pub(super) edges: Rows<Edge>,
}

/// Now, by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    unix: Duration,
}

impl Now {
    pub(super) fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix }
    }

    /// Whole seconds of Unix time.
    fn unix_at(self, at: Instant) -> u64 {
        let ago = self.instant.saturating_duration_since(at);
        // To the nearest, so that two readings of the clocks come to the same.
        (self.unix.saturating_sub(ago) + Duration::from_millis(500)).as_secs()
    }
}

impl Survey {
    pub(super) async fn take(sources: &Sources) -> Self {
        let traffic = traffic(sources).await;
        let now = Now::read();
        let world = Arc::clone(&sources.worlds.borrow());
        let Traffic { edges, stale_nodes, series_omitted, trouble } = traffic;
        let summary = Summary {
            time_ms: milliseconds(now.unix),
            version: env!("CARGO_PKG_VERSION"),
            revision: world.revision(),
            endpoints: world.count(Kind::Endpoint),
            service_configs: world.count(Kind::ServiceConfig),
            window_ms: WINDOW_MS,
            stale_nodes,
            series_omitted,
            trouble,
        };
        let tallies = sources.health.tallies(now.instant);
        let mut services = services(&world, &tallies);
        guards(&mut services, &sources.health.guards());
        let services = services.into_iter();
        let shared = |(name, service): (ObjectName, Service)| (name.to_string(), share(service));
        Self {
            services: services.map(shared).collect(),
            nodes: nodes(sources, world.revision(), now),
            edges,
            summary,
        }
    }
}

fn share<T>(row: T) -> Shared<T> {
    Shared(Arc::new(row))
}

struct Traffic {
    edges: Rows<Edge>,
    stale_nodes: Vec<String>,
    series_omitted: u64,
    trouble: String,
}

/// Who connects to what. Where that is too much, what all services have, without who connects.
async fn traffic(sources: &Sources) -> Traffic {
    let by = |by: wire::GroupBy| wire::StatRequest {
        by: by.into(),
        window_ms: WINDOW_MS,
        ..wire::StatRequest::default()
    };
    let mut trouble = String::new();
    let mut stat = sources.telemetry.stat_once(by(wire::GroupBy::Edge)).await;
    if let Err(status) = &stat
        && status.code() == Code::FailedPrecondition
    {
        "There are too many edges to show: rows are whole services.".clone_into(&mut trouble);
        stat = sources.telemetry.stat_once(by(wire::GroupBy::Service)).await;
    }
    let wire::StatResponse { rows, stale_nodes, series_omitted } = stat.unwrap_or_else(|status| {
        status.message().clone_into(&mut trouble);
        wire::StatResponse::default()
    });
    let edges = rows.into_iter().map(|row| {
        let edge = row.edge.clone().unwrap_or_default();
        let name = format!("{}/{} {}", edge.namespace, edge.service, edge.source_workload);
        (name, share(Edge::from(row)))
    });
    Traffic { edges: edges.collect(), stale_nodes, series_omitted, trouble }
}

fn services(world: &World, tallies: &BTreeMap<ObjectName, Tally>) -> BTreeMap<ObjectName, Service> {
    let mut services = BTreeMap::new();
    for stored in world.list(Kind::Service, None) {
        if let Object::Service(it) = &stored.object {
            let tally = tallies.get(&it.name).copied().unwrap_or_default();
            let ports = it.ports.iter().map(|port| Port {
                name: port.name.to_string(),
                number: port.port.get(),
                target: port.target_port.get(),
                protocol: port.protocol.as_str(),
            });
            let versions = world.versions(&it.name).flatten();
            let row = Service {
                namespace: it.name.namespace.to_string(),
                name: it.name.name.to_string(),
                vips: it.vips.iter().map(ToString::to_string).collect(),
                ports: ports.collect(),
                healthy: tally.healthy,
                unhealthy: tally.unhealthy,
                unknown: tally.unknown,
                versions: versions.map(ToString::to_string).collect(),
                ..Service::default()
            };
            services.insert(it.name.clone(), row);
        }
    }
    let mut workloads: BTreeMap<&ObjectName, BTreeSet<&str>> = BTreeMap::new();
    for stored in world.list(Kind::Endpoint, None) {
        if let Object::Endpoint(it) = &stored.object
            && let Some(row) = services.get_mut(&it.service)
        {
            row.endpoints += 1;
            row.draining += usize::from(it.state == EndpointState::Draining);
            if let Some(workload) = &it.workload {
                workloads.entry(&it.service).or_default().insert(workload.as_str());
            }
        }
    }
    for (service, names) in workloads {
        if let Some(row) = services.get_mut(service) {
            row.workloads = names.into_iter().take(MAX_WORKLOADS).map(str::to_owned).collect();
        }
    }
    services
}

fn guards(services: &mut BTreeMap<ObjectName, Service>, nodes: &[wire::NodeGuards]) {
    for guard in nodes.iter().flat_map(|node| &node.guards) {
        let name = format!("{}/{}", guard.namespace, guard.service).parse::<ObjectName>();
        let Some(row) = name.ok().and_then(|name| services.get_mut(&name)) else { continue };
        match guard.state() {
            wire::GuardState::Open | wire::GuardState::HalfOpen => row.breakers += 1,
            wire::GuardState::Ejected => row.ejections += 1,
            wire::GuardState::Unspecified => {}
        }
    }
}

/// Nodes that have connected, and those that report.
fn nodes(sources: &Sources, revision: u64, now: Now) -> Rows<Node> {
    let table = sources.nodes.lock();
    let rows = table.nodes().map(|(name, it)| (name.clone(), node(name, it, revision, now)));
    let mut rows: BTreeMap<String, Node> = rows.collect();
    drop(table);
    sources.telemetry.book().each_reporter(now.instant, |it| {
        let row = rows.entry(it.node.to_owned()).or_insert_with(|| Node {
            name: it.node.to_owned(),
            state: "unknown",
            ..Node::default()
        });
        row.report = Some(Report {
            run: it.run.to_owned(),
            age_s: it.age.as_secs(),
            late: it.late,
            omitted: it.omitted,
        });
    });
    rows.into_iter().map(|(name, row)| (name, share(row))).collect()
}

fn node(name: &str, it: &NodeState, revision: u64, now: Now) -> Node {
    let live = it.live.map_or(0, |(live, _)| live);
    let rejections = it
        .rejections
        .iter()
        .map(|(revision, message)| Rejection { revision: *revision, message: message.clone() });
    Node {
        name: name.to_owned(),
        version: it.version.clone(),
        state: state(it, live, revision),
        connected: it.connected,
        since_s: now.unix_at(it.since),
        sent: it.sent,
        live,
        live_at_s: it.live.map_or(0, |(_, at)| now.unix_at(at)),
        rejections: rejections.collect(),
        report: None,
    }
}

/// As `meshctl status` has it.
const fn state(it: &NodeState, live: u64, revision: u64) -> &'static str {
    if !it.connected {
        "away"
    } else if !it.rejections.is_empty() {
        "rejects"
    } else if live >= revision {
        "live"
    } else {
        "behind"
    }
}
