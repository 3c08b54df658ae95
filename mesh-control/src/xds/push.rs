//! The span of a push to one node: from when it is sent until the node has answered for the
//! revision. It continues the trace of the newest change that it brings, is linked to those of the
//! others, and tells the node to continue it.

use mesh_api::resource::REVISION;
use mesh_api::wire;
use mesh_telemetry::{span, trace_span};
use mesh_xds::ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_xds::server::Progress;
use prost::Message as _;
use tracing::Span;
use tracing::field::Empty;

use super::Nodes;

/// The pushes of one stream.
#[derive(Debug, Default)]
pub(super) struct PushSpans {
    /// Revision of the push before this one.
    before: Option<u64>,
    open: Option<Open>,
}

/// A push that is not answered.
#[derive(Debug)]
struct Open {
    /// Of its last response.
    nonce: String,
    span: Span,
}

impl PushSpans {
    /// Looks at responses before they are sent: those that end a push get the `traceparent` of its
    /// span.
    pub(super) fn sending(
        &mut self,
        responses: &mut [DeltaDiscoveryResponse],
        progress: &Progress,
        nodes: &Nodes,
    ) {
        let is_last = |it: &&mut DeltaDiscoveryResponse| it.type_url == REVISION;
        let Some(last) = responses.iter_mut().rev().find(is_last) else { return };
        let revision = progress.sent_revision;
        let before = self.before.replace(revision);
        let node = progress.node.as_ref().map_or("", |node| node.id.as_str());
        let span = trace_span!(
            "xds.push",
            otel.kind = "producer",
            mesh.node = node,
            mesh.revision = revision,
            mesh.answer = Empty,
        );
        if span.is_disabled() {
            return;
        }
        // A node that comes back gets what it has missed, one that is new no changes but a state.
        let live = || nodes.lock().node(node).and_then(|it| it.live).map(|(live, _)| live);
        let after = before.or_else(live).unwrap_or(revision);
        let mut changes = nodes.traces().between(after, revision).into_iter();
        if let Some(newest) = changes.next() {
            span::set_parent(&span, &newest);
        }
        for other in changes {
            span::add_link(&span, &other);
        }
        if let Some(context) = span::context_of(&span) {
            let own = wire::Revision { revision: 0, traceparent: context.to_string() };
            let bodies = last.resources.iter_mut().filter_map(|it| it.resource.as_mut());
            for body in bodies {
                // Fields that follow are merged into the message.
                body.value.extend(own.encode_to_vec());
            }
        }
        self.open = Some(Open { nonce: last.nonce.clone(), span });
    }

    /// Looks at what a node says: its answer for the revision ends the push.
    pub(super) fn answered(&mut self, request: &DeltaDiscoveryRequest) {
        let ends =
            |open: &mut Open| request.type_url == REVISION && open.nonce == request.response_nonce;
        let Some(Open { span, .. }) = self.open.take_if(ends) else { return };
        if let Some(error) = &request.error_detail {
            span.record("mesh.answer", "nack");
            span::failed(&span, &error.message);
        } else {
            span.record("mesh.answer", "ack");
        }
    }
}

impl Drop for PushSpans {
    fn drop(&mut self) {
        if let Some(Open { span, .. }) = &self.open {
            span::failed(span, "the stream has ended before an answer");
        }
    }
}
