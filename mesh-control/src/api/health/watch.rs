//! One watch of the health of endpoints. A slow client holds up nothing but itself: what it has
//! not read is kept up to a limit, then its stream ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use mesh_api::model::{Kind, Name};
use mesh_api::wire;
use mesh_api::wire::health_event::Event;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::super::{convert, errors};
use crate::health::book::HealthBook;

/// What a client wants to see.
pub(super) struct Filter {
    namespace: Option<Name>,
    service: String,
    unhealthy_only: bool,
}

impl Filter {
    pub(super) fn new(request: wire::ListHealthRequest) -> Result<Self, Status> {
        let wire::ListHealthRequest { namespace, service, unhealthy_only } = request;
        let namespace = convert::namespace(&namespace)?;
        Ok(Self { namespace, service, unhealthy_only })
    }

    /// Of what is there at the beginning.
    pub(super) fn first(&self, event: &wire::HealthEvent) -> Option<wire::HealthEvent> {
        let shown = match &event.event {
            Some(Event::Put(view)) => self.takes(view) && self.shows(view),
            Some(Event::Guards(_)) => true,
            Some(Event::Removed(_) | Event::Synced(_)) | None => false,
        };
        let event = if shown { self.change(event) } else { None };
        // Nodes without guards that are asked for are left out.
        let empty = |it: &wire::HealthEvent| matches!(&it.event, Some(Event::Guards(it)) if it.guards.is_empty() && it.omitted == 0);
        event.filter(|event| !empty(event))
    }

    /// Of a change. What does not fit any more is removed for this client, also where it was not
    /// shown before.
    fn change(&self, event: &wire::HealthEvent) -> Option<wire::HealthEvent> {
        let event = match event.event.as_ref()? {
            Event::Put(view) if !self.takes(view) => return None,
            Event::Put(view) if !self.shows(view) => Event::Removed(wire::ObjectRef {
                kind: wire::Kind::from(Kind::Endpoint).into(),
                namespace: view.namespace.clone(),
                name: view.name.clone(),
            }),
            Event::Put(view) => Event::Put(view.clone()),
            Event::Removed(it) if !self.within(&it.namespace) => return None,
            Event::Removed(reference) => Event::Removed(reference.clone()),
            Event::Guards(guards) => {
                let of = guards
                    .guards
                    .iter()
                    .filter(|guard| self.within(&guard.namespace) && self.names(&guard.service));
                Event::Guards(wire::NodeGuards { guards: of.cloned().collect(), ..guards.clone() })
            }
            Event::Synced(synced) => Event::Synced(*synced),
        };
        Some(wire::HealthEvent { event: Some(event) })
    }

    fn takes(&self, view: &wire::EndpointHealthView) -> bool {
        self.within(&view.namespace) && self.names(&view.service)
    }

    fn shows(&self, view: &wire::EndpointHealthView) -> bool {
        !self.unhealthy_only || view.status() == wire::HealthStatus::Unhealthy
    }

    fn within(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|it| it.as_str() == namespace)
    }

    fn names(&self, service: &str) -> bool {
        self.service.is_empty() || self.service == service
    }
}

pub(super) struct Watch {
    filter: Filter,
    first: VecDeque<wire::HealthEvent>,
    events: Receiver<Arc<wire::HealthEvent>>,
    shutdown: CancellationToken,
    failed: bool,
}

impl Watch {
    pub(super) fn new(book: &HealthBook, filter: Filter, shutdown: CancellationToken) -> Self {
        let (first, events) = book.watch(Instant::now());
        let mut first: VecDeque<_> = first.iter().filter_map(|event| filter.first(event)).collect();
        first.push_back(wire::HealthEvent { event: Some(Event::Synced(true)) });
        Self { filter, first, events, shutdown, failed: false }
    }

    pub(super) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<wire::HealthEvent, Status>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let item = watch.next().await?;
            Some((item, watch))
        })
    }

    async fn next(&mut self) -> Option<Result<wire::HealthEvent, Status>> {
        if self.failed {
            return None;
        }
        if let Some(event) = self.first.pop_front() {
            return Some(Ok(event));
        }
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = self.shutdown.cancelled() => Err(RecvError::Closed),
            };
            let status = match event {
                Ok(event) => match self.filter.change(&event) {
                    Some(event) => return Some(Ok(event)),
                    None => continue,
                },
                Err(RecvError::Lagged(missed)) => {
                    Status::aborted(format!("{missed} changes were not read in time: watch again"))
                }
                Err(RecvError::Closed) => errors::shutting_down(),
            };
            self.failed = true;
            return Some(Err(status));
        }
    }
}
