//! Reports health to the control plane: what the checks have found, and the breakers and ejections
//! of this node's clients. All of it on each new stream, then what changes, and a sign of life.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::model::{Health, ObjectName};
use mesh_api::wire;
use mesh_api::wire::health_reports_client::HealthReportsClient;
use mesh_health::checker::{Handle, Status};
use mesh_xds::backoff::Backoff;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::Endpoint;

use crate::refused::is_final;
use crate::xds::client::Line;

/// Least time between two reports: the first of a burst is told at once, the rest together.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the control plane hears of this node, changes or not.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// After which silence it takes this agent for gone.
const TTL: Duration = Duration::from_secs(15);
/// How long a report may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Breakers that are not closed, and ejections.
pub trait Guards: Send + Sync + 'static {
    /// All of them now, and how many more there are.
    fn now(&self) -> (Vec<wire::GuardReport>, u64);
}

impl Guards for Vec<wire::GuardReport> {
    fn now(&self) -> (Vec<wire::GuardReport>, u64) {
        (self.clone(), 0)
    }
}

/// To whom it is reported, and what else is.
#[derive(Debug)]
pub struct ReportTo<G> {
    /// Where the control plane is.
    pub endpoint: Endpoint,
    /// Name of the node.
    pub node: String,
    /// How the stream to the control plane is.
    pub line: watch::Receiver<Line>,
    /// Breakers and ejections.
    pub guards: watch::Receiver<Arc<G>>,
}

/// What it needs.
#[derive(Debug)]
pub struct Reporter<G> {
    /// To whom.
    pub to: ReportTo<G>,
    /// Knows the state of all endpoints.
    pub handle: Handle,
    /// Changes when one of them has.
    pub changed: watch::Receiver<u64>,
}

impl<G: Guards> Reporter<G> {
    /// Reports for ever; returns when nobody can say anything new any more.
    pub async fn run(mut self, random01: impl Fn() -> f64 + Send) -> String {
        let mut client = HealthReportsClient::new(self.to.endpoint.connect_lazy());
        let mut backoff = Backoff::new(Duration::from_millis(100), SIGN_OF_LIFE, 2.0);
        let mut told: Option<Told> = None;
        let mut news = News::default();
        let mut complained = None;
        loop {
            let stream = {
                let line = self.to.line.borrow_and_update();
                line.connected.then_some(line.streams)
            };
            // On another stream it may be another control plane.
            told = told.filter(|told| Some(told.stream) == stream);
            news.health |= self.changed.has_changed().unwrap_or(true);
            news.guards |= self.to.guards.has_changed().unwrap_or(false);
            self.changed.borrow_and_update();
            self.to.guards.borrow_and_update();
            let now = Instant::now();
            news.health |= told.as_ref().is_none_or(|told| now >= told.sign_of_life());
            if let Some(stream) = stream
                && (news.health || news.guards)
            {
                let before = told.take();
                let fresh = before.is_none();
                let (next, mut report) = self.look(stream, std::mem::take(&mut news), before).await;
                report.node.clone_from(&self.to.node);
                let guards = Arc::clone(&self.to.guards.borrow());
                (report.guards, report.guards_omitted) = guards.now();
                let mut request = Request::new(report);
                request.set_timeout(TIMEOUT);
                let wait = match client.report(request).await {
                    Ok(answer) => {
                        backoff.reset();
                        complained = None;
                        let again = answer.into_inner().send_all;
                        told = (!again).then_some(next);
                        // A control plane that never has enough must not be flooded.
                        if again && fresh { SIGN_OF_LIFE } else { PAUSE }
                    }
                    Err(status) => {
                        if complained != Some(status.code()) && is_final(status.code()) {
                            let reason = status.message();
                            tracing::warn!(reason, "the control plane does not take the health");
                            complained = Some(status.code());
                        }
                        tracing::debug!(%status, "health is not reported; trying again");
                        backoff.next(random01())
                    }
                };
                tokio::time::sleep(wait).await;
                if told.is_none() {
                    continue;
                }
            }
            let next = told.as_ref().map_or_else(|| now + SIGN_OF_LIFE, Told::sign_of_life);
            let changed = tokio::select! {
                changed = self.to.line.changed() => changed,
                changed = self.changed.changed() => {
                    news.health = true;
                    changed
                }
                Ok(()) = self.to.guards.changed() => {
                    news.guards = true;
                    Ok(())
                }
                () = tokio::time::sleep_until(next) => Ok(()),
            };
            if changed.is_err() {
                return "nobody checks health any more".to_owned();
            }
        }
    }

    /// What there is to report, without the guards.
    async fn look(
        &self,
        stream: u64,
        news: News,
        before: Option<Told>,
    ) -> (Told, wire::ReportHealthRequest) {
        match before {
            // Guards may flap; all endpoints are not gone through for that.
            Some(told) if !news.health => (told, empty()),
            before => {
                let looked = Instant::now();
                let all = self.handle.statuses().await;
                let (known, report) = compare(before.as_ref().map(|told| &told.known), &all);
                (Told { stream, looked, known }, report)
            }
        }
    }
}

/// What there is something new about.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    health: bool,
    guards: bool,
}

/// What the control plane has been told.
#[derive(Debug)]
struct Told {
    /// On which stream.
    stream: u64,
    /// When the endpoints were looked at.
    looked: Instant,
    known: Known,
}

impl Told {
    fn sign_of_life(&self) -> Instant {
        self.looked + SIGN_OF_LIFE
    }
}

/// What the control plane knows from this agent.
type Known = HashMap<ObjectName, (Health, String)>;

/// What is so now, and the report that says it to who knows `before`; `None`: nothing.
fn compare(
    before: Option<&Known>,
    statuses: &[(ObjectName, Status)],
) -> (Known, wire::ReportHealthRequest) {
    let mut now = Known::with_capacity(statuses.len());
    let mut report = wire::ReportHealthRequest { full: before.is_none(), ..empty() };
    for (name, status) in statuses {
        let Some(health) = status.health else { continue };
        let known = before.and_then(|before| before.get(name));
        if known.is_none_or(|(told, reason)| *told != health || *reason != status.reason) {
            report.endpoints.push(endpoint(name, health, status));
        }
        now.insert(name.clone(), (health, status.reason.clone()));
    }
    let gone = before.into_iter().flat_map(HashMap::keys).filter(|name| !now.contains_key(*name));
    report.gone = gone.map(reference).collect();
    (now, report)
}

fn empty() -> wire::ReportHealthRequest {
    wire::ReportHealthRequest { ttl_ms: milliseconds(TTL), ..wire::ReportHealthRequest::default() }
}

fn endpoint(name: &ObjectName, health: Health, status: &Status) -> wire::EndpointReport {
    let wire_status = match health {
        Health::Healthy => wire::HealthStatus::Healthy,
        Health::Unhealthy => wire::HealthStatus::Unhealthy,
    };
    let latency = status.latency.unwrap_or_default();
    wire::EndpointReport {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        status: wire_status.into(),
        reason: status.reason.clone(),
        since_ms: milliseconds(status.since.elapsed()),
        latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
    }
}

fn reference(name: &ObjectName) -> wire::ObjectRef {
    wire::ObjectRef {
        kind: wire::Kind::Endpoint.into(),
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
    }
}
