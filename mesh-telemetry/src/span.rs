//! Spans: how they are made, and how they are tied to spans of other programs.

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::TraceContext;

/// Makes a span of a trace, as `tracing::info_span!` does. Its `otel.kind` is `client`, `server`,
/// `producer` or `consumer` where it may begin a trace; one without is left out where it has no
/// parent.
#[macro_export]
macro_rules! trace_span {
    (parent: $parent:expr, $($rest:tt)*) => {
        $crate::__tracing::info_span!(target: $crate::TARGET, parent: $parent, $($rest)*)
    };
    ($($rest:tt)*) => {
        $crate::__tracing::info_span!(target: $crate::TARGET, $($rest)*)
    };
}

/// Makes a span that nobody has entered or asked for its context yet the child of another
/// program's.
pub fn set_parent(span: &Span, parent: &TraceContext) {
    let parent = Context::new().with_remote_span_context(parent.span_context().clone());
    // Fails where the span is not traced.
    span.set_parent(parent).unwrap_or_default();
}

/// Says that another span has a part in this one, without being its parent.
pub fn add_link(span: &Span, other: &TraceContext) {
    span.add_link(other.span_context().clone());
}

/// What another program, or a later span, needs to continue here; `None` where the span is not
/// recorded.
#[must_use]
pub fn context_of(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    TraceContext::recorded(span.context().span().span_context())
}

/// Puts the present moment on a span as its end, whoever still holds it.
pub fn end(span: &Span) {
    // The end that is exported is that of the last scope.
    span.in_scope(|| {});
}

/// Says that what the span is about has failed.
pub fn failed(span: &Span, reason: &str) {
    if !span.is_disabled() {
        span.set_status(Status::error(reason.to_owned()));
    }
}
