//! The endpoints of a destination as one port of a service sees them: where they listen, their
//! weights, and whether they take requests. The rules are those of the agent's compiler:
//! docs/load-balancing.md has them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_api::model::{
    Destination, EndpointState, Health, Label, Level, LocalityMode, Port, ServicePort,
};

use super::{Instance, View};

/// Whether an endpoint takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// It does.
    Healthy,
    /// Nobody knows, so it does.
    Unknown,
    /// It does not.
    Unhealthy,
    /// It takes no new ones.
    Draining,
}

impl Status {
    pub(super) const fn is_usable(self) -> bool {
        matches!(self, Self::Healthy | Self::Unknown)
    }

    const fn of(instance: &Instance<'_>) -> Self {
        let endpoint = instance.endpoint;
        match (endpoint.state, instance.health) {
            (EndpointState::Draining, _) => Self::Draining,
            _ if endpoint.weight == 0 => Self::Draining,
            (EndpointState::Serving, Some(Health::Healthy)) => Self::Healthy,
            (EndpointState::Serving, Some(Health::Unhealthy)) => Self::Unhealthy,
            (EndpointState::Serving, None) => Self::Unknown,
        }
    }
}

/// One address of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) port: Port,
    /// At least 1.
    pub(super) weight: u32,
    pub(super) status: Status,
    pub(super) region: Option<Label>,
    pub(super) zone: Option<Label>,
    /// Those of 0 are taken as long as there are any that work, then those of 1, and so on: none is
    /// left out.
    pub(super) priority: u32,
}

/// All endpoints of a destination.
#[derive(Debug)]
pub(super) struct Pool {
    /// By address and port, each once.
    pub(super) places: Vec<Place>,
    /// Fewer are healthy than the panic threshold says, so all that serve get requests.
    pub(super) panics: bool,
}

fn is_in(instance: &Instance<'_>, to: &Destination) -> bool {
    to.version.is_none() || instance.endpoint.version == to.version
}

/// Whether too few of those that could take requests are healthy.
fn panics(statuses: impl Iterator<Item = Status>, threshold: u8) -> bool {
    let (mut good, mut all) = (0_usize, 0_usize);
    for status in statuses.filter(|status| *status != Status::Draining) {
        all += 1;
        good += usize::from(status.is_usable());
    }
    good * 100 < all * usize::from(threshold)
}

/// Whether no endpoint can take a request.
pub(super) fn is_vacant(view: &View<'_>, all: &[Instance<'_>], to: &Destination) -> bool {
    let all = || all.iter().filter(|it| is_in(it, to));
    let panics = panics(all().map(Status::of), view.balancer().panic_threshold);
    let takes = |instance: &Instance<'_>| {
        let status = Status::of(instance);
        status.is_usable() || (panics && status == Status::Unhealthy)
    };
    !all().any(|instance| takes(instance) && level(view, instance).is_some())
}

/// How far an endpoint is from the client, as far as the configuration tells it apart; `None` where
/// it is too far.
fn level(view: &View<'_>, instance: &Instance<'_>) -> Option<Level> {
    let (Some(policy), Some(here)) = (view.balancer().locality, view.here) else {
        return Some(Level::Node);
    };
    let level = Level::of(here, instance.endpoint).within(policy.scope);
    match policy.mode {
        LocalityMode::PreferLocal => Some(level),
        LocalityMode::Strict => (level == Level::nearest(policy.scope)).then_some(level),
    }
}

/// Looks a destination up.
pub(super) fn pool(view: &View<'_>, port: &ServicePort, to: &Destination) -> Pool {
    let instances = view.mesh.instances(&to.service);
    let target = target(view, port, to);
    let place = |instance: &Instance<'_>| {
        let endpoint = instance.endpoint;
        let place = Place {
            address: endpoint.address,
            port: endpoint.ports.get(&port.name).copied().unwrap_or(target),
            weight: endpoint.weight.max(1),
            status: Status::of(instance),
            region: endpoint.locality.region.clone(),
            zone: endpoint.locality.zone.clone(),
            priority: level(view, instance)? as u32,
        };
        Some(place)
    };
    let found = || instances.iter().filter(|it| is_in(it, to));
    let panics = panics(found().map(Status::of), view.balancer().panic_threshold);
    let mut places: Vec<Place> = found().filter_map(place).collect();
    if view.is_local() && view.here.is_some() {
        // Which endpoints count is decided before nearness, as in the kernel; clients would do it for
        // each priority.
        for place in places.iter_mut().filter(|it| panics && it.status == Status::Unhealthy) {
            place.status = Status::Unknown;
        }
        places.retain(|it| it.status.is_usable());
    }
    places.sort_by(|one, other| {
        let key = |it: &Place| (it.address, it.port, it.status);
        key(one).cmp(&key(other)).then_with(|| {
            let rest = |it: &'_ Place| (it.priority, it.region.clone(), it.zone.clone(), it.weight);
            rest(one).cmp(&rest(other))
        })
    });
    // Clients refuse an address that is there twice.
    places.dedup_by(|later, first| {
        let same = (later.address, later.port) == (first.address, first.port);
        if same && later.status.is_usable() == first.status.is_usable() {
            first.weight = first.weight.saturating_add(later.weight);
        }
        same
    });
    fit(places.iter_mut().map(|it| &mut it.weight));
    // Clients refuse priorities with gaps.
    let levels: BTreeSet<u32> = places.iter().map(|it| it.priority).collect();
    for place in &mut places {
        place.priority =
            (0..).zip(&levels).find(|(_, it)| **it == place.priority).map_or(0, |it| it.0);
    }
    Pool { places, panics }
}

/// Where a destination's endpoints listen unless they say otherwise: the port of the same name of
/// the destination's service, else that of the same number, else what this service's port says.
fn target(view: &View<'_>, port: &ServicePort, to: &Destination) -> Port {
    if to.service == view.service.name {
        return port.target_port;
    }
    let ports = view.mesh.service(&to.service).map_or(&[][..], |other| &other.ports);
    let named = ports.iter().find(|other| other.name == port.name);
    named
        .or_else(|| {
            ports.iter().find(|other| other.port == port.port && other.protocol == port.protocol)
        })
        .map_or(port.target_port, |other| other.target_port)
}

/// Brings weights down in proportion until their sum fits `u32`, which clients demand; none
/// becomes 0.
pub(super) fn fit<'w, I: Iterator<Item = &'w mut u32>>(weights: I) {
    let mut weights: Vec<&mut u32> = weights.collect();
    let sum: u64 = weights.iter().map(|weight| u64::from(**weight)).sum();
    // Rounding up to 1 can add as much as there are weights.
    let most = u64::from(u32::MAX).saturating_sub(weights.len() as u64).max(1);
    let divisor = u32::try_from(sum.div_ceil(most)).unwrap_or(u32::MAX).max(1);
    for weight in &mut weights {
        **weight = (**weight / divisor).max(1);
    }
}
