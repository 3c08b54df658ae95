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
            put(context.to_string(), last);
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

/// Adds a `traceparent` to the message in a response; its version stays.
fn put(traceparent: String, response: &mut DeltaDiscoveryResponse) {
    let added = wire::Revision { revision: 0, traceparent }.encode_to_vec();
    for body in response.resources.iter_mut().filter_map(|it| it.resource.as_mut()) {
        // Fields that follow are merged into the message.
        body.value.extend_from_slice(&added);
    }
}

impl Drop for PushSpans {
    fn drop(&mut self) {
        if let Some(Open { span, .. }) = &self.open {
            span::failed(span, "the stream has ended before an answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_api::resource::encode;
    use mesh_xds::ads::{Any, Resource};

    use super::*;
    use crate::metrics::Metrics;

    fn last() -> DeltaDiscoveryResponse {
        let (value, version) = encode(&wire::Revision { revision: 7, traceparent: String::new() });
        let body = Any { type_url: REVISION.to_owned(), value };
        let resource = Resource { version, resource: Some(body), ..Resource::default() };
        DeltaDiscoveryResponse {
            type_url: REVISION.to_owned(),
            nonce: "1".to_owned(),
            resources: vec![resource],
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn a_traceparent_changes_neither_the_revision_nor_the_version() {
        let mut response = last();
        put("00-a-b-01".to_owned(), &mut response);
        let resource = response.resources.first().unwrap();
        assert_eq!(resource.version, last().resources.first().unwrap().version);
        let body = resource.resource.as_ref().unwrap().value.as_slice();
        let expected = wire::Revision { revision: 7, traceparent: "00-a-b-01".to_owned() };
        assert_eq!(wire::Revision::decode(body), Ok(expected));
    }

    #[test]
    fn where_nothing_is_traced_nothing_is_sent_and_nothing_is_kept() {
        let nodes = Nodes::new(Arc::new(Metrics::new()));
        let mut spans = PushSpans::default();
        let mut responses = vec![last()];
        spans.sending(&mut responses, &Progress::default(), &nodes);
        assert_eq!(responses, [last()]);
        assert!(spans.open.is_none());
    }
}
