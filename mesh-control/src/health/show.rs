//! Health on the wire: what people are shown, and the resources that agents get.

use std::sync::Arc;

use mesh_api::convert::milliseconds;
use mesh_api::model::{Health, Kind, Label, ObjectName, ObjectRef};
use mesh_api::resource::encode;
use mesh_api::wire;
use mesh_api::wire::health_event::Event;
use mesh_xds::snapshot::Resource;
use prost::Message as _;

use super::aggregate::View;

pub(super) const fn status(status: Option<Health>) -> wire::HealthStatus {
    match status {
        Some(Health::Healthy) => wire::HealthStatus::Healthy,
        Some(Health::Unhealthy) => wire::HealthStatus::Unhealthy,
        None => wire::HealthStatus::Unspecified,
    }
}

/// What a resource says of its endpoint.
#[must_use]
pub fn status_of(resource: &Resource) -> Option<Health> {
    let message = wire::EndpointHealth::decode(&*resource.body).ok()?;
    match message.status() {
        wire::HealthStatus::Healthy => Some(Health::Healthy),
        wire::HealthStatus::Unhealthy => Some(Health::Unhealthy),
        wire::HealthStatus::Unspecified => None,
    }
}

/// The resource of every endpoint with a status: there are only two.
#[derive(Clone, Debug)]
pub(super) struct Resources {
    healthy: Arc<Resource>,
    unhealthy: Arc<Resource>,
}

impl Resources {
    pub(super) fn new() -> Self {
        let make = |health| {
            let message = wire::EndpointHealth { status: status(Some(health)).into() };
            let (body, version) = encode(&message);
            Arc::new(Resource::new(version, body))
        };
        Self { healthy: make(Health::Healthy), unhealthy: make(Health::Unhealthy) }
    }

    pub(super) fn of(&self, health: Health) -> Arc<Resource> {
        Arc::clone(match health {
            Health::Healthy => &self.healthy,
            Health::Unhealthy => &self.unhealthy,
        })
    }

    /// The status that a version stands for.
    pub(super) fn status_of(&self, version: &str) -> Option<Health> {
        let known = [Health::Healthy, Health::Unhealthy];
        known.into_iter().find(|health| self.of(*health).version == version)
    }
}

pub(super) fn view(view: &View<'_>) -> wire::EndpointHealthView {
    let conflicts = view.conflicts.iter().map(|conflict| wire::HealthConflict {
        source: conflict.source.to_string(),
        status: status(Some(conflict.status)).into(),
        reason: conflict.reason.to_owned(),
        since_ms: milliseconds(conflict.age),
    });
    let subject = view.subject;
    wire::EndpointHealthView {
        namespace: subject.name.namespace.to_string(),
        name: subject.name.name.to_string(),
        service: subject.service.name.to_string(),
        address: subject.address.to_string(),
        node: subject.node.as_ref().map(Label::to_string).unwrap_or_default(),
        status: status(view.status).into(),
        reason: view.reason.to_owned(),
        since_ms: milliseconds(view.age),
        source: view.source.map(ToString::to_string).unwrap_or_default(),
        latency_us: view.latency_us,
        held_ms: view.held.map_or(0, |held| milliseconds(held).max(1)),
        conflicts: conflicts.collect(),
        changes: u32::try_from(view.changes).unwrap_or(u32::MAX),
    }
}

/// An endpoint is there, or is no more.
pub(super) fn endpoint_event(name: &ObjectName, shown: Option<&View<'_>>) -> wire::HealthEvent {
    let removed = || ObjectRef { kind: Kind::Endpoint, name: name.clone() };
    let event = match shown {
        Some(shown) => Event::Put(view(shown)),
        None => Event::Removed((&removed()).into()),
    };
    wire::HealthEvent { event: Some(event) }
}

pub(super) const fn guards_event(guards: wire::NodeGuards) -> wire::HealthEvent {
    wire::HealthEvent { event: Some(Event::Guards(guards)) }
}
