//! The span of a push as the node sees it: from its first message until it is answered. Which trace
//! it belongs to is in the last message.

use std::time::Instant;

use mesh_api::resource::REVISION;
use mesh_api::wire;
use mesh_telemetry::{TraceContext, span, trace_span};
use mesh_xds::client::Push;
use prost::Message as _;
use tracing::Span;
use tracing::field::Empty;

use super::batch::Outcome;

/// A push that is being received or applied.
#[derive(Debug)]
pub(super) struct Receiving {
    /// When its first message arrived.
    pub(super) since: Instant,
    pub(super) span: Span,
}

impl Receiving {
    /// Begins with the first message, which has arrived now.
    pub(super) fn begin() -> Self {
        let span = trace_span!(
            "xds.receive",
            otel.kind = "consumer",
            mesh.revision = Empty,
            mesh.changes = Empty,
        );
        Self { since: Instant::now(), span }
    }

    /// Looks at a message: the last one says what to continue.
    pub(super) fn look_at(&self, push: &Push) {
        if self.span.is_disabled() || push.type_url != REVISION {
            return;
        }
        self.span.record("mesh.revision", push.revision);
        if let Some(sender) = sender(push) {
            span::set_parent(&self.span, &sender);
        }
    }

    /// Says what came of it.
    pub(super) fn applied(&self, changes: usize, outcome: &Outcome) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("mesh.changes", changes);
        if let Some(error) = &outcome.error {
            span::failed(&self.span, error);
        } else if let Some(first) = outcome.rejections.first() {
            span::failed(&self.span, &format!("{}: {}", first.object, first.message));
        }
    }
}

/// The push of the control plane. What cannot be read is as good as nothing.
fn sender(push: &Push) -> Option<TraceContext> {
    let body = push.added.first()?.body.as_slice();
    wire::Revision::decode(body).ok()?.traceparent.parse().ok()
}
