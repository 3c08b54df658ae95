//! A service, and its config, as text for people.

use mesh_api::wire;
use mesh_api::wire::object::Spec;

use super::shares::{Family, Shares, own_version};
use super::{field, head, metadata};
use crate::output::objects::{self, state};
use crate::output::settings;
use crate::output::style::{Style, Tone};
use crate::output::table::Table;

pub(super) fn service(
    object: &wire::Object,
    spec: &wire::Service,
    config: Option<&wire::Object>,
    endpoints: &[wire::Object],
    style: Style,
) -> String {
    let name = metadata(object).name;
    let endpoints = specs(endpoints);
    let none = wire::ServiceConfig::default();
    let config = match config.map(|config| &config.spec) {
        Some(Some(Spec::ServiceConfig(config))) => config,
        Some(Some(Spec::Service(_) | Spec::Endpoint(_)) | None) | None => &none,
    };
    let families = Family::of_all(&spec.vips);

    let mut table = head(object);
    field(&mut table, "Addresses", &spec.vips.join(", "));
    field(&mut table, "No backend", &settings::no_backend(spec));
    field(&mut table, "Affinity", &settings::affinity(spec));
    balancing(&mut table, config);
    let mut out = table.render(style);

    out.push_str("\nPorts:\n");
    let mut table = Table::new(&["  NAME", "PORT", "APP-PROTOCOL"]);
    for port in &spec.ports {
        table.row(vec![format!("  {}", port.name), objects::port(port), port.app_protocol.clone()]);
    }
    out.push_str(&table.render(style));

    out.push_str(&rules(&name, config, &families, &endpoints, style));
    out.push_str(&endpoint_table(&name, config, &families, &endpoints, style));
    out
}

pub(super) fn config(
    object: &wire::Object,
    spec: &wire::ServiceConfig,
    service: Option<&wire::Object>,
    endpoints: &[wire::Object],
    style: Style,
) -> String {
    let vips = match service.map(|service| &service.spec) {
        Some(Some(Spec::Service(service))) => &service.vips[..],
        Some(Some(Spec::ServiceConfig(_) | Spec::Endpoint(_)) | None) | None => &[],
    };
    let mut table = head(object);
    balancing(&mut table, spec);
    let mut out = table.render(style);
    let name = metadata(object).name;
    out.push_str(&rules(&name, spec, &Family::of_all(vips), &specs(endpoints), style));
    out
}

fn balancing(table: &mut Table, config: &wire::ServiceConfig) {
    field(table, "Load balancer", &settings::policy(config));
    field(table, "Locality", &settings::locality(config));
    field(table, "Drain timeout", &settings::drain_timeout(config));
}

/// The rules with each one's share, and how many endpoints take it; for each family on its own
/// where the service has both.
fn rules(
    service: &str,
    config: &wire::ServiceConfig,
    families: &[Family],
    endpoints: &[(&str, &wire::Endpoint)],
    style: Style,
) -> String {
    if config.traffic_rules.is_empty() {
        return "\nTraffic rules: none, all endpoints share by their weights\n".to_owned();
    }
    let mut heading = vec!["  DESTINATION".to_owned(), "WEIGHT".to_owned()];
    for family in families {
        let which = if families.len() > 1 { format!("-{family}") } else { String::new() };
        heading.extend([format!("SHARE{which}"), format!("SERVING{which}")]);
    }
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let mut table = Table::new(&heading);
    let by_family: Vec<Shares> =
        families.iter().map(|family| Shares::new(service, config, *family, endpoints)).collect();
    let destinations = objects::shares(config);
    for (at, (rule, (destination, _))) in config.traffic_rules.iter().zip(destinations).enumerate()
    {
        let mut row = vec![(format!("  {destination}"), None), (rule.weight.to_string(), None)];
        for shares in &by_family {
            let (share, serving) = shares.of(at);
            let tone = (serving == 0 && rule.weight > 0).then_some(Tone::Bad);
            row.extend([(share, None), (serving.to_string(), tone)]);
        }
        table.toned(row);
    }
    format!("\nTraffic rules:\n{}", table.render(style))
}

fn endpoint_table(
    service: &str,
    config: &wire::ServiceConfig,
    families: &[Family],
    endpoints: &[(&str, &wire::Endpoint)],
    style: Style,
) -> String {
    let heading =
        ["  NAME", "ADDRESS", "VERSION", "STATE", "WEIGHT", "NODE", "REGION", "ZONE", "NEW"];
    let mut table = Table::new(&heading);
    let own = endpoints.iter().filter(|(_, spec)| spec.service == service);
    let mut any = false;
    for (name, spec) in own {
        any = true;
        let locality = spec.locality.clone().unwrap_or_default();
        let (takes, tone) = match why_none(service, config, families, spec) {
            None => ("yes".to_owned(), None),
            Some(why) => (format!("no: {why}"), Some(Tone::Bad)),
        };
        let cells = [
            format!("  {name}"),
            spec.address.clone(),
            spec.version.clone(),
            state(spec).to_owned(),
            spec.weight.unwrap_or(1).to_string(),
            spec.node.clone(),
            locality.region,
            locality.zone,
        ];
        let cells = cells.into_iter().map(|cell| (cell, None));
        table.toned(cells.chain([(takes, tone)]).collect());
    }
    if any {
        format!(
            "\nEndpoints (NEW: takes new connections of this service):\n{}",
            table.render(style)
        )
    } else {
        "\nEndpoints: none\n".to_owned()
    }
}

/// Why an endpoint takes no new connections of its service; `None` where it does.
fn why_none(
    service: &str,
    config: &wire::ServiceConfig,
    families: &[Family],
    endpoint: &wire::Endpoint,
) -> Option<String> {
    if endpoint.state() == wire::EndpointState::Draining {
        return Some("draining".to_owned());
    }
    if endpoint.weight == Some(0) {
        return Some("weight 0".to_owned());
    }
    let family = Family::of(&endpoint.address)?;
    if !families.contains(&family) {
        return Some(format!("the service has no {family} address"));
    }
    let mut rules = config.traffic_rules.iter().filter(|rule| rule.weight > 0);
    let none = !config.traffic_rules.is_empty()
        && !rules.any(|rule| own_version(service, rule, &endpoint.version));
    none.then(|| "no traffic rule".to_owned())
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
