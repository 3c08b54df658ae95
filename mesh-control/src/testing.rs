//! What the tests of this crate share: short ways to write objects, and a whole control plane on
//! a free port with a data directory of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::model::{Object, ObjectName};
use mesh_api::wire;
use mesh_api::wire::control_client::ControlClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::app::{self, Bound};
use crate::config::{Config, LogFormat, Switch, TraceArgs};
use crate::health::book::HealthBook;
use crate::metrics::Metrics;
use crate::telemetry::config::TrafficConfig;
use crate::world::World;

/// How long after the start nothing is said about health.
const WARMUP: Duration = Duration::from_millis(300);

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

pub(crate) fn wire_service(object: &str, vip: &str, port: u32) -> wire::Object {
    with_spec(
        object,
        wire::object::Spec::Service(wire::Service {
            vips: vec![vip.to_owned()],
            ports: vec![wire::ServicePort {
                name: "http".to_owned(),
                port,
                target_port: Some(8080),
                ..wire::ServicePort::default()
            }],
            ..wire::Service::default()
        }),
    )
}

pub(crate) fn wire_endpoint(object: &str, service: &str, version: &str) -> wire::Object {
    with_spec(
        object,
        wire::object::Spec::Endpoint(wire::Endpoint {
            service: service.to_owned(),
            version: version.to_owned(),
            address: "127.0.0.2".to_owned(),
            ..wire::Endpoint::default()
        }),
    )
}

pub(crate) fn leased(mut object: wire::Object, ttl: Duration) -> wire::Object {
    if let Some(wire::object::Spec::Endpoint(spec)) = &mut object.spec {
        spec.ttl_ms = u64::try_from(ttl.as_millis()).unwrap();
    }
    object
}

/// The same at another address.
pub(crate) fn at(mut object: wire::Object, address: &str) -> wire::Object {
    if let Some(wire::object::Spec::Endpoint(spec)) = &mut object.spec {
        address.clone_into(&mut spec.address);
    }
    object
}

/// The same on a node.
pub(crate) fn on_node(mut object: wire::Object, node: &str) -> wire::Object {
    if let Some(wire::object::Spec::Endpoint(spec)) = &mut object.spec {
        node.clone_into(&mut spec.node);
    }
    object
}

/// A configuration that has the service's endpoints checked, or not.
pub(crate) fn wire_check(object: &str, checked: bool) -> wire::Object {
    let mut object = wire_config(object, &[]);
    if let Some(wire::object::Spec::ServiceConfig(spec)) = &mut object.spec {
        spec.health_check = checked.then(|| wire::HealthCheck {
            tcp: Some(wire::TcpCheck {}),
            interval_ms: Some(50),
            healthy_threshold: Some(1),
            unhealthy_threshold: Some(1),
            ..wire::HealthCheck::default()
        });
    }
    object
}

/// Rules are (service or "", version or "", weight).
pub(crate) fn wire_config(object: &str, rules: &[(&str, &str, u32)]) -> wire::Object {
    let rule = |(service, version, weight): &(&str, &str, u32)| wire::TrafficRule {
        destination: Some(wire::Destination {
            service: (*service).to_owned(),
            version: (*version).to_owned(),
        }),
        weight: *weight,
        ..wire::TrafficRule::default()
    };
    with_spec(
        object,
        wire::object::Spec::ServiceConfig(wire::ServiceConfig {
            traffic_rules: rules.iter().map(rule).collect(),
            ..wire::ServiceConfig::default()
        }),
    )
}

fn with_spec(object: &str, spec: wire::object::Spec) -> wire::Object {
    let (namespace, name) = object.split_once('/').unwrap();
    wire::Object {
        metadata: Some(wire::Metadata {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..wire::Metadata::default()
        }),
        spec: Some(spec),
    }
}

pub(crate) fn model(wire: wire::Object) -> Object {
    Object::try_from(wire).unwrap()
}

pub(crate) fn service(object: &str, vip: &str, port: u32) -> Object {
    model(wire_service(object, vip, port))
}

pub(crate) fn endpoint(object: &str, service: &str, version: &str) -> Object {
    model(wire_endpoint(object, service, version))
}

pub(crate) fn config(object: &str, rules: &[(&str, &str, u32)]) -> Object {
    model(wire_config(object, rules))
}

/// Health of no endpoint.
pub(crate) fn health_book(metrics: &Metrics) -> Arc<HealthBook> {
    let (metrics, now) = (metrics.health.clone(), Instant::now());
    Arc::new(HealthBook::new(&World::default(), Duration::ZERO, metrics, now))
}

/// A control plane in this process.
pub(crate) struct Running {
    pub(crate) bound: Bound,
    pub(crate) data: TempDir,
    pub(crate) api: ControlClient<Channel>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    pub(crate) async fn start_in(data: TempDir) -> Self {
        Self::start_with(data, WARMUP).await
    }

    pub(crate) async fn start_with(data: TempDir, health_warmup: Duration) -> Self {
        let free = "127.0.0.1:0".parse().unwrap();
        let bound = app::build(Config {
            data_dir: Some(data.path().to_owned()),
            listen: free,
            http: free,
            web: Switch::On,
            insecure: false,
            health_warmup,
            xds_max_connection_age: Duration::from_mins(30),
            proxy_address: Vec::new(),
            load_report_interval: Duration::from_secs(10),
            traffic: TrafficConfig::default(),
            log_format: LogFormat::Plain,
            trace: TraceArgs::default(),
        });
        let bound = bound.await.unwrap();
        let address = format!("http://{}", bound.grpc);
        let api = ControlClient::connect(address).await.unwrap();
        let api = api.max_decoding_message_size(crate::api::MAX_MESSAGE);
        Self { bound, data, api }
    }

    /// Ends it; what it has stored is left.
    pub(crate) async fn stop(self) -> TempDir {
        let Self { bound, data, api } = self;
        drop(api);
        bound.shutdown.cancel();
        bound.wait().await.unwrap();
        data
    }

    pub(crate) async fn apply(
        &mut self,
        objects: Vec<wire::Object>,
    ) -> Result<wire::ApplyResponse, tonic::Status> {
        let request = wire::ApplyRequest { objects, dry_run: false };
        Ok(self.api.apply(request).await?.into_inner())
    }
}
