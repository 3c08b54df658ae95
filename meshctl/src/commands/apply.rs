//! `apply`: stores the objects of manifests, all of them or none.

use std::path::PathBuf;

use mesh_api::manifest::Located;
use mesh_api::wire;
use mesh_api::{MAX_BATCH, MAX_MESSAGE};
use prost::Message as _;

use crate::cli::Wait;
use crate::client::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::{emit_results, warn};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a directory (its .yaml, .yml and .json files) or - for standard input; may be
    /// given several times.
    #[arg(short, long = "filename", required = true, value_name = "FILE|DIR|-")]
    filename: Vec<PathBuf>,
    /// Check everything and show what would change, but store nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { filename, dry_run, wait } = args;
    let objects = input::read(&filename)?;
    let request = request(&objects, dry_run)?;
    let mut client = context.connect().await?;
    let response = client.apply(request).await.map_err(|failure| failure.located(&objects))?;
    warn(&response.warnings, &objects);
    emit_results(context, &response.results, response.revision, dry_run)?;
    super::wait::until_live(context, &mut client, response.revision, &wait).await
}

/// All objects in one request, if it is not larger than the control plane takes.
pub(super) fn request(objects: &[Located], dry_run: bool) -> Result<wire::ApplyRequest, Failure> {
    if objects.len() > MAX_BATCH {
        return Err(Failure::usage(format!(
            "{} objects, and the control plane takes {MAX_BATCH} at once: apply them in parts, \
             ServiceConfigs after the services and endpoints that they name",
            objects.len()
        )));
    }
    let request = wire::ApplyRequest {
        objects: objects.iter().map(Located::object).cloned().collect(),
        dry_run,
    };
    let size = request.encoded_len();
    if size > MAX_MESSAGE {
        return Err(Failure::usage(format!(
            "the manifests are {size} bytes together, and the control plane takes {MAX_MESSAGE} \
             at once: apply them in parts"
        )));
    }
    Ok(request)
}
