//! `describe`: one object and what belongs to it, for people; of objects, other formats are those of
//! `get`. Or a node.

mod counted;
mod health;
mod node;
mod service;
mod shares;
#[cfg(test)]
mod tests;
mod traffic;
mod warnings;
mod world;

use mesh_api::manifest::DEFAULT_NAMESPACE;
use mesh_api::model::Kind;
use mesh_api::wire;
use mesh_api::wire::object::Spec;

use self::counted::Traffic;
use self::health::Health;
use super::get::check_namespace;
use super::health::latency;
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::objects::{self, labels, state};
use crate::output::style::Style;
use crate::output::table::Table;
use crate::output::{Format, emit};
use crate::target::{self, reference, word};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kind and name, as in `svc reviews`, `svc/reviews` or `node/node-1`.
    #[arg(required = true, num_args = 1..=2, value_name = "KIND NAME")]
    target: Vec<String>,
    #[command(flatten)]
    namespace: crate::cli::Namespace,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    if let Some(name) = node::named(&args.target) {
        return node::run(context, &name?).await;
    }
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
            let around = Around::fetch(&mut client, Kind::ServiceConfig, &target).await?;
            let (namespace, name) = (&target.namespace, &target.name);
            let traffic = Traffic::of_service(&mut client, namespace, name).await?;
            let warnings = around.warnings(&mut client, &object).await?;
            let text = service::service(&object, spec, &around, context.style);
            text + &warnings + &traffic.text(context.style)
        }
        Some(Spec::Endpoint(spec)) => {
            let health = Health::fetch(&mut client, &target.namespace).await?;
            let traffic = Traffic::of_endpoint(&mut client, &target.namespace, spec).await?;
            endpoint(&object, spec, &health, context.style) + &traffic.text(context.style)
        }
        Some(Spec::ServiceConfig(_)) => {
            let around = Around::fetch(&mut client, Kind::Service, &target).await?;
            let warnings = around.warnings(&mut client, &object).await?;
            service::config(&object, &around, context.style) + &warnings
        }
        None => head(&object).render(context.style),
    };
    emit(&text)
}

/// What belongs to a service or to its config.
#[derive(Debug, Default)]
struct Around {
    /// The config of the service, or the service of the config.
    object: Option<wire::Object>,
    /// Of the namespace.
    endpoints: Vec<wire::Object>,
    health: Health,
}

impl Around {
    async fn fetch(
        client: &mut Client,
        other: Kind,
        target: &wire::ObjectRef,
    ) -> Result<Self, Failure> {
        Ok(Self {
            object: optional(client, other, target).await?,
            endpoints: endpoints(client, &target.namespace).await?,
            health: Health::fetch(client, &target.namespace).await?,
        })
    }

    /// What is to be said of both.
    async fn warnings(
        &self,
        client: &mut Client,
        object: &wire::Object,
    ) -> Result<String, Failure> {
        let both: Vec<_> = std::iter::once(object).chain(&self.object).collect();
        warnings::section(client, &both).await
    }
}

/// The object of another kind and the same name, if there is one.
async fn optional(
    client: &mut Client,
    kind: Kind,
    of: &wire::ObjectRef,
) -> Result<Option<wire::Object>, Failure> {
    let object = Some(reference(kind, &of.namespace, &of.name));
    match client.get(wire::GetRequest { object }).await {
        Ok(object) => Ok(Some(object)),
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

fn endpoint(object: &wire::Object, spec: &wire::Endpoint, health: &Health, style: Style) -> String {
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
    let health = health.of(&metadata(object).name);
    field(&mut table, "Health", &health.map(traffic::said).unwrap_or_default());
    let latency = health.map(|health| latency(health.latency_us)).unwrap_or_default();
    field(&mut table, "Check latency", &latency);
    table.render(style)
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
