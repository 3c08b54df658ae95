//! All about one service or one node, as server-sent events: `detail` every second, `series` as
//! often as there can be a new point.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::sse::Event;
use futures::Stream;
use mesh_api::convert::milliseconds;
use mesh_api::manifest::duration::parse_duration;
use mesh_api::model::{Endpoint, EndpointState, Kind, Label, Object, ObjectName, ObjectRef};
use mesh_api::wire;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::rows::Edge;
use super::{Refusal, Sources, events};
use crate::api::telemetry::json::Series;

/// Most endpoints that are listed.
const MAX_ENDPOINTS: usize = 500;
/// Points of a plot.
const POINTS: u32 = 180;
/// Time of a plot, if it is not said, and the least and most.
const RANGE: Duration = Duration::from_mins(15);
const RANGES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));
/// Shortest time between two plots.
const PLOT: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    service: String,
    node: String,
    range: String,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    of: Of,
    range: Duration,
}

#[derive(Clone, Debug)]
enum Of {
    Service(ObjectName),
    Node(Label),
}

impl Asked {
    pub(super) fn subject(self) -> Result<Subject, Refusal> {
        let Self { service, node, range } = self;
        let wrong = |what: &str, text: &str, error: &dyn std::fmt::Display| {
            Refusal::Wrong(format!("{what}={text}: {error}"))
        };
        let of = if service.is_empty() {
            Of::Node(node.parse().map_err(|error| wrong("node", &node, &error))?)
        } else {
            Of::Service(service.parse().map_err(|error| wrong("service", &service, &error))?)
        };
        let known = |it: &Duration| (RANGES.0..=RANGES.1).contains(it);
        let range = match range.as_str() {
            "" => RANGE,
            text => parse_duration(text)
                .filter(known)
                .ok_or_else(|| wrong("range", text, &"write a time of 1m to 24h"))?,
        };
        Ok(Subject { of, range })
    }
}

#[derive(Debug, Serialize)]
struct Detail {
    /// Whether there is such a service or node now.
    exists: bool,
    endpoints: Vec<Instance>,
    /// Endpoints that are not listed.
    endpoints_omitted: usize,
    guards: Vec<Guard>,
    rules: Vec<Rule>,
    /// What was counted, by version of the service.
    versions: Vec<Edge>,
    /// The same by the endpoints' workloads.
    workloads: Vec<Edge>,
    /// What clients of the node connect to.
    edges: Vec<Edge>,
}

#[derive(Debug, Serialize)]
struct Instance {
    namespace: String,
    name: String,
    service: String,
    version: String,
    address: String,
    node: String,
    workload: String,
    zone: String,
    weight: u32,
    draining: bool,
    /// `healthy`, `unhealthy`, `unknown`, or `unchecked`.
    health: &'static str,
    reason: String,
    /// Who says so.
    source: String,
    since_ms: u64,
}

#[derive(Debug, Serialize)]
struct Guard {
    node: String,
    namespace: String,
    service: String,
    port: u32,
    endpoint: String,
    state: &'static str,
    cause: String,
    since_ms: u64,
    remaining_ms: u64,
}

#[derive(Debug, Serialize)]
struct Rule {
    service: String,
    version: String,
    weight: u32,
}

struct Feed {
    subject: Subject,
    sources: Sources,
    shutdown: CancellationToken,
    ticks: Interval,
    /// When the next plot is due.
    plot: Instant,
    plot_next: bool,
    _place: OwnedSemaphorePermit,
}

/// Ends with the shutdown.
pub(super) fn events(
    subject: Subject,
    sources: Sources,
    shutdown: CancellationToken,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let (ticks, plot) = (events::ticks(), Instant::now());
    let feed = Feed { subject, sources, shutdown, ticks, plot, plot_next: false, _place: place };
    futures::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    })
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.plot_next) {
            let series = self.subject.series(&self.sources).await;
            return match series {
                Ok(series) => Event::default().event("series").json_data(series).ok(),
                Err(status) => Some(Event::default().event("trouble").data(status.message())),
            };
        }
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = self.shutdown.cancelled() => return None,
        }
        let now = Instant::now();
        if now >= self.plot {
            self.plot_next = true;
            self.plot = now + (self.subject.range / POINTS).max(PLOT);
        }
        match self.subject.detail(&self.sources, now).await {
            Ok(detail) => Event::default().event("detail").json_data(detail).ok(),
            Err(status) => Some(Event::default().event("trouble").data(status.message())),
        }
    }
}

impl Subject {
    fn request(&self, by: wire::GroupBy) -> wire::StatRequest {
        let request = wire::StatRequest { by: by.into(), ..wire::StatRequest::default() };
        match &self.of {
            Of::Service(name) => wire::StatRequest {
                namespace: name.namespace.to_string(),
                service: name.name.to_string(),
                ..request
            },
            Of::Node(node) => wire::StatRequest { node: node.to_string(), ..request },
        }
    }

    async fn series(&self, sources: &Sources) -> Result<Series, Status> {
        let by = match self.of {
            Of::Service(_) => wire::GroupBy::Service,
            Of::Node(_) => wire::GroupBy::Node,
        };
        let request = wire::SeriesRequest {
            of: Some(self.request(by)),
            range_ms: milliseconds(self.range),
            points: POINTS,
        };
        sources.telemetry.plot(request).await.map(Series::from)
    }

    async fn rows(&self, sources: &Sources, by: wire::GroupBy) -> Result<Vec<Edge>, Status> {
        let stat = sources.telemetry.stat_once(self.request(by)).await?;
        Ok(stat.rows.into_iter().map(Edge::from).collect())
    }

    async fn detail(&self, sources: &Sources, now: Instant) -> Result<Detail, Status> {
        let world = Arc::clone(&sources.worlds.borrow());
        let (exists, namespace) = match &self.of {
            Of::Service(name) => (world.has_service(name), Some(&name.namespace)),
            Of::Node(node) => (sources.nodes.lock().node(node.as_str()).is_some(), None),
        };
        let endpoints = world.list(Kind::Endpoint, namespace);
        let endpoints: Vec<&Endpoint> = endpoints
            .filter_map(|stored| match &stored.object {
                Object::Endpoint(it) if self.has(it) => Some(it),
                Object::Endpoint(_) | Object::Service(_) | Object::ServiceConfig(_) => None,
            })
            .collect();
        let names: Vec<&ObjectName> = endpoints.iter().map(|it| &it.name).collect();
        let mut views = sources.health.views_of(&names, now);
        let omitted = endpoints.len().saturating_sub(MAX_ENDPOINTS);
        let mut instances: Vec<Instance> =
            endpoints.into_iter().map(|it| instance(it, views.remove(&it.name))).collect();
        // Those that are not well first, lest they are left out.
        instances.sort_by_key(|it| it.health != "unhealthy");
        instances.truncate(MAX_ENDPOINTS);
        let mut detail = Detail {
            exists,
            endpoints: instances,
            endpoints_omitted: omitted,
            guards: self.guards(sources),
            rules: Vec::new(),
            versions: Vec::new(),
            workloads: Vec::new(),
            edges: Vec::new(),
        };
        match &self.of {
            Of::Service(name) => {
                detail.versions = self.rows(sources, wire::GroupBy::Version).await?;
                detail.workloads = self.rows(sources, wire::GroupBy::Workload).await?;
                let reference = ObjectRef { kind: Kind::ServiceConfig, name: name.clone() };
                if let Some(Object::ServiceConfig(config)) =
                    world.get(&reference).map(|stored| &stored.object)
                {
                    let rules = config.traffic_rules.iter().map(|rule| Rule {
                        service: rule.destination.service.to_string(),
                        version: text(rule.destination.version.as_ref()),
                        weight: rule.weight,
                    });
                    detail.rules = rules.collect();
                }
            }
            Of::Node(_) => detail.edges = self.rows(sources, wire::GroupBy::Edge).await?,
        }
        Ok(detail)
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        match &self.of {
            Of::Service(name) => endpoint.service == *name,
            Of::Node(node) => endpoint.node.as_ref() == Some(node),
        }
    }

    fn guards(&self, sources: &Sources) -> Vec<Guard> {
        let mut guards = Vec::new();
        for wire::NodeGuards { node, guards: of, omitted: _ } in sources.health.guards() {
            let wanted = |it: &wire::GuardReport| match &self.of {
                Of::Service(name) => {
                    it.namespace == name.namespace.as_str() && it.service == name.name.as_str()
                }
                Of::Node(label) => label.as_str() == node,
            };
            guards.extend(of.into_iter().filter(wanted).map(|it| guard(&node, it)));
        }
        guards
    }
}

fn text(label: Option<&Label>) -> String {
    label.map(Label::to_string).unwrap_or_default()
}

fn guard(node: &str, it: wire::GuardReport) -> Guard {
    let state = match it.state() {
        wire::GuardState::Open => "open",
        wire::GuardState::HalfOpen => "half open",
        wire::GuardState::Ejected => "ejected",
        wire::GuardState::Unspecified => "unknown",
    };
    let wire::GuardReport {
        namespace,
        service,
        port,
        endpoint,
        state: _,
        cause,
        since_ms,
        remaining_ms,
    } = it;
    let node = node.to_owned();
    Guard { node, namespace, service, port, endpoint, state, cause, since_ms, remaining_ms }
}

fn instance(it: &Endpoint, view: Option<wire::EndpointHealthView>) -> Instance {
    let health = match view.as_ref().map(wire::EndpointHealthView::status) {
        Some(wire::HealthStatus::Healthy) => "healthy",
        Some(wire::HealthStatus::Unhealthy) => "unhealthy",
        Some(wire::HealthStatus::Unspecified) => "unknown",
        None => "unchecked",
    };
    let view = view.unwrap_or_default();
    Instance {
        namespace: it.name.namespace.to_string(),
        name: it.name.name.to_string(),
        service: it.service.name.to_string(),
        version: text(it.version.as_ref()),
        address: it.address.to_string(),
        node: text(it.node.as_ref()),
        workload: text(it.workload.as_ref()),
        zone: text(it.locality.zone.as_ref()),
        weight: it.weight,
        draining: it.state == EndpointState::Draining,
        health,
        reason: view.reason,
        source: view.source,
        since_ms: view.since_ms,
    }
}
