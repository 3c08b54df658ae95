//! Spans of requests that change something.

use mesh_telemetry::context::TRACEPARENT;
use mesh_telemetry::{TraceContext, span, trace_span};
use tonic::Request;
use tracing::Span;

use crate::writer::WriteError;

/// The span of a request, which continues the trace of whoever sent it.
pub(super) fn span<T>(name: &'static str, request: &Request<T>) -> Span {
    let span = trace_span!("api", otel.name = name, otel.kind = "server", rpc.system = "grpc");
    if !span.is_disabled()
        && let Some(sender) = sender(request)
    {
        span::set_parent(&span, &sender);
    }
    span
}

/// What the request says of its trace. What cannot be understood is as good as nothing.
fn sender<T>(request: &Request<T>) -> Option<TraceContext> {
    request.metadata().get(TRACEPARENT)?.to_str().ok()?.parse().ok()
}

/// Says in the span of the request that is being answered why it failed.
pub(super) fn failed(error: &WriteError) {
    let span = Span::current();
    if !span.is_disabled() {
        span::failed(&span, &error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_in_the_metadata() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut request = Request::new(());
        assert_eq!(sender(&request), None);
        request.metadata_mut().insert(TRACEPARENT, text.parse().unwrap());
        assert_eq!(sender(&request).unwrap().to_string(), text);
        request.metadata_mut().insert(TRACEPARENT, "00-none".parse().unwrap());
        assert_eq!(sender(&request), None);
    }
}
