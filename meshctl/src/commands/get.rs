//! `get`: lists objects.

use mesh_api::model::Name;
use mesh_api::wire;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::objects::{self, Columns};
use crate::output::table::Table;
use crate::output::{Format, emit, note};
use crate::target::{self, Target, reference, word};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kind and names, as in `service`, `svc reviews ratings` or `svc/reviews`.
    #[arg(required = true, value_name = "KIND [NAME]")]
    target: Vec<String>,
    #[command(flatten)]
    namespace: crate::cli::Namespace,
    /// Objects of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Go on and show every change.
    #[arg(short, long)]
    watch: bool,
}

/// Objects of one kind.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) target: Target,
    /// Empty: all.
    pub(super) namespace: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { target, namespace, all_namespaces, watch } = args;
    let target = target::parse(&target)?;
    if all_namespaces && !target.names.is_empty() {
        return Err(Failure::usage("a name is in one namespace: use -n, not -A"));
    }
    let namespace = if all_namespaces {
        String::new()
    } else {
        check_namespace(&namespace.namespace)?;
        namespace.namespace
    };
    let selection = Selection { target, namespace };
    if watch {
        return super::watch::run(context, &selection).await;
    }
    let found = fetch(context, &selection).await?;
    let one = selection.target.names.len() == 1;
    print(context, &selection, &found, !one)
}

/// A namespace that can be.
pub(super) fn check_namespace(namespace: &str) -> Result<(), Failure> {
    namespace
        .parse::<Name>()
        .map(drop)
        .map_err(|error| Failure::usage(format!("namespace {namespace:?}: {error}")))
}

async fn fetch(context: &Context, selection: &Selection) -> Result<Vec<wire::Object>, Failure> {
    let Selection { target, namespace } = selection;
    let mut client = context.connect().await?;
    if target.names.is_empty() {
        let request = wire::ListRequest {
            kind: wire::Kind::from(target.kind).into(),
            namespace: namespace.clone(),
        };
        return Ok(client.list(request).await?.objects);
    }
    let mut found = Vec::new();
    for name in &target.names {
        let object = Some(reference(target.kind, namespace, name));
        found.push(client.get(wire::GetRequest { object }).await?);
    }
    Ok(found)
}

fn print(
    context: &Context,
    selection: &Selection,
    found: &[wire::Object],
    list: bool,
) -> Result<(), Failure> {
    let Selection { target, namespace } = selection;
    let all: Vec<_> = found.iter().collect();
    match context.format {
        Format::Json => emit(&objects::json(&all, list)?),
        Format::Yaml => emit(&objects::yaml(&all)?),
        Format::Name => emit(&names(target, found)),
        Format::Table | Format::Wide if found.is_empty() => {
            let place = match namespace.as_str() {
                "" => "any namespace".to_owned(),
                namespace => format!("namespace {namespace}"),
            };
            note(&format!("no {}s in {place}", word(target.kind)));
            Ok(())
        }
        Format::Table | Format::Wide => {
            let columns = Columns::of(target.kind, namespace.is_empty(), context.format);
            let mut table = Table::new(&columns.heading());
            for object in found {
                table.row(columns.row(object));
            }
            emit(&table.render(context.style))
        }
    }
}

fn names(target: &Target, found: &[wire::Object]) -> String {
    let name = |object: &wire::Object| {
        let name = object.metadata.as_ref().map_or("", |it| it.name.as_str());
        format!("{}/{name}\n", word(target.kind))
    };
    found.iter().map(name).collect::<Vec<_>>().concat()
}
