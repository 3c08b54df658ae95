//! What one program tells the next about a trace: the W3C `traceparent`. Pure.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

/// Name of the gRPC metadata that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// One span, as another program names it when it says what caused its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext(SpanContext);

/// Text that is no `traceparent`. It is to be ignored, as the standard says: a request is not wrong
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no valid traceparent")]
pub struct NotATraceparent;

impl TraceContext {
    /// A new trace that nobody records so far. Whoever continues it decides about that anew.
    #[must_use]
    pub fn generate() -> Self {
        let ids = RandomIdGenerator::default();
        Self::new(ids.new_trace_id(), ids.new_span_id(), TraceFlags::NOT_SAMPLED)
    }

    fn new(trace: TraceId, span: SpanId, flags: TraceFlags) -> Self {
        Self(SpanContext::new(trace, span, flags, true, TraceState::NONE))
    }

    /// The span itself, if it is recorded.
    pub(crate) fn recorded(span: &SpanContext) -> Option<Self> {
        let recorded = span.is_valid() && span.is_sampled();
        recorded.then(|| Self::new(span.trace_id(), span.span_id(), span.trace_flags()))
    }

    pub(crate) const fn span_context(&self) -> &SpanContext {
        &self.0
    }

    /// The trace, in 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// Whether the span is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }
}

/// As in `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.0.trace_flags() & TraceFlags::SAMPLED;
        write!(f, "00-{}-{}-{flags:02x}", self.0.trace_id(), self.0.span_id())
    }
}

/// Trace Context, "Traceparent Header Field Values" and "Versioning of traceparent".
impl FromStr for TraceContext {
    type Err = NotATraceparent;

    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        parse(text).ok_or(NotATraceparent)
    }
}

fn parse(text: &str) -> Option<TraceContext> {
    let hexadecimal = |text: &str| text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    let (known, later) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let mut next = |length| parts.next().filter(|it| it.len() == length && hexadecimal(it));
    let version = u8::from_str_radix(next(2)?, 16).ok()?;
    let trace = u128::from_str_radix(next(32)?, 16).ok()?;
    let span = u64::from_str_radix(next(16)?, 16).ok()?;
    let flags = u8::from_str_radix(next(2)?, 16).ok()?;
    // A later version may only add to the end.
    let end = match version {
        0 => later.is_empty(),
        u8::MAX => false,
        _ => later.is_empty() || later.starts_with('-'),
    };
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    let context = TraceContext::new(TraceId::from(trace), SpanId::from(span), flags);
    (end && context.0.is_valid()).then_some(context)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let context = SAMPLE.parse::<TraceContext>().unwrap();
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.is_sampled());
        assert!(context.span_context().is_remote());
        assert_eq!(context.to_string(), SAMPLE);
    }

    #[test]
    fn only_the_flag_that_is_known_is_kept() {
        for (flags, kept) in [("00", "00"), ("02", "00"), ("03", "01"), ("ff", "01")] {
            let text = format!("{}{flags}", SAMPLE.strip_suffix("01").unwrap());
            let context = text.parse::<TraceContext>().unwrap();
            assert!(context.to_string().ends_with(&format!("-{kept}")), "{flags}");
        }
    }

    #[test]
    fn a_later_version_may_say_more() {
        for good in [SAMPLE.replacen("00", "01", 1), SAMPLE.replacen("00", "fe", 1) + "-more"] {
            assert_eq!(good.parse::<TraceContext>().unwrap().to_string(), SAMPLE, "{good}");
        }
    }

    #[test]
    fn what_the_standard_forbids_is_nothing() {
        let upper = SAMPLE.to_uppercase();
        let more = format!("{SAMPLE}-more");
        let glued = SAMPLE.replacen("00", "01", 1) + "more";
        let forbidden = SAMPLE.replacen("00", "ff", 1);
        let no_trace = SAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let no_span = SAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16));
        let plus = SAMPLE.replace("4bf92f", "+bf92f");
        let moved = SAMPLE.replace("4736-00f0", "473-600f0");
        let short = &SAMPLE[..54];
        let all = [&upper, &more, &glued, &forbidden, &no_trace, &no_span, &plus, &moved, short];
        for bad in all.into_iter().chain(["", "00", "-", "€"]) {
            assert_eq!(bad.parse::<TraceContext>(), Err(NotATraceparent), "{bad}");
        }
    }

    #[test]
    fn a_new_trace_is_valid_and_not_recorded() {
        let one = TraceContext::generate();
        assert!(one.span_context().is_valid() && !one.is_sampled());
        assert_ne!(one.trace_id(), TraceContext::generate().trace_id());
        assert_eq!(one.to_string().parse::<TraceContext>().unwrap(), one);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
            let context = TraceContext::new(TraceId::from(trace), SpanId::from(span), flags);
            let text = context.to_string();
            prop_assert_eq!(text.len(), LENGTH);
            prop_assert_eq!(text.parse::<TraceContext>(), Ok(context));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", cut in 0_usize..60) {
            text.parse::<TraceContext>().ok();
            let mixed: String = SAMPLE.chars().take(cut).chain(text.chars()).collect();
            mixed.parse::<TraceContext>().ok();
        }
    }
}
