//! The control plane's API without `meshctl` in between: for worlds that are too large for a
//! person's files, and for times that must not contain the start of a process.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mesh_api::wire;
use mesh_api::wire::control_client::ControlClient;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

use crate::control::API;
use crate::netns::NetNs;

/// Longest wait for a change of the largest world.
const PATIENCE: Duration = Duration::from_mins(2);
/// Objects in one request: the most that the control plane takes.
const BATCH: usize = 10_000;

/// A connection to a control plane.
pub(super) struct Api {
    runtime: Runtime,
    client: ControlClient<Channel>,
}

impl Api {
    /// Connects inside the control plane's namespace.
    pub(super) fn connect(netns: &NetNs) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("http://{API}"))?.tcp_nodelay(true);
        // The socket belongs to the namespace of the thread that makes it.
        let channel = netns.run(|| runtime.block_on(endpoint.connect()))??;
        let client =
            ControlClient::new(channel).max_decoding_message_size(mesh_api::MAX_MESSAGE * 4);
        Ok(Self { runtime, client })
    }

    /// Stores everything, in as few requests as possible; returns the last revision.
    pub(super) fn apply_all(
        &mut self,
        objects: impl IntoIterator<Item = wire::Object>,
    ) -> anyhow::Result<u64> {
        let mut objects = objects.into_iter().peekable();
        let mut revision = 0;
        while objects.peek().is_some() {
            revision = self.apply(objects.by_ref().take(BATCH).collect())?;
        }
        Ok(revision)
    }

    /// Stores a batch; returns its revision.
    pub(super) fn apply(&mut self, objects: Vec<wire::Object>) -> anyhow::Result<u64> {
        let request = wire::ApplyRequest { objects, dry_run: false };
        let answer = self.runtime.block_on(self.client.apply(request));
        Ok(answer.context("storing objects")?.into_inner().revision)
    }

    /// Deletes an endpoint of the default namespace; returns the revision.
    pub(super) fn delete_endpoint(&mut self, name: &str) -> anyhow::Result<u64> {
        let object = wire::ObjectRef {
            kind: wire::Kind::Endpoint.into(),
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
        };
        let request = wire::DeleteRequest { objects: vec![object], dry_run: false };
        let answer = self.runtime.block_on(self.client.delete(request));
        Ok(answer.context("deleting an endpoint")?.into_inner().revision)
    }

    /// Returns when all connected nodes serve `revision` from their kernels.
    pub(super) fn wait_live(&mut self, revision: u64) -> anyhow::Result<()> {
        let timeout_ms = u64::try_from(PATIENCE.as_millis())?;
        let request = wire::WaitLiveRequest { revision, timeout_ms };
        let answer = self.runtime.block_on(self.client.wait_live(request))?.into_inner();
        if !answer.live {
            bail!("revision {revision} is not live: {:?}", answer.nodes);
        }
        Ok(())
    }

    /// The same, when the node may not have connected yet.
    pub(super) fn wait_node(&mut self, node: &str, revision: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.runtime.block_on(self.client.status(wire::StatusRequest {}))?;
            let nodes = status.into_inner().nodes;
            let found = nodes.iter().find(|status| status.node == node && status.connected);
            match found {
                Some(found) if found.live_revision >= revision => return Ok(()),
                Some(found) if !found.rejections.is_empty() => {
                    bail!("{node} rejects: {:?}", found.rejections)
                }
                _ if Instant::now() > deadline => {
                    bail!("{node} does not serve revision {revision} after {PATIENCE:?}")
                }
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// Namespace of everything that benchmarks apply.
const NAMESPACE: &str = "default";

/// A service with one TCP port.
pub(super) fn service(name: &str, vip: std::net::SocketAddrV4, target_port: u16) -> wire::Object {
    let port = wire::ServicePort {
        name: "main".to_owned(),
        port: vip.port().into(),
        target_port: Some(target_port.into()),
        ..wire::ServicePort::default()
    };
    let service = wire::Service {
        vips: vec![vip.ip().to_string()],
        ports: vec![port],
        ..wire::Service::default()
    };
    object(name, wire::object::Spec::Service(service))
}

/// An endpoint of a service.
pub(super) fn endpoint(
    service: &str,
    name: &str,
    address: std::net::Ipv4Addr,
    weight: u32,
) -> wire::Object {
    let endpoint = wire::Endpoint {
        service: service.to_owned(),
        version: "v1".to_owned(),
        address: address.to_string(),
        weight: Some(weight),
        ..wire::Endpoint::default()
    };
    object(name, wire::object::Spec::Endpoint(endpoint))
}

/// Breakers and limits of a service and of each of its endpoints, and outlier detection, none of
/// which a service that works ever meets.
pub(super) fn guards(service: &str) -> wire::Object {
    let thresholds = wire::CircuitBreakerThresholds {
        max_connections: Some(NEVER),
        max_pending_connections: Some(NEVER),
        max_failures: Some(1_000),
        ..wire::CircuitBreakerThresholds::default()
    };
    let breaker = wire::CircuitBreaker {
        max_connections: thresholds.max_connections,
        max_pending_connections: thresholds.max_pending_connections,
        max_failures: thresholds.max_failures,
        per_endpoint: Some(thresholds),
        ..wire::CircuitBreaker::default()
    };
    let config = wire::ServiceConfig {
        circuit_breaker: Some(breaker),
        outlier_detection: Some(wire::OutlierDetection::default()),
        ..wire::ServiceConfig::default()
    };
    object(service, wire::object::Spec::ServiceConfig(config))
}

/// Connections at a time that no benchmark makes.
const NEVER: u32 = 1_000_000;

/// An object of the default namespace.
pub(super) fn object(name: &str, spec: wire::object::Spec) -> wire::Object {
    let metadata = wire::Metadata {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        ..wire::Metadata::default()
    };
    wire::Object { metadata: Some(metadata), spec: Some(spec) }
}
