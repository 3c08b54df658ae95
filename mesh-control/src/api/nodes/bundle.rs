//! What a node, or the control plane itself, knows of itself, as files for a bug report.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use mesh_api::bundle::in_parts;
use mesh_api::wire;
use mesh_api::wire::node_answer::Answer;
use mesh_api::wire::node_command::Command;
use tonic::Status;

use super::{NodesApi, OWN};
use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// The answer.
pub(super) type Parts = Pin<Box<dyn Stream<Item = Result<wire::Bundle, Status>> + Send>>;

/// What the control plane tells of itself.
#[derive(Clone)]
pub struct Own {
    /// The flags, a line each, without secrets.
    pub flags: Arc<str>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// How it is.
    pub readiness: Arc<Readiness>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

impl Own {
    fn files(&self, since_ms: u64) -> Vec<(&'static str, String)> {
        let metrics = self.metrics.encode();
        let version = concat!("mesh-control ", env!("CARGO_PKG_VERSION"), "\n").to_owned();
        let mut files = vec![
            ("version.txt", version),
            ("flags.txt", self.flags.to_string()),
            ("ready.txt", format!("{}\n", self.readiness.get().as_str())),
            ("metrics.txt", metrics.unwrap_or_else(|error| error.to_string())),
        ];
        if let Some(handles) = mesh_telemetry::installed() {
            files.extend(handles.files(since_ms));
        }
        files
    }
}

impl NodesApi {
    pub(super) fn bundle(&self, node: String, what: wire::GetBundle) -> Result<Parts, Status> {
        if node == OWN {
            let parts = in_parts(&self.own.files(what.since_ms)).into_iter().map(Ok);
            return Ok(Box::pin(futures::stream::iter(parts)));
        }
        let answers = self.ask(&node, Command::Bundle(what))?;
        Ok(self.parts(node, answers, |answer| {
            let Answer::Bundle(part) = answer else { return None };
            let more = part.more;
            Some((part, more))
        }))
    }
}
