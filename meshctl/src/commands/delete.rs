//! `delete`: deletes objects, all of them or none.

use std::path::PathBuf;

use mesh_api::MAX_BATCH;
use mesh_api::manifest::Located;
use mesh_api::wire;

use super::get::check_namespace;
use crate::client::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::emit_results;
use crate::target::{self, Target, reference, word};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kind and names, as in `svc reviews` or `svc/reviews`.
    #[arg(value_name = "KIND NAME", required_unless_present = "filename")]
    target: Vec<String>,
    /// Delete the objects that these manifests name instead.
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", conflicts_with = "target")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    namespace: crate::cli::Namespace,
    /// Check and show what would be deleted, but delete nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { target, filename, namespace, dry_run } = args;
    let located = if filename.is_empty() { Vec::new() } else { input::read(&filename)? };
    let objects = if filename.is_empty() {
        check_namespace(&namespace.namespace)?;
        named(&target, &namespace.namespace)?
    } else {
        let references = located.iter().map(Located::reference);
        references.map(wire::ObjectRef::from).collect()
    };
    if objects.len() > MAX_BATCH {
        return Err(Failure::usage(format!(
            "{} objects, and the control plane takes {MAX_BATCH} at once: delete them in parts, \
             ServiceConfigs before the services that they name",
            objects.len()
        )));
    }
    let mut client = context.connect().await?;
    let response = client
        .delete(wire::DeleteRequest { objects, dry_run })
        .await
        .map_err(|failure| failure.located(&located))?;
    emit_results(context, &response.results, response.revision, dry_run)
}

fn named(words: &[String], namespace: &str) -> Result<Vec<wire::ObjectRef>, Failure> {
    let Target { kind, names } = target::parse(words)?;
    if names.is_empty() {
        return Err(Failure::usage(format!("say which {}", word(kind))));
    }
    let reference = |name: &String| reference(kind, namespace, name);
    Ok(names.iter().map(reference).collect())
}
