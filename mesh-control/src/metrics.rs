//! Every number the control plane shows at `/metrics`, with its stable name.

use std::fmt;

use mesh_api::model::Kind;
use mesh_api::resource::{AGENT_TYPES, ASIDE_TYPES, TYPE_PREFIX};
use mesh_xds::types::PUSH_ORDER;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::health::metrics::HealthMetrics;
use crate::telemetry::metrics::TelemetryMetrics;
use crate::world::World;
use crate::xds::{ClientKind, LoadMetrics};

/// Label of metrics by kind of object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    kind: &'static str,
}

/// Label of metrics by xDS type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    r#type: String,
}

impl TypeLabel {
    /// The label of a type URL. Only types that are served get their own.
    #[must_use]
    pub fn of(type_url: &str) -> Self {
        let known = [&AGENT_TYPES[..], &ASIDE_TYPES, &PUSH_ORDER];
        let known = known.iter().any(|types| types.contains(&type_url));
        let name = type_url.strip_prefix(TYPE_PREFIX).filter(|_| known);
        Self { r#type: name.unwrap_or("other").to_owned() }
    }
}

/// Label of metrics by kind of xDS client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClientLabel {
    kind: &'static str,
}

impl ClientLabel {
    /// The label of a kind.
    #[must_use]
    pub const fn of(kind: ClientKind) -> Self {
        Self { kind: kind.as_str() }
    }
}

/// Labels of what was sent: to which kind of client, of which xDS type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SentLabel {
    kind: &'static str,
    r#type: String,
}

impl SentLabel {
    /// The label of a kind and a type URL.
    #[must_use]
    pub fn of(kind: ClientKind, type_url: &str) -> Self {
        Self { kind: kind.as_str(), r#type: TypeLabel::of(type_url).r#type }
    }
}

/// Label of writes by what became of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

impl ResultLabel {
    /// `stored`, `unchanged`, `refused` or `failed`.
    #[must_use]
    pub const fn new(result: &'static str) -> Self {
        Self { result }
    }
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    /// Current revision of the store.
    pub revision: Gauge,
    /// Stored objects.
    pub objects: Family<KindLabel, Gauge>,
    /// Leases of endpoints.
    pub leases: Gauge,
    /// Endpoints removed because their heartbeats stopped.
    pub leases_expired: Counter,
    /// Write requests by what became of them.
    pub writes: Family<ResultLabel, Counter>,
    /// Time that one commit takes, fsync included.
    pub commit_seconds: Histogram,
    /// Open xDS streams whose node is known.
    pub connected: Gauge,
    /// Open xDS streams of clients that are no nodes.
    pub clients: Family<ClientLabel, Gauge>,
    /// Responses sent.
    pub pushes: Family<TypeLabel, Counter>,
    /// Resources in them.
    pub resources: Family<SentLabel, Counter>,
    /// Responses acknowledged by clients.
    pub acks: Family<TypeLabel, Counter>,
    /// Responses rejected by clients.
    pub nacks: Family<TypeLabel, Counter>,
    /// Streams ended because the client broke the protocol.
    pub protocol_errors: Counter,
    /// From commit to the acknowledgement of a node that serves it.
    pub convergence_seconds: Histogram,
    /// What Envoy and gRPC clients report of their requests.
    pub loads: LoadMetrics,
    /// About the health of endpoints.
    pub health: HealthMetrics,
    /// About traffic.
    pub telemetry: TelemetryMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let new = Self {
            registry: Registry::default(),
            revision: Gauge::default(),
            objects: Family::default(),
            leases: Gauge::default(),
            leases_expired: Counter::default(),
            writes: Family::default(),
            // 50 µs to 13 s.
            commit_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            connected: Gauge::default(),
            clients: Family::default(),
            pushes: Family::default(),
            resources: Family::default(),
            acks: Family::default(),
            nacks: Family::default(),
            protocol_errors: Counter::default(),
            // 0.1 ms to 26 s.
            convergence_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            loads: LoadMetrics::default(),
            health: HealthMetrics::default(),
            telemetry: TelemetryMetrics::default(),
        };
        // A counter that is not there yet cannot be told from one that is misspelt.
        for result in ["stored", "unchanged", "refused", "failed"] {
            new.writes.get_or_create_owned(&ResultLabel::new(result));
        }
        for kind in [ClientKind::Envoy, ClientKind::Grpc] {
            new.clients.get_or_create_owned(&ClientLabel::of(kind));
            for type_url in PUSH_ORDER {
                new.resources.get_or_create_owned(&SentLabel::of(kind, type_url));
            }
        }
        for type_url in AGENT_TYPES.iter().chain(&ASIDE_TYPES) {
            new.resources.get_or_create_owned(&SentLabel::of(ClientKind::Agent, type_url));
        }
        for type_url in AGENT_TYPES.iter().chain(&ASIDE_TYPES).chain(&PUSH_ORDER).chain([&""]) {
            new.pushes.get_or_create_owned(&TypeLabel::of(type_url));
            new.acks.get_or_create_owned(&TypeLabel::of(type_url));
            new.nacks.get_or_create_owned(&TypeLabel::of(type_url));
        }
        new.register()
    }

    fn register(mut self) -> Self {
        let to = &mut self.registry;
        let it = self.revision.clone();
        to.register("mesh_control_revision", "Current revision of the store", it);
        let it = self.objects.clone();
        to.register("mesh_control_objects", "Stored objects", it);
        let it = self.leases.clone();
        to.register("mesh_control_leases", "Endpoints that live by heartbeats", it);
        let it = self.leases_expired.clone();
        let help = "Endpoints removed because heartbeats stopped";
        to.register("mesh_control_leases_expired", help, it);
        let it = self.writes.clone();
        to.register("mesh_control_writes", "Write requests by result", it);
        let it = self.commit_seconds.clone();
        let help = "Duration of one commit to the disk";
        to.register_with_unit("mesh_control_store_commit", help, Unit::Seconds, it);
        let it = self.connected.clone();
        to.register("mesh_xds_connected", "Nodes with an open stream", it);
        let it = self.clients.clone();
        to.register("mesh_xds_clients", "Open streams of Envoy and gRPC clients", it);
        let it = self.pushes.clone();
        to.register("mesh_xds_pushes", "Responses sent", it);
        let it = self.resources.clone();
        to.register("mesh_xds_resources_sent", "Resources in responses", it);
        let it = self.acks.clone();
        to.register("mesh_xds_acks", "Responses acknowledged by clients", it);
        let it = self.nacks.clone();
        to.register("mesh_xds_nacks", "Responses rejected by clients", it);
        let it = self.protocol_errors.clone();
        let help = "Streams ended because the client broke the protocol";
        to.register("mesh_xds_protocol_errors", help, it);
        let it = self.convergence_seconds.clone();
        let help = "From a commit to its acknowledgement by a node that serves it";
        to.register_with_unit("mesh_xds_convergence", help, Unit::Seconds, it);
        self.loads.register(to);
        self.health.register(to);
        mesh_telemetry::counts().register(to);
        self.telemetry.register(to);
        self
    }

    /// Takes over what the world says about itself.
    pub fn observe_world(&self, world: &World) {
        self.revision.set(signed(world.revision()));
        for kind in Kind::ALL {
            let label = KindLabel { kind: kind.as_str() };
            let count = i64::try_from(world.count(kind)).unwrap_or(i64::MAX);
            self.objects.get_or_create(&label).set(count);
        }
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
