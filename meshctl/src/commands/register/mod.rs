//! `register`: puts an endpoint into the registry, once or as long as this runs.

mod keep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::model::{Kind, Object};
use mesh_api::wire;

use crate::cli::{Namespace, duration};
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::{Format, emit, objects, time, warn};
use crate::target::reference;

/// Lease of an endpoint that sends heartbeats, unless `--ttl` says otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service that the endpoint is an instance of.
    #[arg(long)]
    service: String,
    /// Version of the service, which traffic rules select by.
    #[arg(long, default_value = "")]
    version: String,
    /// IPv4 or IPv6 address where the instance listens.
    #[arg(long)]
    address: String,
    /// Name of the endpoint; SERVICE-ADDRESS unless given, as in reviews-10-0-0-1 or
    /// reviews-fd00--1.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    namespace: Namespace,
    /// Port of this instance for a port of the service, where it differs; may be repeated.
    #[arg(long = "port", value_name = "NAME=PORT", value_parser = named_port)]
    ports: Vec<(String, u32)>,
    /// Lease: without heartbeats for so long, the endpoint is removed. Permanent unless given.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    ttl: Option<Duration>,
    /// Share among the endpoints of its version.
    #[arg(long)]
    weight: Option<u32>,
    /// Node that the instance runs on.
    #[arg(long, default_value = "")]
    node: String,
    /// What runs the instance: a unit, a container, a pod.
    #[arg(long, default_value = "")]
    workload: String,
    /// Region that the instance is in.
    #[arg(long, default_value = "")]
    region: String,
    /// Zone that the instance is in.
    #[arg(long, default_value = "")]
    zone: String,
    /// Stay, keep the lease alive, and deregister at the end (Ctrl-C or SIGTERM).
    ///
    /// An endpoint whose lease ran out, because this machine slept or the network was away, is
    /// registered again. One that somebody deleted is not: that ends the command with 4.
    #[arg(long)]
    heartbeat: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let heartbeat = args.heartbeat;
    let endpoint = endpoint(args)?;
    let request = wire::RegisterRequest { endpoint: Some(endpoint) };
    if heartbeat {
        return keep::run(context, &request).await;
    }
    tokio::select! {
        biased;
        result = once(context, &request) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
}

async fn once(context: &Context, request: &wire::RegisterRequest) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    register(context, &mut client, request).await.map(drop)
}

/// Registers the endpoint and says so in the format asked for; returns the lease in milliseconds.
async fn register(
    context: &Context,
    client: &mut Client,
    request: &wire::RegisterRequest,
) -> Result<u64, Failure> {
    let response = client.register(request.clone()).await?;
    warn(&response.warnings, &[]);
    let (namespace, name) = names(request);
    let text = match context.format {
        Format::Table | Format::Wide => registered(&name, &response),
        Format::Name => format!("endpoint/{name}\n"),
        Format::Json | Format::Yaml => {
            // As it is stored: with its revision, and the defaults filled in.
            let object = Some(reference(Kind::Endpoint, &namespace, &name));
            let object = client.get(wire::GetRequest { object }).await?;
            if context.format == Format::Json {
                objects::json(&[&object], false)?
            } else {
                objects::yaml(&[&object])?
            }
        }
    };
    emit(&text)?;
    Ok(response.ttl_ms)
}

fn names(request: &wire::RegisterRequest) -> (String, String) {
    let endpoint = request.endpoint.as_ref();
    let metadata = endpoint.and_then(|endpoint| endpoint.metadata.clone());
    let metadata = metadata.unwrap_or_default();
    (metadata.namespace, metadata.name)
}

fn registered(name: &str, response: &wire::RegisterResponse) -> String {
    let lease = match response.ttl_ms {
        0 => "permanent".to_owned(),
        ttl => format!("ttl {}", time::age(ttl)),
    };
    let revision = response.revision;
    format!("endpoint/{name} registered (revision {revision}, {lease})\n")
}

/// The endpoint that the flags describe, checked.
fn endpoint(args: Args) -> Result<wire::Object, Failure> {
    let ttl = match args.ttl {
        None if args.heartbeat => Some(DEFAULT_TTL),
        Some(ttl) if args.heartbeat && ttl.is_zero() => {
            return Err(Failure::usage("--heartbeat needs a --ttl above 0"));
        }
        ttl => ttl,
    };
    let name = args.name.unwrap_or_else(|| default_name(&args.service, &args.address));
    let locality = wire::Locality { region: args.region, zone: args.zone };
    let spec = wire::Endpoint {
        service: args.service,
        version: args.version,
        address: args.address,
        ports: args.ports.into_iter().collect::<BTreeMap<_, _>>(),
        node: args.node,
        workload: args.workload,
        locality: (locality != wire::Locality::default()).then_some(locality),
        weight: args.weight,
        ttl_ms: ttl.map_or(0, milliseconds),
        ..wire::Endpoint::default()
    };
    let object = wire::Object {
        metadata: Some(wire::Metadata {
            namespace: args.namespace.namespace,
            name,
            ..wire::Metadata::default()
        }),
        spec: Some(wire::object::Spec::Endpoint(spec)),
    };
    Object::try_from(object.clone()).map_err(|errors| {
        let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(said.join("\n"))
    })?;
    Ok(object)
}

fn named_port(text: &str) -> Result<(String, u32), String> {
    let form = || "write it as NAME=PORT, as in http=8080".to_owned();
    let (name, port) = text.split_once('=').ok_or_else(form)?;
    Ok((name.to_owned(), port.parse().map_err(|_error| form())?))
}

/// The address in its shortest form, with dashes for what names do not have.
fn default_name(service: &str, address: &str) -> String {
    let address = address.parse().map_or_else(|_| address.to_owned(), |it: IpAddr| it.to_string());
    let address = address.replace(['.', ':'], "-");
    // `fd00::` stands for `fd00::0`, and a name does not end with a dash.
    let zero = if address.ends_with('-') { "0" } else { "" };
    format!("{service}-{address}{zero}")
}
