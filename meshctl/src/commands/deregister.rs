//! `deregister`: removes an endpoint from the registry.

use mesh_api::wire;

use super::get::check_namespace;
use crate::client::Context;
use crate::failure::Failure;
use crate::output::{Format, emit, emit_results};
use crate::target;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the endpoint, as in `reviews-10-0-0-1` or `endpoint/reviews-10-0-0-1`.
    name: String,
    #[command(flatten)]
    namespace: crate::cli::Namespace,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let namespace = args.namespace.namespace;
    check_namespace(&namespace)?;
    let words = match args.name.split_once('/') {
        Some(_) => vec![args.name],
        None => vec!["endpoint".to_owned(), args.name],
    };
    let reference = target::parse_one(&words, &namespace)?;
    if reference.kind() != wire::Kind::Endpoint {
        return Err(Failure::usage("only endpoints are registered: use `meshctl delete`"));
    }
    let mut client = context.connect().await?;
    let request = wire::DeregisterRequest { namespace, name: reference.name.clone() };
    let response = client.deregister(request).await?;
    if !matches!(context.format, Format::Table | Format::Wide) {
        return emit_results(context, &response.results, response.revision, false);
    }
    emit(&format!("endpoint/{} deregistered (revision {})\n", reference.name, response.revision))
}
