//! Health checks, breakers, outlier detection, timeouts and acceleration that have no effect, or
//! less than may have been meant.

use mesh_api::model::{
    Acceleration, Endpoint, HealthCheck, Kind, Port, Protocol, Service, ServiceConfig, ServicePort,
};
use mesh_api::violation::Warning;

use super::{Objects, warning};
use crate::world::World;

/// What is ejected where nothing is said. That it may be less than one endpoint is no news then.
const DEFAULT_EJECTED: u8 = 10;

/// Where the service's connections go.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    /// How many endpoints there are.
    pub(super) endpoints: usize,
    /// Whether any of them is checked.
    pub(super) checked: bool,
    /// Whether any of them says on which node it is.
    pub(super) placed: bool,
}

/// Warns of what `config` says of `service`, which it is for.
pub(super) fn check(
    world: &World,
    service: &Service,
    config: &ServiceConfig,
    of: &Objects<'_>,
    reached: Reached,
    found: &mut Vec<Warning>,
) {
    udp(service, config, of, found);
    if let Some(check) = config.health_check.as_deref() {
        unchecked(service, check, of, found);
        redirected(world, service, check, of, found);
    }
    if of.config.is_some() {
        alone(config, reached.checked, of, found);
        ejections(service, config, of, reached.endpoints, found);
        nowhere(service, config, of, reached, found);
    }
}

/// At the config, or else at the service, whichever is in the request.
fn say(of: &Objects<'_>, field: &str, message: String, found: &mut Vec<Warning>) {
    if let Some((index, config)) = of.config {
        found.push(warning(index, Kind::ServiceConfig, &config.name, field, message));
    } else if let Some((index, service)) = of.service {
        found.push(warning(index, Kind::Service, &service.name, "spec.ports", message));
    }
}

/// What is for TCP only, on UDP ports.
fn udp(service: &Service, config: &ServiceConfig, of: &Objects<'_>, found: &mut Vec<Warning>) {
    let mut ports = service.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let Some(first) = ports.next() else { return };
    let more = ports.count();
    let name = &service.name;
    let where_ = match more {
        more if more + 1 == service.ports.len() => {
            format!(": it is for TCP, and all ports of Service {name} are UDP")
        }
        0 => format!(" on port {} of Service {name}: it is for TCP", first.name),
        more => format!(" on port {} of Service {name} and {more} more: it is for TCP", first.name),
    };
    let timeouts = config.timeouts.as_deref();
    let given = [
        ("circuitBreaker", config.circuit_breaker.is_some()),
        ("outlierDetection", config.outlier_detection.is_some()),
        ("timeouts", timeouts.is_some_and(|it| it.connect.is_some() || it.idle.is_some())),
        ("retry", timeouts.is_some_and(|it| it.retry.is_some())),
        ("acceleration", config.acceleration != Acceleration::Off),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        let message = format!("{field} has no effect{where_}");
        say(of, &format!("spec.{field}"), message, found);
    }
}

/// Where a service's endpoints are checked, unless a port is given.
fn first_tcp(service: &Service) -> Option<&ServicePort> {
    service.ports.iter().find(|port| port.protocol == Protocol::Tcp)
}

/// Checks for which no port is known.
fn unchecked(service: &Service, check: &HealthCheck, of: &Objects<'_>, found: &mut Vec<Warning>) {
    if check.port.is_none() && first_tcp(service).is_none() {
        let message = format!(
            "endpoints are not checked: Service {} has no TCP port: say with \
             spec.healthCheck.port which port of the endpoints to check",
            service.name
        );
        say(of, "spec.healthCheck", message, found);
    }
}

/// Endpoints to which the way leads through the mesh, unless an agent checks them.
fn redirected(
    world: &World,
    service: &Service,
    check: &HealthCheck,
    of: &Objects<'_>,
    found: &mut Vec<Warning>,
) {
    let holder = |endpoint: &Endpoint| {
        let port = checked_port(service, check, endpoint)?;
        let holder = world.holder((endpoint.address, port, Protocol::Tcp))?;
        endpoint.node.is_none().then_some((holder, port))
    };
    let Some((index, endpoint, more)) = of.first(|endpoint| holder(endpoint).is_some()) else {
        return;
    };
    let Some((holder, port)) = holder(endpoint) else { return };
    let more =
        if more == 0 { String::new() } else { format!(", as for {more} more of this request") };
    let message = format!(
        "{} port {port} is a virtual address of Service {holder}: the control plane's checks may \
         end at an endpoint of that service instead of here: set spec.node, so that the node's \
         agent checks it{more}",
        endpoint.address
    );
    found.push(warning(index, Kind::Endpoint, &endpoint.name, "spec.address", message));
}

fn checked_port(service: &Service, check: &HealthCheck, endpoint: &Endpoint) -> Option<Port> {
    check.port.or_else(|| {
        let port = first_tcp(service)?;
        Some(endpoint.ports.get(&port.name).copied().unwrap_or(port.target_port))
    })
}

/// Acceleration of connections to endpoints that may be anywhere.
fn nowhere(
    service: &Service,
    config: &ServiceConfig,
    of: &Objects<'_>,
    reached: Reached,
    found: &mut Vec<Warning>,
) {
    let on = config.acceleration != Acceleration::Off;
    if on && reached.endpoints > 0 && !reached.placed {
        let message = format!(
            "acceleration has no effect: no endpoint that Service {} sends connections to states \
             its node: set spec.node",
            service.name
        );
        say(of, "spec.acceleration", message, found);
    }
}

/// What needs something else to have an effect.
fn alone(config: &ServiceConfig, checked: bool, of: &Objects<'_>, found: &mut Vec<Warning>) {
    let balancer = &config.load_balancer;
    if balancer.slow_start.is_some() && !checked {
        let message = "slowStart has no effect without healthCheck: nothing says when an endpoint \
                       turns healthy";
        say(of, "spec.loadBalancer.slowStart", message.to_owned(), found);
    }
    if balancer.panic_threshold > 0 && !checked && config.outlier_detection.is_none() {
        let message = "panicThreshold has no effect without healthCheck or outlierDetection: no \
                       endpoint is ever taken for unhealthy";
        say(of, "spec.loadBalancer.panicThreshold", message.to_owned(), found);
    }
}

/// Shares of the endpoints that are less than one.
fn ejections(
    service: &Service,
    config: &ServiceConfig,
    of: &Objects<'_>,
    endpoints: usize,
    found: &mut Vec<Warning>,
) {
    const AT: &str = "spec.outlierDetection.maxEjectionPercent";
    let Some(outlier) = config.outlier_detection.as_deref() else { return };
    let percent = outlier.max_ejection_percent;
    if percent == 0 {
        let message = "outlierDetection has no effect: with 0 percent, no endpoint is ever ejected";
        say(of, AT, message.to_owned(), found);
    } else if percent != DEFAULT_EJECTED && endpoints > 0 && endpoints * usize::from(percent) < 100
    {
        let message = format!(
            "{percent} percent of the {endpoints} endpoints of Service {} is less than one: one \
             may be ejected all the same",
            service.name
        );
        say(of, AT, message, found);
    }
}
