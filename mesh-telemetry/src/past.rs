//! Spans of what is over already, as somebody else has measured it. Each is a trace of its own.

use std::time::SystemTime;

use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Words.
    Text(String),
    /// A count.
    Count(u64),
}

impl From<Said> for Value {
    fn from(said: Said) -> Self {
        match said {
            Said::Text(text) => text.into(),
            Said::Count(count) => i64::try_from(count).unwrap_or(i64::MAX).into(),
        }
    }
}

/// Something that a client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Name of the span: one of few.
    pub name: &'static str,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Where attributes have a name in OpenTelemetry's semantic conventions, it is that.
    pub attributes: Vec<(&'static str, Said)>,
    /// Why it failed.
    pub failed: Option<&'static str>,
}

/// Makes such spans.
#[derive(Clone, Debug)]
pub struct PastSpans(pub(crate) SdkTracer);

impl PastSpans {
    /// Records one, if it is among those that are traced. It waits for nobody.
    pub fn record(&self, past: Past) {
        let Past { name, start, end, attributes, failed } = past;
        let attributes = attributes.into_iter().map(|(key, said)| KeyValue::new(key, said));
        let builder = self.0.span_builder(name).with_kind(SpanKind::Client).with_start_time(start);
        let builder = builder.with_attributes(attributes);
        let mut span = builder.start_with_context(&self.0, &Context::new());
        if let Some(reason) = failed {
            span.set_status(Status::error(reason));
        }
        span.end_with_timestamp(end);
    }
}

/// Those of this process; `None` where no receiver is named.
#[must_use]
pub fn past_spans() -> Option<PastSpans> {
    crate::installed().and_then(|handles| handles.past.clone())
}
