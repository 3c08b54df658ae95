//! Which trace a revision belongs to, for as long as nodes may have to be sent it. In memory only:
//! after a restart of the control plane a late push is a trace of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use mesh_telemetry::TraceContext;

/// How many revisions are remembered.
const REMEMBERED: usize = 1024;

/// The spans of the requests that asked for the last revisions, oldest first; only those that are
/// recorded.
#[derive(Debug, Default)]
pub struct Traces {
    recent: Mutex<VecDeque<(u64, TraceContext)>>,
}

impl Traces {
    /// Notes who asked for a revision, which is newer than all before.
    pub fn note(&self, revision: u64, context: TraceContext) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((revision, context));
    }

    /// Those of the revisions after the first up to the second, newest first.
    #[must_use]
    pub fn between(&self, after: u64, upto: u64) -> Vec<TraceContext> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let newest_first = recent.iter().rev().skip_while(|(revision, _)| *revision > upto);
        let new = newest_first.take_while(|(revision, _)| *revision > after);
        new.map(|(_, context)| context.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(revisions: impl IntoIterator<Item = u64>) -> (Traces, Vec<(u64, TraceContext)>) {
        let traces = Traces::default();
        let contexts = revisions.into_iter().map(|revision| (revision, TraceContext::generate()));
        let contexts: Vec<_> = contexts.collect();
        for (revision, context) in &contexts {
            traces.note(*revision, context.clone());
        }
        (traces, contexts)
    }

    #[test]
    fn the_newest_comes_first_and_the_known_are_left_out() {
        let (traces, contexts) = noted([3, 5, 6, 9]);
        let of = |revisions: &[u64]| -> Vec<TraceContext> {
            let context = |wanted: &u64| contexts.iter().find(|(revision, _)| revision == wanted);
            revisions.iter().map(|wanted| context(wanted).unwrap().1.clone()).collect()
        };
        assert_eq!(traces.between(0, 10), of(&[9, 6, 5, 3]));
        assert_eq!(traces.between(3, 8), of(&[6, 5]));
        assert_eq!(traces.between(9, 12), of(&[]));
        assert_eq!(traces.between(6, 8), of(&[]));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let last = 5 + u64::try_from(REMEMBERED).unwrap();
        let (traces, _) = noted(1..=last);
        assert_eq!(traces.between(0, last).len(), REMEMBERED);
        assert_eq!(traces.between(0, 5), []);
        assert_eq!(traces.between(5, 6).len(), 1);
    }
}
