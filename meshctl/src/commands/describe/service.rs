//! A service, and its config, as text for people.

use mesh_api::model::LocalityMode;
use mesh_api::wire;
use mesh_api::wire::object::Spec;

use super::shares::Shares;
use super::traffic;
use super::world::{Part, World};
use super::{Around, field, head, metadata};
use crate::commands::health::{Status, guard_table};
use crate::output::objects::{self, state};
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::{requests, resilience, settings};

pub(super) fn service(
    object: &wire::Object,
    spec: &wire::Service,
    around: &Around,
    style: Style,
) -> String {
    let name = metadata(object).name;
    let config = around.object.as_ref();
    let world = World::new(&name, &spec.vips, config, &around.endpoints, &around.health);

    let mut table = head(object);
    field(&mut table, "Addresses", &spec.vips.join(", "));
    field(&mut table, "No backend", &settings::no_backend(spec));
    field(&mut table, "Affinity", &settings::affinity(spec));
    configured(&mut table, &world);
    let mut out = table.render(style);

    out.push_str("\nPorts:\n");
    let mut table = Table::new(&["  NAME", "PORT", "APP-PROTOCOL"]);
    for port in &spec.ports {
        table.row(vec![format!("  {}", port.name), objects::port(port), port.app_protocol.clone()]);
    }
    out.push_str(&table.render(style));

    out.push_str(&rules(&world, style));
    out.push_str(&endpoint_table(&world, style));
    out.push_str(&remarks(&world));
    let guards: Vec<_> = around.health.guards_of(&name).cloned().collect();
    if !guards.is_empty() {
        out.push_str("\nBreakers that are not closed, and ejections, of each node's clients:\n");
        out.push_str(&guard_table("  ", &guards, style));
    }
    out
}

pub(super) fn config(object: &wire::Object, around: &Around, style: Style) -> String {
    let vips = match around.object.as_ref().map(|service| &service.spec) {
        Some(Some(Spec::Service(service))) => &service.vips[..],
        Some(Some(Spec::ServiceConfig(_) | Spec::Endpoint(_)) | None) | None => &[],
    };
    let name = metadata(object).name;
    let world = World::new(&name, vips, Some(object), &around.endpoints, &around.health);
    let mut table = head(object);
    configured(&mut table, &world);
    let mut out = table.render(style);
    out.push_str(&rules(&world, style));
    out
}

fn configured(table: &mut Table, world: &World<'_>) {
    let config = world.config;
    field(table, "Load balancer", &settings::policy(config));
    field(table, "Locality", &settings::locality(config));
    field(table, "Drain timeout", &settings::drain_timeout(config));
    for (name, value) in resilience::settings(world.settings.as_ref()) {
        field(table, name, &value);
    }
    if let Some(value) = settings::acceleration(config) {
        field(table, "Acceleration", value);
    }
}

/// The rules with each one's share, and how many endpoints take it; for each family on its own
/// where the service has both.
fn rules(world: &World<'_>, style: Style) -> String {
    let World { config, families, rules, .. } = world;
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
        families.iter().map(|family| Shares::new(world, *family)).collect();
    let destinations = objects::shares(rules);
    for (at, (rule, (destination, _))) in rules.iter().zip(destinations).enumerate() {
        let mut row = vec![(format!("  {destination}"), None), (rule.weight.to_string(), None)];
        for shares in &by_family {
            let (share, serving) = shares.of(at);
            let tone = (serving == 0 && rule.weight > 0).then_some(Tone::Bad);
            row.extend([(share, None), (serving.to_string(), tone)]);
        }
        table.toned(row);
    }
    let mut out = String::new();
    if !rules.is_empty() {
        out.push_str("\nTraffic rules:\n");
        out.push_str(&table.render(style));
    }
    let rows = requests::rows(config);
    if !rows.is_empty() {
        let mut table = Table::new(&["  MATCH", "DESTINATION", "SHARE", "ACTIONS"]);
        for [matched, to, share, actions] in rows {
            table.row(vec![format!("  {matched}"), to, share, actions]);
        }
        out.push_str("\nRules for requests, by Envoy and gRPC:\n");
        out.push_str(&table.render(style));
    }
    out
}

fn endpoint_table(world: &World<'_>, style: Style) -> String {
    let mut table = Table::new(&[
        "  NAME", "ADDRESS", "VERSION", "STATE", "WEIGHT", "HEALTH", "NODE", "REGION", "ZONE",
        "NEW",
    ]);
    let mut any = false;
    for (name, spec) in world.own() {
        any = true;
        let locality = spec.locality.clone().unwrap_or_default();
        let health = world.health.of(name).map(|health| health.status);
        let cells = [
            (format!("  {name}"), None),
            (spec.address.clone(), None),
            (spec.version.clone(), None),
            (state(spec).to_owned(), None),
            (spec.weight.unwrap_or(1).to_string(), None),
            (health.map_or("", Status::as_str).to_owned(), health.and_then(Status::tone)),
            (spec.node.clone(), None),
            (locality.region, None),
            (locality.zone, None),
            traffic::of(world, name, spec),
        ];
        table.toned(cells.into());
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

/// What is to be known beside the table of endpoints.
fn remarks(world: &World<'_>) -> String {
    let mut remarks = Vec::new();
    let threshold = world.settings.as_ref().map_or(0, |it| it.load_balancer.panic_threshold);
    let destinations = objects::shares(&world.rules);
    for Part { family, rule, all, healthy, .. } in world.parts.iter().filter(|part| part.panic) {
        let destination = rule.and_then(|rule| destinations.get(rule));
        let of = destination.map(|(to, _)| format!(" of {to}")).unwrap_or_default();
        remarks.push(format!(
            "  Panic: {healthy} of {all} {family} endpoints{of} healthy, less than {threshold}%: \
             health is ignored\n"
        ));
    }
    let settings = world.settings.as_ref();
    if !world.health.gathered && settings.is_some_and(|it| it.health_check.is_some()) {
        let text = "  Health: unknown, the control plane is too old to gather it\n";
        remarks.push(text.to_owned());
    }
    let locality = settings.and_then(|it| it.load_balancer.locality);
    if locality.is_some_and(|locality| locality.mode == LocalityMode::PreferLocal) {
        let text = "  Locality: of each rule, a node uses the nearest endpoints only\n";
        remarks.push(text.to_owned());
    }
    remarks.concat()
}
