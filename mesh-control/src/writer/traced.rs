//! The traces of changes that are stored together: each has spans of its own for what is done for
//! all of them at once. Empty, and free, where nothing is traced.

use mesh_telemetry::{TraceContext, span};
use tracing::Span;

/// Revisions that are traced, oldest first, with the spans of the requests that asked for them.
#[derive(Debug, Default)]
pub(super) struct Traced(Vec<(u64, Span)>);

impl Traced {
    /// Notes who asked for a revision.
    pub(super) fn note(&mut self, revision: u64, asked: Span) {
        if !asked.is_disabled() {
            self.0.push((revision, asked));
        }
    }

    /// A span in each trace; they end when they are dropped.
    pub(super) fn each(&self, make: impl Fn(&Span, u64) -> Span) -> Vec<Span> {
        self.0.iter().map(|(revision, asked)| make(asked, *revision)).collect()
    }

    /// What those need to know who continue the traces.
    pub(super) fn contexts(&self) -> impl Iterator<Item = (u64, TraceContext)> {
        let context = |(revision, asked): &(u64, Span)| Some((*revision, span::context_of(asked)?));
        self.0.iter().filter_map(context)
    }
}
