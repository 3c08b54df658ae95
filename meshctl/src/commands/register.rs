//! `register`: puts an endpoint into the registry, once or as long as this runs.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::model::Object;
use mesh_api::wire;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Namespace, duration};
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::{emit, note, time};

/// Lease of an endpoint that sends heartbeats, unless `--ttl` says otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// Heartbeats per lease: two may get lost.
const BEATS: u64 = 3;
/// Longest pause before trying again.
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service that the endpoint is an instance of.
    #[arg(long)]
    service: String,
    /// Version of the service, which traffic rules select by.
    #[arg(long, default_value = "")]
    version: String,
    /// IPv4 address where the instance listens.
    #[arg(long)]
    address: String,
    /// Name of the endpoint; SERVICE-ADDRESS unless given, as in reviews-10-0-0-1.
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
    /// Stay, keep the lease alive, and deregister at the end (Ctrl-C or SIGTERM).
    #[arg(long)]
    heartbeat: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let heartbeat = args.heartbeat;
    let endpoint = endpoint(args)?;
    let request = wire::RegisterRequest { endpoint: Some(endpoint) };
    if !heartbeat {
        return tokio::select! {
            biased;
            result = once(context, request) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        };
    }
    // Listened for from the start, so that no endpoint is left behind.
    let listen = |kind| signal(kind).map_err(|error| Failure::io("signals", error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut client = context.connect().await?;
    let (namespace, name) = names(&request);
    let kept = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        result = keep(&mut client, &request) => result,
    };
    kept?;
    let deregister = wire::DeregisterRequest { namespace, name: name.clone() };
    match client.deregister(deregister).await {
        Ok(_) => emit(&format!("endpoint/{name} deregistered\n")),
        // The lease ran out first, or somebody was faster: what was wanted is so.
        Err(Failure::NotFound { .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

async fn once(context: &Context, request: wire::RegisterRequest) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let (_, name) = names(&request);
    let response = client.register(request).await?;
    emit(&registered(&name, &response))
}

/// Registers and keeps the lease alive; ends only with an error.
async fn keep(client: &mut Client, request: &wire::RegisterRequest) -> Result<(), Failure> {
    let (namespace, name) = names(request);
    let response = client.register(request.clone()).await?;
    emit(&registered(&name, &response))?;
    let mut ttl = response.ttl_ms;
    loop {
        tokio::time::sleep(pause(ttl)).await;
        let beat = wire::HeartbeatRequest { namespace: namespace.clone(), name: name.clone() };
        match client.heartbeat(beat).await {
            Ok(response) => ttl = response.ttl_ms,
            // The lease ran out, for example while this machine slept.
            Err(Failure::NotFound { .. }) => match client.register(request.clone()).await {
                Ok(response) => {
                    ttl = response.ttl_ms;
                    note(&format!("the lease had run out: endpoint/{name} registered again"));
                }
                Err(failure) => lost(failure)?,
            },
            Err(failure) => lost(failure)?,
        }
    }
}

/// Goes on after what may pass.
fn lost(failure: Failure) -> Result<(), Failure> {
    if let Failure::Unreachable { reason, .. }
    | Failure::TimedOut { message: reason }
    | Failure::Server { message: reason } = failure
    {
        note(&format!("heartbeat: {reason}; trying again"));
        return Ok(());
    }
    Err(failure)
}

fn pause(ttl_ms: u64) -> Duration {
    Duration::from_millis((ttl_ms / BEATS).max(100)).min(MAX_PAUSE)
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
    let name =
        args.name.unwrap_or_else(|| format!("{}-{}", args.service, args.address.replace('.', "-")));
    let spec = wire::Endpoint {
        service: args.service,
        version: args.version,
        address: args.address,
        ports: args.ports.into_iter().collect::<BTreeMap<_, _>>(),
        node: args.node,
        workload: args.workload,
        weight: args.weight,
        ttl_ms: ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parsed(flags: &[&str]) -> Result<wire::Object, Failure> {
        let common = ["meshctl", "register", "--service", "reviews"];
        let cli = crate::cli::Cli::parse_from(common.iter().chain(flags));
        let crate::cli::Command::Register(args) = cli.command else {
            panic!("register");
        };
        endpoint(args)
    }

    #[test]
    fn flags_become_an_endpoint() {
        let flags =
            ["--version", "v1", "--address", "10.0.0.1", "--port", "http=8080", "--ttl", "10s"];
        let object = parsed(&flags).expect("valid");
        assert_eq!(
            mesh_api::manifest::to_yaml(&object).expect("YAML"),
            "\
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata:
  namespace: default
  name: reviews-10-0-0-1
spec:
  service: reviews
  version: v1
  address: 10.0.0.1
  ports:
    http: 8080
  ttl: 10s
"
        );
    }

    #[test]
    fn heartbeats_need_a_lease() {
        let spec = |object: wire::Object| match object.spec {
            Some(wire::object::Spec::Endpoint(spec)) => spec.ttl_ms,
            other => panic!("{other:?}"),
        };
        let ttl = |flags: &[&str]| parsed(flags).map(spec);
        assert_eq!(ttl(&["--address", "10.0.0.1", "--heartbeat"]).expect("valid"), 30_000);
        assert_eq!(ttl(&["--address", "10.0.0.1"]).expect("valid"), 0);
        let zero = ttl(&["--address", "10.0.0.1", "--heartbeat", "--ttl", "0"]);
        assert_eq!(zero.expect_err("zero").exit_code(), 2);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let failure = parsed(&["--address", "nowhere", "--name", "X"]).expect_err("wrong");
        assert_eq!(failure.exit_code(), 2);
        let said = failure.to_string();
        assert!(said.contains("metadata.name"), "{said}");
        assert!(said.contains("spec.address"), "{said}");
    }

    #[test]
    fn heartbeats_come_often_enough() {
        assert_eq!(pause(3000), Duration::from_secs(1));
        assert_eq!(pause(1), Duration::from_millis(100));
        assert_eq!(pause(86_400_000), MAX_PAUSE);
    }
}
