//! A service and all that decides where its connections go.

use std::collections::BTreeMap;

use mesh_api::model::{self, ServiceConfig};
use mesh_api::wire;
use mesh_api::wire::object::Spec;

use super::health::Health;
use super::shares::{Family, leads_to};
use crate::commands::health::Status;
use crate::output::{requests, resilience};

/// See above.
pub(super) struct World<'a> {
    /// Name of the service.
    pub(super) service: &'a str,
    /// What it configures, as it is written.
    pub(super) config: &'a wire::ServiceConfig,
    /// Those of its rules that the kernel can follow.
    pub(super) rules: Vec<&'a wire::TrafficRule>,
    /// The same with all defaults, where there is one.
    pub(super) settings: Option<ServiceConfig>,
    /// Of its addresses.
    pub(super) families: Vec<Family>,
    /// Of its namespace.
    pub(super) endpoints: Vec<(&'a str, &'a wire::Endpoint)>,
    pub(super) health: &'a Health,
    /// For each family and each rule; where there is no rule, as if there were one.
    pub(super) parts: Vec<Part>,
}

/// The endpoints that one rule leads to, for connections to addresses of one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) family: Family,
    /// Which rule; `None` where there is none.
    pub(super) rule: Option<usize>,
    /// Those that can take connections, if they are healthy.
    pub(super) all: usize,
    /// Of these, the healthy.
    pub(super) healthy: usize,
    /// Whether so few are healthy that health is ignored.
    pub(super) panic: bool,
}

impl Part {
    /// How many take new connections.
    pub(super) const fn taking(&self) -> usize {
        if self.panic { self.all } else { self.healthy }
    }
}

const NONE: &wire::ServiceConfig = &wire::ServiceConfig {
    traffic_rules: Vec::new(),
    load_balancer: None,
    circuit_breaker: None,
    outlier_detection: None,
    health_check: None,
    timeouts: None,
    retry: None,
    drain_timeout_ms: None,
    acceleration: 0,
    on_no_proxy: 0,
    proxy_ports: BTreeMap::new(),
};

impl<'a> World<'a> {
    pub(super) fn new(
        service: &'a str,
        vips: &[String],
        config: Option<&'a wire::Object>,
        endpoints: &'a [wire::Object],
        health: &'a Health,
    ) -> Self {
        let spec = config.and_then(|config| match &config.spec {
            Some(Spec::ServiceConfig(spec)) => Some(spec),
            Some(Spec::Service(_) | Spec::Endpoint(_)) | None => None,
        });
        let mut world = Self {
            service,
            config: spec.unwrap_or(NONE),
            rules: spec.map(requests::of_connections).unwrap_or_default(),
            settings: config.and_then(resilience::config),
            families: Family::of_all(vips),
            endpoints: specs(endpoints),
            health,
            parts: Vec::new(),
        };
        let parts = world.families.iter().flat_map(|family| {
            let rules = 0..world.rules.len();
            let none = world.config.traffic_rules.is_empty().then_some(None);
            let rules = rules.map(Some).chain(none);
            rules.map(|rule| world.part(*family, rule)).collect::<Vec<_>>()
        });
        world.parts = parts.collect();
        world
    }

    fn part(&self, family: Family, rule: Option<usize>) -> Part {
        let all = self.endpoints.iter().filter(|(_, spec)| {
            self.leads(rule, spec) && is_usable(spec) && Family::of(&spec.address) == Some(family)
        });
        let healthy = all.clone().filter(|(name, spec)| !self.is_unhealthy(name, spec));
        let (all, healthy) = (all.count(), healthy.count());
        let balancer = self.settings.as_ref().map(|settings| settings.load_balancer);
        let threshold = balancer.map_or(0, |balancer| balancer.panic_threshold);
        Part { family, rule, all, healthy, panic: healthy * 100 < usize::from(threshold) * all }
    }

    /// Whether a rule leads to an endpoint.
    fn leads(&self, rule: Option<usize>, spec: &wire::Endpoint) -> bool {
        let rule = rule.map(|rule| self.rules.get(rule));
        rule.map_or(spec.service == self.service, |rule| {
            rule.is_some_and(|rule| leads_to(self.service, rule, &spec.service, &spec.version))
        })
    }

    /// Those of the rules that lead to an endpoint, and have a weight.
    pub(super) fn parts_of(&self, spec: &wire::Endpoint) -> impl Iterator<Item = &Part> {
        let family = Family::of(&spec.address);
        let live = |rule: usize| self.rules.get(rule).is_some_and(|rule| rule.weight > 0);
        self.parts.iter().filter(move |part| {
            Some(part.family) == family && part.rule.is_none_or(live) && self.leads(part.rule, spec)
        })
    }

    /// Whether an endpoint is taken for unhealthy.
    pub(super) fn is_unhealthy(&self, name: &str, spec: &wire::Endpoint) -> bool {
        match self.health.of(name).map_or(Status::Unknown, |health| health.status) {
            Status::Healthy => false,
            Status::Unhealthy => true,
            Status::Unknown => {
                let check = self.settings.as_ref().and_then(|it| it.health_check.as_ref());
                spec.service == self.service
                    && check.is_some_and(|check| check.initial == model::Health::Unhealthy)
            }
        }
    }

    /// The endpoints of the service itself.
    pub(super) fn own(&self) -> impl Iterator<Item = &(&'a str, &'a wire::Endpoint)> {
        self.endpoints.iter().filter(|(_, spec)| spec.service == self.service)
    }
}

fn is_usable(spec: &wire::Endpoint) -> bool {
    spec.state() != wire::EndpointState::Draining && spec.weight != Some(0)
}

fn specs(objects: &[wire::Object]) -> Vec<(&str, &wire::Endpoint)> {
    let specs = objects.iter().filter_map(|object| match &object.spec {
        Some(Spec::Endpoint(spec)) => {
            let name = object.metadata.as_ref().map_or("", |it| it.name.as_str());
            Some((name, spec))
        }
        Some(Spec::Service(_) | Spec::ServiceConfig(_)) | None => None,
    });
    specs.collect()
}
