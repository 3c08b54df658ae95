//! `mesh.v1.Control`: decodes requests into the model, asks the writer, the world, the store or
//! the nodes, and encodes what they say. Nothing is decided here.

mod convert;
mod errors;
pub mod health;
pub mod nodes;
mod past;
mod status;
pub mod telemetry;
#[cfg(test)]
mod tests;
mod trace;
mod watch;
pub mod workloads;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use mesh_api::convert::milliseconds;
use mesh_api::model::{Endpoint, Kind, Name, Object, ObjectName, ObjectRef};
use mesh_api::wire;
use mesh_api::wire::control_server::{Control, ControlServer};
use mesh_telemetry::trace_span;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::lease::LeaseBook;
use crate::store::Store;
use crate::validate::{self, Batch};
use crate::world::World;
use crate::writer::{Done, WriteError, WriterHandle};
use crate::xds::Nodes;

/// Largest request, in bytes; a larger one is refused with `OUT_OF_RANGE`.
pub use mesh_api::MAX_MESSAGE;
/// Longest wait of `WaitLive`.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// The service, and all that it asks.
#[derive(Clone)]
pub struct Api {
    /// Takes writes.
    pub writer: WriterHandle,
    /// Knows the past.
    pub store: Arc<dyn Store>,
    /// The current objects.
    pub worlds: Receiver<Arc<World>>,
    /// Endpoints that live by heartbeats.
    pub leases: Arc<LeaseBook>,
    /// Who is connected.
    pub nodes: Arc<Nodes>,
    /// Ends watches and waits.
    pub shutdown: CancellationToken,
}

impl Api {
    /// The gRPC service.
    #[must_use]
    pub fn service(self) -> ControlServer<Self> {
        ControlServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }

    fn world(&self) -> Arc<World> {
        Arc::clone(&self.worlds.borrow())
    }

    /// Stores a batch, or says what storing it would do.
    async fn write(&self, batch: Batch, dry_run: bool) -> Result<Done, Status> {
        let done = if dry_run {
            let world = self.world();
            let span = trace_span!("validate");
            let plan = span.in_scope(|| validate::plan(&world, &batch)).map_err(WriteError::from);
            plan.map(|plan| Done {
                revision: world.revision(),
                outcomes: plan.outcomes,
                warnings: plan.warnings,
            })
        } else {
            self.writer.write(batch).await
        };
        done.map_err(|error| {
            trace::failed(&error);
            errors::write_status(&error)
        })
    }
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Control for Api {
    type WatchStream = WatchStream;

    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let span = trace::span("api.Apply", &request);
        let wire::ApplyRequest { objects, dry_run } = request.into_inner();
        let done = self.write(convert::put_batch(objects), dry_run).instrument(span).await?;
        Ok(Response::new(convert::apply_response(&done, dry_run)))
    }

    async fn get(
        &self,
        request: Request<wire::GetRequest>,
    ) -> Result<Response<wire::Object>, Status> {
        let reference = convert::required(request.into_inner().object.as_ref())?;
        let world = self.world();
        let stored = world.get(&reference);
        let stored = stored.ok_or_else(|| errors::not_found(std::slice::from_ref(&reference)))?;
        Ok(Response::new(convert::object(stored)))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let request = request.into_inner();
        let kind = convert::kind(request.kind)?;
        let namespace = convert::namespace(&request.namespace)?;
        let world = self.world();
        let objects = world.list(kind, namespace.as_ref());
        Ok(Response::new(wire::ListResponse {
            objects: objects.map(|stored| convert::object(stored)).collect(),
            revision: world.revision(),
        }))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let span = trace::span("api.Delete", &request);
        let wire::DeleteRequest { objects, dry_run } = request.into_inner();
        let batch = convert::delete_batch(&objects);
        let done = self.write(batch, dry_run).instrument(span).await?;
        Ok(Response::new(convert::delete_response(&done)))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        let watch = watch::Watch::new(self, &request.into_inner())?;
        Ok(Response::new(Box::pin(watch.into_stream())))
    }

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<wire::HistoryResponse>, Status> {
        let reference = convert::required(request.into_inner().object.as_ref())?;
        let changes = past::history(&self.store, &reference).await?;
        Ok(Response::new(wire::HistoryResponse {
            changes: changes.iter().map(convert::change).collect(),
        }))
    }

    async fn rollback(
        &self,
        request: Request<wire::RollbackRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let span = trace::span("api.Rollback", &request);
        let request = request.into_inner();
        let reference = convert::required(request.object.as_ref())?;
        let current = self.world().get(&reference).cloned();
        let newest = self.world().revision();
        if request.to_revision > newest {
            let wanted = request.to_revision;
            return Err(Status::out_of_range(format!(
                "there is no revision {wanted} yet: the newest is {newest}"
            )));
        }
        let changes = past::history(&self.store, &reference).await?;
        let object = past::state_at(&reference, &changes, request.to_revision)?;
        let mut batch = Batch::put([object]);
        if let Some(current) = current {
            for change in &mut batch.changes {
                change.expected = validate::Expected::Version(current.resource_version);
            }
        }
        let done = self.write(batch, request.dry_run).instrument(span).await?;
        Ok(Response::new(convert::apply_response(&done, request.dry_run)))
    }

    async fn status(
        &self,
        _: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let world = self.world();
        let count = |kind| u64::try_from(world.count(kind)).unwrap_or(u64::MAX);
        Ok(Response::new(wire::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: world.revision(),
            nodes: status::nodes(&self.nodes, Instant::now()),
            services: count(Kind::Service),
            endpoints: count(Kind::Endpoint),
            service_configs: count(Kind::ServiceConfig),
            clients: status::clients(&self.nodes, Instant::now()),
        }))
    }

    async fn wait_live(
        &self,
        request: Request<wire::WaitLiveRequest>,
    ) -> Result<Response<wire::WaitLiveResponse>, Status> {
        let wire::WaitLiveRequest { revision, timeout_ms } = request.into_inner();
        let current = self.world().revision();
        if revision > current {
            return Err(Status::out_of_range(format!(
                "there is no revision {revision} yet: the current one is {current}"
            )));
        }
        let timeout = Duration::from_millis(timeout_ms).min(MAX_WAIT);
        let live = tokio::select! {
            live = self.nodes.wait_live(revision, timeout) => live,
            () = self.shutdown.cancelled() => return Err(errors::shutting_down()),
        };
        Ok(Response::new(wire::WaitLiveResponse {
            live,
            nodes: status::nodes(&self.nodes, Instant::now()),
        }))
    }

    async fn register(
        &self,
        request: Request<wire::RegisterRequest>,
    ) -> Result<Response<wire::RegisterResponse>, Status> {
        let span = trace::span("api.Register", &request);
        let object = request.into_inner().endpoint.unwrap_or_default();
        convert::check_lease(&object, &self.world())?;
        let batch = convert::register_batch(object)?;
        let done = self.write(batch, false).instrument(span).await?;
        let stored = done.outcomes.iter().find_map(|it| it.after.as_ref());
        let ttl = match stored.map(|stored| &stored.object) {
            Some(Object::Endpoint(Endpoint { ttl, .. })) => *ttl,
            Some(Object::Service(_) | Object::ServiceConfig(_)) | None => None,
        };
        Ok(Response::new(wire::RegisterResponse {
            revision: done.revision,
            ttl_ms: ttl.map_or(0, milliseconds),
            warnings: convert::warnings(&done),
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::HeartbeatResponse>, Status> {
        let wire::HeartbeatRequest { namespace, name } = request.into_inner();
        let reference = endpoint(&namespace, &name)?;
        let now = Instant::now();
        let ttl = self.leases.lock().heartbeat(&reference.name, now);
        // A permanent endpoint needs none, and does not mind.
        if ttl.is_none() && self.world().get(&reference).is_none() {
            return Err(Status::not_found(format!(
                "{reference} does not exist (any more): register it again"
            )));
        }
        Ok(Response::new(wire::HeartbeatResponse { ttl_ms: ttl.map_or(0, milliseconds) }))
    }

    async fn deregister(
        &self,
        request: Request<wire::DeregisterRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let span = trace::span("api.Deregister", &request);
        let wire::DeregisterRequest { namespace, name } = request.into_inner();
        let reference = endpoint(&namespace, &name)?;
        let done = self.write(Batch::delete([reference]), false).instrument(span).await?;
        Ok(Response::new(convert::delete_response(&done)))
    }
}

fn endpoint(namespace: &str, name: &str) -> Result<ObjectRef, Status> {
    let part = |field: &str, text: &str| {
        text.parse::<Name>().map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
    };
    Ok(ObjectRef {
        kind: Kind::Endpoint,
        name: ObjectName { namespace: part("namespace", namespace)?, name: part("name", name)? },
    })
}
