//! What Envoy, where a service's connections go there, or gRPC clients without a proxy would ignore in
//! silence. Not what is said by default.

use mesh_api::model::{Kind, RequestProtocol, Service, ServiceConfig};
use mesh_api::violation::Warning;
use mesh_xds::capabilities::{Client, Gap, gaps};

use super::{Objects, warning};

/// Where the table is.
const PAGE: &str = "docs/capabilities.md";

/// Warns of what `config` says of `service`, where the request has one of them.
pub(super) fn check(
    service: &Service,
    config: &ServiceConfig,
    of: &Objects<'_>,
    found: &mut Vec<Warning>,
) {
    let speaks_requests = service.ports.iter().any(|port| port.requests().is_some());
    if config.is_for_requests() && speaks_requests {
        let who = "Envoy, where connections of this service go";
        say(who, gaps(service, config, Client::Envoy), of, found);
    }
    let is_grpc = |it: Option<RequestProtocol>| it == Some(RequestProtocol::Grpc);
    if service.ports.iter().any(|port| is_grpc(port.requests())) {
        let who = "gRPC clients without a proxy (xds:///)";
        say(who, gaps(service, config, Client::Grpc), of, found);
    }
}

/// One warning for all fields of an object, at the first.
fn say(who: &str, gaps: Vec<Gap>, of: &Objects<'_>, found: &mut Vec<Warning>) {
    let (of_service, of_config): (Vec<Gap>, Vec<Gap>) =
        gaps.into_iter().partition(|gap| gap.field == "spec.sessionAffinity");
    let objects = [
        (of.service.map(|(index, it)| (index, Kind::Service, &it.name)), of_service),
        (of.config.map(|(index, it)| (index, Kind::ServiceConfig, &it.name)), of_config),
    ];
    for (object, gaps) in objects {
        let (Some((index, kind, name)), Some((first, more))) = (object, gaps.split_first()) else {
            continue;
        };
        let more: Vec<String> =
            more.iter().map(|gap| format!("; nor has {}: {}", gap.field, gap.why)).collect();
        let message = format!("{who}: no effect: {}{} ({PAGE})", first.why, more.concat());
        found.push(warning(index, kind, name, &first.field, message));
    }
}
