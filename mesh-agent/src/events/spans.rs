//! Spans of connections: one of so many of those that have ended or failed, with the names of both
//! ends. Nothing waits for them: what comes too fast is left out, and counted.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mesh_telemetry::past::{Past, PastSpans, Said, past_spans};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::choice::OneOf;
use super::filter::{Ends, numbers};
use super::record::{Happened, Record};
use crate::maps::kernel::affinity::monotonic;
use crate::worker::Worker;

/// Spans that may wait for their names.
const WAITING: usize = 1024;

/// Chooses connections.
#[derive(Debug)]
pub struct Spans {
    choice: Mutex<OneOf>,
    chosen: Sender<Record>,
}

/// Makes spans of what was chosen.
#[derive(Debug)]
pub struct Recorder {
    chosen: Receiver<Record>,
    worker: Worker,
    spans: PastSpans,
}

impl Spans {
    /// Chooses one of so many; 0: none are made, as where no receiver of traces is named.
    #[must_use]
    pub fn open(of: u32, worker: &Worker) -> Option<(Arc<Self>, Recorder)> {
        if of == 0 {
            return None;
        }
        let Some(spans) = past_spans() else {
            tracing::warn!("--trace-connections does nothing without --otlp-endpoint");
            return None;
        };
        let (sender, chosen) = channel(WAITING);
        let recorder = Recorder { chosen, worker: worker.clone(), spans };
        Some((Arc::new(Self { choice: Mutex::new(OneOf::new(of)), chosen: sender }), recorder))
    }

    /// Something became of a connection.
    pub fn told(&self, record: &Record) {
        let is_over = matches!(record.happened, Happened::Closed | Happened::Failed(_));
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        if is_over && choice.take() {
            // Others follow.
            self.chosen.try_send(record.clone()).unwrap_or_default();
        }
    }
}

/// Makes spans for ever, or none; returns when nobody knows names any more.
pub async fn run(recorder: Option<Recorder>) -> String {
    match recorder {
        Some(recorder) => recorder.run().await,
        None => std::future::pending().await,
    }
}

impl Recorder {
    async fn run(mut self) -> String {
        let mut records = Vec::new();
        while self.chosen.recv_many(&mut records, WAITING).await > 0 {
            let called = match self.worker.called(numbers(&records)).await {
                Ok((called, _)) => called,
                Err(gone) => return gone.to_string(),
            };
            let now = match monotonic() {
                Ok(now) => now,
                Err(error) => return error.to_string(),
            };
            let wall = SystemTime::now();
            for record in records.drain(..) {
                let ago = now.saturating_sub(record.time);
                let end = wall.checked_sub(ago).unwrap_or(wall);
                self.spans.record(past(&record, Ends::of(&record, &called), end));
            }
        }
        "nobody tells of connections any more".to_owned()
    }
}

fn past(record: &Record, ends: Ends<'_>, end: SystemTime) -> Past {
    let text = |text: &dyn ToString| Said::Text(text.to_string());
    let address = |(ip, _): (IpAddr, u16)| Said::Text(ip.to_string());
    let port = |(_, port): (IpAddr, u16)| Said::Count(port.into());
    let microseconds = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
    let ip_type = if record.backend.0.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut attributes = vec![
        ("network.transport", text(&"tcp")),
        ("network.type", text(&ip_type)),
        ("network.peer.address", address(record.backend)),
        ("network.peer.port", port(record.backend)),
        ("network.local.address", address(record.client)),
        ("network.local.port", port(record.client)),
        ("server.address", address(record.frontend)),
        ("server.port", port(record.frontend)),
        ("mesh.bytes_sent", Said::Count(record.bytes_sent)),
        ("mesh.bytes_received", Said::Count(record.bytes_received)),
        ("mesh.retransmits", Said::Count(record.retransmits.into())),
        ("mesh.srtt_us", Said::Count(microseconds(record.srtt))),
    ];
    if let Some(source) = ends.source {
        attributes.push(("mesh.source_workload", text(source)));
    }
    if let Some(service) = ends.service {
        attributes.push(("service.peer.name", text(&service.name)));
        attributes.push(("service.peer.namespace", text(&service.namespace)));
    }
    if let Some(named) = ends.named {
        attributes.push(("mesh.endpoint", text(&named.endpoint)));
        attributes.extend(named.version.as_ref().map(|it| ("mesh.version", text(it))));
    }
    let failed = match record.happened {
        Happened::Failed(cause) => Some(cause.name()),
        Happened::Opened | Happened::Closed | Happened::Refused(_) => None,
    };
    attributes.extend(failed.map(|cause| ("error.type", text(&cause))));
    let start = end.checked_sub(record.duration).unwrap_or(end);
    Past { name: "connection", start, end, attributes, failed }
}

#[cfg(test)]
mod tests {
    use mesh_common::edge::FailureCause;
    use mesh_common::event::EventKind;

    use super::*;
    use crate::events::record::tests::record;

    #[test]
    fn a_span_lasts_as_long_as_its_connection_and_says_why_it_failed() {
        let mut record = record(EventKind::FAILED);
        record.happened = Happened::Failed(FailureCause::TIMED_OUT);
        record.duration = Duration::from_secs(3);
        record.backend = ("fd00::1".parse().unwrap(), 8080);
        let service = "prod/web".parse().unwrap();
        let ends = Ends { service: Some(&service), ..Ends::default() };
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let past = past(&record, ends, end);
        assert_eq!(past.start, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        assert_eq!((past.end, past.failed), (end, Some("timed_out")));
        let said = |key| past.attributes.iter().find(|(it, _)| *it == key).map(|(_, it)| it);
        let text = |text: &str| Some(Said::Text(text.to_owned()));
        assert_eq!(said("network.peer.address").cloned(), text("fd00::1"));
        assert_eq!(said("network.peer.port"), Some(&Said::Count(8080)));
        assert_eq!(said("network.type").cloned(), text("ipv6"));
        assert_eq!(said("service.peer.name").cloned(), text("web"));
        assert_eq!(said("error.type").cloned(), text("timed_out"));
        assert_eq!(said("mesh.source_workload"), None);
    }
}
