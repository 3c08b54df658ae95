//! The way of a span through layer, sampler and queue, with receivers that take nothing.

use std::net::TcpListener;
use std::time::Instant;

use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::span::{context_of, set_parent};
use crate::{TraceContext, trace_span};

fn start(otlp_endpoint: String, trace_sample: f64) -> (Exporting, SpanCounts) {
    let counts = SpanCounts::default();
    let args = TraceArgs { otlp_endpoint, trace_sample };
    let node = "n1".to_owned();
    (Exporting::start(&args, ("test", "0"), node, counts.clone()).unwrap(), counts)
}

/// An address where nobody listens.
fn closed() -> String {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}")
}

#[test]
fn spans_for_a_receiver_that_is_away_are_counted() {
    let (exporting, counts) = start(closed(), 1.0);
    with_default(tracing_subscriber::registry().with(vec![exporting.layer()]), || {
        for _ in 0..3 {
            drop(trace_span!("api.Apply", otel.kind = "server"));
        }
    });
    exporting.stop();
    assert_eq!((counts.exported(), counts.dropped()), (0, 3));
}

#[test]
fn a_receiver_that_never_answers_keeps_neither_spans_nor_the_end() {
    // The kernel accepts; nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (exporting, counts) = start(format!("http://{}", silent.local_addr().unwrap()), 1.0);
    let more = QUEUE + 100;
    with_default(tracing_subscriber::registry().with(vec![exporting.layer()]), || {
        for _ in 0..more {
            drop(trace_span!("api.Apply", otel.kind = "server"));
        }
    });
    assert_eq!((counts.exported(), counts.dropped()), (0, 100));
    let begin = Instant::now();
    exporting.stop();
    assert!(begin.elapsed() < TIMEOUT, "the end waited for the receiver");
}

#[test]
fn what_is_recorded_is_decided_by_who_records_already() {
    let sampled = |ratio: f64, parent: Option<&TraceContext>, kind: &str| {
        let (exporting, _) = start(closed(), ratio);
        let recorded =
            with_default(tracing_subscriber::registry().with(vec![exporting.layer()]), || {
                let span = trace_span!("api.Apply", otel.kind = kind);
                if let Some(parent) = parent {
                    set_parent(&span, parent);
                }
                let child = trace_span!(parent: &span, "validate");
                let recorded = context_of(&child);
                assert_eq!(recorded.is_some(), context_of(&span).is_some());
                if let (Some(parent), Some(recorded)) = (parent, &recorded) {
                    assert_eq!(parent.trace_id(), recorded.trace_id());
                }
                recorded.is_some()
            });
        exporting.stop();
        recorded
    };
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let nobodys = TraceContext::generate();
    assert!(sampled(0.0, Some(&theirs), "server"));
    assert!(!sampled(0.0, Some(&nobodys), "server"));
    assert!(sampled(1.0, Some(&nobodys), "server"));
    assert!(sampled(1.0, None, "server"));
    assert!(!sampled(0.0, None, "server"));
    // A part of something that is not traced.
    assert!(!sampled(1.0, None, "internal"));
}

#[test]
fn log_events_and_other_spans_are_no_part_of_a_trace() {
    let (exporting, counts) = start(closed(), 1.0);
    with_default(tracing_subscriber::registry().with(vec![exporting.layer()]), || {
        let other = tracing::info_span!("h2");
        assert!(other.is_disabled());
        tracing::info!("a line");
    });
    exporting.stop();
    assert_eq!(counts.dropped(), 0);
}
