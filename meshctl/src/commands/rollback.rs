//! `rollback`: stores an object again as it was at an earlier revision.

use mesh_api::wire;

use super::get::check_namespace;
use crate::cli::Wait;
use crate::client::Context;
use crate::failure::Failure;
use crate::output::{emit_results, warn};
use crate::target;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kind and name, as in `sc reviews` or `sc/reviews`.
    #[arg(required = true, num_args = 1..=2, value_name = "KIND NAME")]
    target: Vec<String>,
    #[command(flatten)]
    namespace: crate::cli::Namespace,
    /// The revision whose state is wanted (see `history`); the one before the last change,
    /// unless given.
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    to_revision: Option<u64>,
    /// Check and show what would change, but store nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { target, namespace, to_revision, dry_run, wait } = args;
    check_namespace(&namespace.namespace)?;
    let object = Some(target::parse_one(&target, &namespace.namespace)?);
    let mut client = context.connect().await?;
    let request = wire::RollbackRequest { object, to_revision: to_revision.unwrap_or(0), dry_run };
    let response = client.rollback(request).await?;
    warn(&response.warnings, &[]);
    emit_results(context, &response.results, response.revision, dry_run)?;
    super::wait::until_live(context, &mut client, response.revision, &wait).await
}
