//! `history`: how an object has changed, newest first.

use mesh_api::manifest::Manifest;
use mesh_api::wire;
use serde::Serialize;

use super::get::check_namespace;
use crate::client::Context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::output::{action, emit_value, objects, time};
use crate::target;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kind and name, as in `sc reviews` or `sc/reviews`.
    #[arg(required = true, num_args = 1..=2, value_name = "KIND NAME")]
    target: Vec<String>,
    #[command(flatten)]
    namespace: crate::cli::Namespace,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let namespace = args.namespace.namespace;
    check_namespace(&namespace)?;
    let object = Some(target::parse_one(&args.target, &namespace)?);
    let mut client = context.connect().await?;
    let changes = client.history(wire::HistoryRequest { object }).await?.changes;
    let entries: Vec<_> = changes.iter().map(Entry::from).collect();
    let names = || entries.iter().map(|entry| format!("revision/{}", entry.revision)).collect();
    emit_value(context, &entries, names, |_| {
        let mut table = Table::new(&["REVISION", "TIME", "ACTION", "CONTENT"]);
        for (entry, change) in entries.iter().zip(&changes) {
            table.row(vec![
                entry.revision.to_string(),
                entry.time.clone(),
                entry.action.to_owned(),
                change.object.as_ref().map(content).unwrap_or_default(),
            ]);
        }
        table.render(context.style)
    })
}

/// One change, as programs read it.
#[derive(Serialize)]
struct Entry<'a> {
    revision: u64,
    time: String,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Manifest<'a>>,
}

impl<'a> From<&'a wire::Change> for Entry<'a> {
    fn from(change: &'a wire::Change) -> Self {
        Self {
            revision: change.revision,
            time: time::utc(change.time_ms),
            action: action(change.action()),
            object: change.object.as_ref().map(Manifest),
        }
    }
}

/// What is most telling about an object, in a few words.
fn content(object: &wire::Object) -> String {
    match &object.spec {
        Some(wire::object::Spec::Service(spec)) => {
            let ports: Vec<_> = spec.ports.iter().map(objects::port).collect();
            format!("{} {}", spec.vips.join(","), ports.join(","))
        }
        Some(wire::object::Spec::Endpoint(spec)) => {
            let weight = spec.weight.unwrap_or(1);
            format!("{} {} weight {weight}", spec.address, objects::state(spec))
        }
        Some(wire::object::Spec::ServiceConfig(spec)) => objects::rules(spec),
        None => String::new(),
    }
}
