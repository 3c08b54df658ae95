//! Where each node's Envoy listens for a service with rules for requests: a port of the loopback for
//! each of the service's ports, allotted once and remembered in the service's configuration.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use mesh_api::model::{Kind, Name, Object, ObjectName, ObjectRef, Port, Service, ServiceConfig};
use mesh_api::violation::{Reason, Violation};

use super::{Action, Batch, Change, Outcome, Plan, violation};
use crate::world::{Stored, World};

/// What is allotted: below the ports that Linux gives to clients by default.
pub(super) const PORTS: RangeInclusive<u32> = 20_000..=29_999;

/// The object with what was allotted before, whatever it says itself.
pub(super) fn kept<'a>(object: &'a Object, before: Option<&Stored>) -> Cow<'a, Object> {
    let Object::ServiceConfig(config) = object else { return Cow::Borrowed(object) };
    let proxy_ports = match before.map(|before| &before.object) {
        Some(Object::ServiceConfig(before)) => before.proxy_ports.clone(),
        _ => BTreeMap::new(),
    };
    if config.proxy_ports == proxy_ports {
        return Cow::Borrowed(object);
    }
    Cow::Owned(Object::ServiceConfig(ServiceConfig { proxy_ports, ..config.clone() }))
}

/// Says in the plan where Envoy listens. Keeps what was allotted before; where a change of a service
/// needs other ports, its configuration changes with it.
pub(super) fn allot(world: &World, plan: &mut Plan, batch: &Batch, found: &mut Vec<Violation>) {
    let mut used = None;
    for (name, (index, kind)) in touched(plan, batch) {
        let changed = ObjectRef { kind, name: name.clone() };
        let reference = ObjectRef { kind: Kind::ServiceConfig, name };
        let Some(stored) = plan.world.get(&reference).cloned() else { continue };
        let Object::ServiceConfig(config) = &stored.object else { continue };
        let service = service(&plan.world, &config.name);
        let before = config_of(world, &reference).map(|it| &it.proxy_ports);
        let used = used.get_or_insert_with(|| all(&plan.world));
        let Some(ports) = ports(config, service, before, used) else {
            let message = format!(
                "all ports from {} to {} are allotted to other services: remove rules for requests \
                 from one of them",
                PORTS.start(),
                PORTS.end()
            );
            let field = "spec.trafficRules";
            found.push(violation(index, &reference, field, Reason::Conflict, message));
            return;
        };
        if config.is_for_requests() && ports.is_empty() && service.is_some() {
            let message = format!(
                "rules for requests need a port that speaks HTTP: give a TCP port of Service {} \
                 appProtocol http, http2 or grpc",
                config.name
            );
            let of_config = || first_for_requests(config);
            let field = if kind == Kind::Service { "spec.ports".to_owned() } else { of_config() };
            found.push(violation(index, &changed, field, Reason::Conflict, message));
        }
        if ports != config.proxy_ports {
            let config = ServiceConfig { proxy_ports: ports, ..config.clone() };
            put(world, plan, Object::ServiceConfig(config));
        }
    }
}

/// The services whose ports may have to be other ones, and the change that is why.
fn touched(plan: &Plan, batch: &Batch) -> BTreeMap<ObjectName, (usize, Kind)> {
    let changes = batch.changes.iter().zip(&plan.outcomes);
    let touches = |(change, outcome): (&Change, &Outcome)| {
        let is_one = matches!(outcome.reference.kind, Kind::Service | Kind::ServiceConfig);
        let is_new = outcome.action != Action::Unchanged;
        let ObjectRef { kind, name } = &outcome.reference;
        (is_one && is_new).then(|| (name.clone(), (change.index, *kind)))
    };
    changes.filter_map(touches).collect()
}

/// The first field that is about requests.
fn first_for_requests(config: &ServiceConfig) -> String {
    let rule = config.traffic_rules.iter().position(|rule| rule.request.is_some());
    match rule {
        Some(rule) => format!("spec.trafficRules[{rule}]"),
        None if config.timeouts.as_ref().is_some_and(|it| it.request.is_some()) => {
            "spec.timeouts.request".to_owned()
        }
        None if config.circuit_breaker.as_ref().is_some_and(|it| it.requests.is_some()) => {
            "spec.circuitBreaker.requests".to_owned()
        }
        None => "spec.outlierDetection".to_owned(),
    }
}

/// Every port that is allotted.
fn all(world: &World) -> BTreeSet<Port> {
    let configs = world.list(Kind::ServiceConfig, None);
    let ports = configs.filter_map(|stored| match &stored.object {
        Object::ServiceConfig(config) => Some(config.proxy_ports.values().copied()),
        Object::Service(_) | Object::Endpoint(_) => None,
    });
    ports.flatten().collect()
}

/// The ports of one service; `None` where there is none left.
fn ports(
    config: &ServiceConfig,
    service: Option<&Service>,
    before: Option<&BTreeMap<Name, Port>>,
    used: &mut BTreeSet<Port>,
) -> Option<BTreeMap<Name, Port>> {
    if !config.is_for_requests() {
        return Some(BTreeMap::new());
    }
    let mut ports = BTreeMap::new();
    let wanted = service.into_iter().flat_map(|service| &service.ports);
    for port in wanted.filter(|port| port.requests().is_some()) {
        let listener = match before.and_then(|before| before.get(&port.name)) {
            Some(before) => *before,
            None => free(used)?,
        };
        used.insert(listener);
        ports.insert(port.name.clone(), listener);
    }
    Some(ports)
}

fn free(used: &BTreeSet<Port>) -> Option<Port> {
    PORTS.filter_map(|port| Port::try_from(port).ok()).find(|port| !used.contains(port))
}

fn service<'w>(world: &'w World, name: &ObjectName) -> Option<&'w Service> {
    let reference = ObjectRef { kind: Kind::Service, name: name.clone() };
    match &world.get(&reference)?.object {
        Object::Service(service) => Some(service),
        Object::Endpoint(_) | Object::ServiceConfig(_) => None,
    }
}

fn config_of<'w>(world: &'w World, reference: &ObjectRef) -> Option<&'w ServiceConfig> {
    match &world.get(reference)?.object {
        Object::ServiceConfig(config) => Some(config),
        Object::Service(_) | Object::Endpoint(_) => None,
    }
}

/// Stores it with the plan: as a part of the change that stores it already, or as one more.
fn put(world: &World, plan: &mut Plan, object: Object) {
    let reference = object.reference();
    let resource_version = world.revision().saturating_add(1);
    plan.world.put(Stored { object, resource_version });
    let after = plan.world.get(&reference).map(Arc::clone);
    let outcome = plan.outcomes.iter_mut().find(|outcome| outcome.reference == reference);
    if let Some(outcome) = outcome {
        if outcome.action == Action::Unchanged {
            outcome.action = Action::Configured;
        }
        outcome.after = after;
    } else {
        let before = world.get(&reference).map(Arc::clone);
        plan.outcomes.push(Outcome { reference, action: Action::Configured, before, after });
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::wire;

    use super::*;
    use crate::testing::{endpoint, model, name, wire_config, wire_service};
    use crate::validate::{Refusal, plan};

    fn web(object: &str, vip: &str, app_protocol: &str) -> Object {
        let mut object = wire_service(object, vip, 80);
        if let Some(wire::object::Spec::Service(service)) = &mut object.spec {
            for port in &mut service.ports {
                app_protocol.clone_into(&mut port.app_protocol);
            }
        }
        model(object)
    }

    fn timed(object: &str, timeout_ms: Option<u64>, said: &[(&str, u32)]) -> Object {
        let mut object = wire_config(object, &[]);
        if let Some(wire::object::Spec::ServiceConfig(config)) = &mut object.spec {
            let none = wire::Timeouts::default();
            config.timeouts = timeout_ms.map(|ms| wire::Timeouts { request_ms: Some(ms), ..none });
            config.proxy_ports = said.iter().map(|(port, at)| ((*port).to_owned(), *at)).collect();
        }
        model(object)
    }

    fn after(world: &World, objects: impl IntoIterator<Item = Object>) -> Plan {
        plan(world, &Batch::put(objects)).unwrap()
    }

    fn listeners(plan: &Plan, config: &str) -> Vec<u16> {
        let reference = ObjectRef { kind: Kind::ServiceConfig, name: name(config) };
        let config = config_of(&plan.world, &reference).unwrap();
        config.proxy_ports.values().map(|port| port.get()).collect()
    }

    #[test]
    fn each_service_has_its_own_listener_and_keeps_it() {
        let second = Some(1000);
        let all = after(
            &World::default(),
            [
                web("shop/a", "10.0.0.1", "http"),
                web("shop/b", "10.0.0.2", "grpc"),
                timed("shop/a", second, &[]),
                timed("shop/b", second, &[("main", 1)]),
            ],
        );
        assert_eq!(
            (listeners(&all, "shop/a"), listeners(&all, "shop/b")),
            (vec![20_000], vec![20_001])
        );
        // What a manifest says, or leaves out, changes nothing.
        let again = after(&all.world, [timed("shop/b", second, &[])]);
        assert_eq!(again.outcomes[0].action, Action::Unchanged);
        let changed = after(&all.world, [timed("shop/b", Some(2000), &[("main", 7)])]);
        assert_eq!(listeners(&changed, "shop/b"), [20_001]);
        // Whoever needs none any more gives it back.
        let gone = after(&changed.world, [timed("shop/a", None, &[])]);
        assert_eq!(listeners(&gone, "shop/a"), [0_u16; 0]);
        let new =
            after(&gone.world, [web("shop/c", "10.0.0.3", "http2"), timed("shop/c", second, &[])]);
        assert_eq!(listeners(&new, "shop/c"), [20_000]);
    }

    #[test]
    fn a_port_that_begins_to_speak_http_gets_a_listener_with_the_change() {
        let mut both = wire_service("shop/a", "10.0.0.1", 80);
        if let Some(wire::object::Spec::Service(service)) = &mut both.spec {
            service.ports[0].app_protocol = "http".to_owned();
            service.ports.push(wire::ServicePort {
                name: "admin".to_owned(),
                port: 81,
                app_protocol: "http".to_owned(),
                ..service.ports[0].clone()
            });
        }
        let one = [web("shop/a", "10.0.0.1", "http"), timed("shop/a", Some(1000), &[])];
        let one = after(&World::default(), one);
        let two = after(&one.world, [model(both)]);
        assert_eq!(listeners(&two, "shop/a").len(), 2);
        // It is stored, and said, with the service.
        let told: Vec<_> = two.outcomes.iter().map(|it| (it.reference.kind, it.action)).collect();
        let both = [(Kind::Service, Action::Configured), (Kind::ServiceConfig, Action::Configured)];
        assert_eq!(told, both);
        let stored = two.outcomes[1].after.as_ref().unwrap();
        assert_eq!(stored.resource_version, two.world.revision());
    }

    #[test]
    fn rules_for_requests_need_a_port_that_speaks_http() {
        let refused = |world: &World, objects: Vec<Object>| match plan(world, &Batch::put(objects))
        {
            Err(Refusal::Violations(found)) => {
                found.into_iter().map(|it| (it.index, it.field)).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        let tcp = vec![web("shop/a", "10.0.0.1", ""), timed("shop/a", Some(1000), &[])];
        assert_eq!(refused(&World::default(), tcp), [(1, "spec.timeouts.request".to_owned())]);
        let http = [web("shop/a", "10.0.0.1", "http"), timed("shop/a", Some(1000), &[])];
        let http = after(&World::default(), http);
        let tcp = vec![endpoint("shop/a-1", "a", "v1"), web("shop/a", "10.0.0.1", "redis")];
        assert_eq!(refused(&http.world, tcp), [(1, "spec.ports".to_owned())]);
    }
}
