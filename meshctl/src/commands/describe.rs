//! `describe`: one object and what belongs to it, for people. Other formats are those of `get`.

use mesh_api::manifest::DEFAULT_NAMESPACE;
use mesh_api::model::Kind;
use mesh_api::wire;
use mesh_api::wire::object::Spec;

use super::get::check_namespace;
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::objects::{self, labels, percent, shares, state};
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::{Format, emit};
use crate::target::{self, reference, word};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kind and name, as in `svc reviews` or `svc/reviews`.
    #[arg(required = true, num_args = 1..=2, value_name = "KIND NAME")]
    target: Vec<String>,
    #[command(flatten)]
    namespace: crate::cli::Namespace,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let namespace = args.namespace.namespace;
    check_namespace(&namespace)?;
    let target = target::parse_one(&args.target, &namespace)?;
    let mut client = context.connect().await?;
    let request = wire::GetRequest { object: Some(target.clone()) };
    let object = client.get(request).await?;
    match context.format {
        Format::Json => return emit(&objects::json(&[&object], false)?),
        Format::Yaml => return emit(&objects::yaml(&[&object])?),
        Format::Name => {
            return emit(&format!("{}\n", crate::output::subject(Some(&target))));
        }
        Format::Table | Format::Wide => {}
    }
    let text = match &object.spec {
        Some(Spec::Service(spec)) => {
            let config = config(&mut client, &target).await?;
            let endpoints = endpoints(&mut client, &target.namespace).await?;
            service(&object, spec, config.as_ref(), &endpoints, context.style)
        }
        Some(Spec::Endpoint(spec)) => endpoint(&object, spec, context.style),
        Some(Spec::ServiceConfig(spec)) => {
            let endpoints = endpoints(&mut client, &target.namespace).await?;
            service_config(&object, spec, &endpoints, context.style)
        }
        None => head(&object).render(context.style),
    };
    emit(&text)
}

/// The configuration of a service, if it has one.
async fn config(
    client: &mut Client,
    service: &wire::ObjectRef,
) -> Result<Option<wire::Object>, Failure> {
    let object = Some(reference(Kind::ServiceConfig, &service.namespace, &service.name));
    match client.get(wire::GetRequest { object }).await {
        Ok(config) => Ok(Some(config)),
        Err(Failure::NotFound { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// All endpoints of a namespace.
async fn endpoints(client: &mut Client, namespace: &str) -> Result<Vec<wire::Object>, Failure> {
    let request =
        wire::ListRequest { kind: wire::Kind::Endpoint.into(), namespace: namespace.to_owned() };
    Ok(client.list(request).await?.objects)
}

fn service(
    object: &wire::Object,
    spec: &wire::Service,
    config: Option<&wire::Object>,
    endpoints: &[wire::Object],
    style: Style,
) -> String {
    let name = metadata(object).name;
    let mut table = head(object);
    field(&mut table, "Addresses", &spec.vips.join(", "));
    let no_backend = match spec.on_no_backend() {
        wire::OnNoBackend::Unspecified | wire::OnNoBackend::Refuse => "Refuse",
        wire::OnNoBackend::PassThrough => "PassThrough",
    };
    field(&mut table, "No backend", no_backend);
    let mut out = table.render(style);

    out.push_str("\nPorts:\n");
    let mut table = Table::new(&["  NAME", "PORT", "APP-PROTOCOL"]);
    for port in &spec.ports {
        table.row(vec![format!("  {}", port.name), objects::port(port), port.app_protocol.clone()]);
    }
    out.push_str(&table.render(style));

    match config {
        Some(wire::Object { spec: Some(Spec::ServiceConfig(spec)), .. })
            if !spec.traffic_rules.is_empty() =>
        {
            out.push_str(&rules(&name, spec, endpoints, style));
        }
        Some(_) | None => {
            out.push_str("\nTraffic rules: none, all endpoints share by their weights\n");
        }
    }
    out.push_str(&endpoint_table(&name, endpoints, style));
    out
}

fn service_config(
    object: &wire::Object,
    spec: &wire::ServiceConfig,
    endpoints: &[wire::Object],
    style: Style,
) -> String {
    let mut out = head(object).render(style);
    out.push_str(&rules(&metadata(object).name, spec, endpoints, style));
    out
}

fn endpoint(object: &wire::Object, spec: &wire::Endpoint, style: Style) -> String {
    let mut table = head(object);
    let locality = spec.locality.clone().unwrap_or_default();
    let ports = spec.ports.iter();
    let ports: Vec<_> = ports.map(|(name, port)| format!("{name}={port}")).collect();
    for (name, value) in [
        ("Service", spec.service.as_str()),
        ("Version", &spec.version),
        ("Address", &spec.address),
        ("Ports", &ports.join(", ")),
        ("State", state(spec)),
        ("Weight", &spec.weight.unwrap_or(1).to_string()),
        ("Lease", &objects::ttl(spec)),
        ("Node", &spec.node),
        ("Workload", &spec.workload),
        ("Region", &locality.region),
        ("Zone", &locality.zone),
    ] {
        field(&mut table, name, value);
    }
    table.render(style)
}

/// The rules with each one's share, and how many endpoints take it. A rule without endpoints
/// leaves its share to the others, as the agents do.
fn rules(
    service: &str,
    spec: &wire::ServiceConfig,
    endpoints: &[wire::Object],
    style: Style,
) -> String {
    let mut table = Table::new(&["  DESTINATION", "WEIGHT", "SHARE", "SERVING"]);
    let counts: Vec<usize> =
        spec.traffic_rules.iter().map(|rule| serving(service, rule, endpoints)).collect();
    let served = spec.traffic_rules.iter().zip(&counts).filter(|(_, count)| **count > 0);
    let sum: u64 = served.map(|(rule, _)| u64::from(rule.weight)).sum();
    let rules = spec.traffic_rules.iter().zip(shares(spec)).zip(counts);
    for ((rule, (destination, _)), count) in rules {
        let part = if count == 0 { 0 } else { u64::from(rule.weight) };
        let share = percent(part, sum);
        let tone = (count == 0 && rule.weight > 0).then_some(Tone::Bad);
        table.toned(vec![
            (format!("  {destination}"), None),
            (rule.weight.to_string(), None),
            (share, None),
            (count.to_string(), tone),
        ]);
    }
    format!("\nTraffic rules:\n{}", table.render(style))
}

/// How many endpoints take new connections for a rule.
fn serving(service: &str, rule: &wire::TrafficRule, endpoints: &[wire::Object]) -> usize {
    let destination = rule.destination.clone().unwrap_or_default();
    let wanted = match destination.service.as_str() {
        "" => service,
        other => other,
    };
    let takes = |spec: &&wire::Endpoint| {
        spec.service == wanted
            && (destination.version.is_empty() || spec.version == destination.version)
            && spec.state() != wire::EndpointState::Draining
            && spec.weight != Some(0)
    };
    endpoint_specs(endpoints).map(|(_, spec)| spec).filter(takes).count()
}

fn endpoint_table(service: &str, endpoints: &[wire::Object], style: Style) -> String {
    let mut table = Table::new(&["  NAME", "ADDRESS", "VERSION", "STATE", "WEIGHT", "NODE"]);
    let mut any = false;
    for (name, spec) in endpoint_specs(endpoints).filter(|(_, spec)| spec.service == service) {
        any = true;
        table.row(vec![
            format!("  {name}"),
            spec.address.clone(),
            spec.version.clone(),
            state(spec).to_owned(),
            spec.weight.unwrap_or(1).to_string(),
            spec.node.clone(),
        ]);
    }
    if any {
        format!("\nEndpoints:\n{}", table.render(style))
    } else {
        "\nEndpoints: none\n".to_owned()
    }
}

fn endpoint_specs(objects: &[wire::Object]) -> impl Iterator<Item = (&str, &wire::Endpoint)> {
    objects.iter().filter_map(|object| match &object.spec {
        Some(Spec::Endpoint(spec)) => {
            let name = object.metadata.as_ref().map_or("", |it| it.name.as_str());
            Some((name, spec))
        }
        Some(Spec::Service(_) | Spec::ServiceConfig(_)) | None => None,
    })
}

fn metadata(object: &wire::Object) -> wire::Metadata {
    object.metadata.clone().unwrap_or_default()
}

/// The fields that every kind has.
fn head(object: &wire::Object) -> Table {
    let metadata = metadata(object);
    let mut table = Table::bare();
    field(&mut table, "Kind", object.kind().map_or("", word));
    field(&mut table, "Name", &metadata.name);
    if metadata.namespace != DEFAULT_NAMESPACE {
        field(&mut table, "Namespace", &metadata.namespace);
    }
    field(&mut table, "Revision", &metadata.resource_version.to_string());
    field(&mut table, "Labels", &labels(&metadata));
    table
}

fn field(table: &mut Table, name: &str, value: &str) {
    table.row(vec![format!("{name}:"), value.to_owned()]);
}

#[cfg(test)]
mod tests {
    use mesh_api::manifest::{Located, parse};

    use super::*;

    const WORLD: &str = "
{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {name: reviews, resourceVersion: 7},
 spec: {vips: [10.96.0.10], ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: mesh.dev/v1alpha1, kind: ServiceConfig, metadata: {name: reviews},
 spec: {trafficRules: [{destination: {version: v1}, weight: 9},
  {destination: {version: v2}, weight: 1}]}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: one},
 spec: {service: reviews, version: v1, address: 10.0.0.1}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: two},
 spec: {service: reviews, version: v2, address: 10.0.0.2, state: Draining}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: three},
 spec: {service: ratings, version: v2, address: 10.0.0.3}}
";

    #[test]
    fn a_service_shows_shares_and_its_own_endpoints() {
        let world: Vec<_> =
            parse("w", WORLD).expect("valid").into_iter().map(Located::into_object).collect();
        let Some(Spec::Service(spec)) = &world[0].spec else {
            panic!("a service");
        };
        let text = service(&world[0], spec, Some(&world[1]), &world, Style::PLAIN);
        assert_eq!(
            text,
            "\
Kind:         service
Name:         reviews
Revision:     7
Labels:       -
Addresses:    10.96.0.10
No backend:   Refuse

Ports:
  NAME   PORT           APP-PROTOCOL
  http   80->8080/TCP   -

Traffic rules:
  DESTINATION   WEIGHT   SHARE   SERVING
  v1            9        100%    1
  v2            1        0%      0

Endpoints:
  NAME   ADDRESS    VERSION   STATE      WEIGHT   NODE
  one    10.0.0.1   v1        Serving    1        -
  two    10.0.0.2   v2        Draining   1        -
"
        );
    }
}
