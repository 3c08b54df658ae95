//! Changes of health as lines.

use std::time::SystemTime;

use mesh_api::convert::milliseconds;
use serde::Serialize;

use crate::client::Context;
use crate::commands::health::view::{Endpoint, Guard, GuardState, Status};
use crate::failure::Failure;
use crate::output::style::Tone;
use crate::output::table::Table;
use crate::output::{Format, emit, time};

/// What to show.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commands::health) enum Change {
    /// The health of an endpoint is this now.
    Health(Endpoint),
    /// It is what it was, but for another reason.
    Detail(Endpoint),
    /// It is not checked any longer.
    Removed(Endpoint),
    /// A breaker or an ejection is this now.
    Guard(Guard),
    /// It is over.
    Ended(Guard),
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    milliseconds(now)
}

/// Changes in the format asked for.
pub(super) struct Printer<'a> {
    context: &'a Context,
    table: Table,
}

impl<'a> Printer<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        let mut heading = vec!["TIME", "NAMESPACE", "SERVICE", "ENDPOINT", "STATUS", "SOURCE"];
        if context.format == Format::Wide {
            heading.push("ADDRESS");
        }
        heading.push("REASON");
        Self { context, table: Table::new(&heading) }
    }

    pub(super) fn print(&mut self, changes: Vec<Change>) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let now_ms = now_ms();
        let mut text = String::new();
        for change in changes {
            match self.context.format {
                Format::Table | Format::Wide => {
                    self.table.toned(change.row(now_ms, self.context.format == Format::Wide));
                }
                Format::Json => {
                    text.push_str(&serde_json::to_string(&change.json(now_ms))?);
                    text.push('\n');
                }
                Format::Yaml => {
                    text = format!("{text}---\n{}", crate::output::yaml(&change.json(now_ms))?);
                }
                Format::Name => text = format!("{text}{}\n", change.subject()),
            }
        }
        if matches!(self.context.format, Format::Table | Format::Wide) {
            text = self.table.render(self.context.style);
        }
        emit(&text)
    }
}

/// One line of a watch in JSON.
#[derive(Serialize)]
pub(in crate::commands::health) struct JsonChange<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<&'a Guard>,
}

impl Change {
    /// When it happened, as far as is known.
    fn time(&self, now_ms: u64) -> String {
        let ago = match self {
            Self::Health(Endpoint { status: Status::Unknown, .. })
            | Self::Detail(_)
            | Self::Removed(_)
            | Self::Ended(_) => 0,
            Self::Health(endpoint) => endpoint.since_ms,
            Self::Guard(guard) => guard.since_ms,
        };
        time::utc(now_ms.saturating_sub(ago))
    }

    pub(in crate::commands::health) fn row(
        &self,
        now_ms: u64,
        wide: bool,
    ) -> Vec<(String, Option<Tone>)> {
        let (namespace, service, endpoint, address) = match self {
            Self::Health(it) | Self::Detail(it) | Self::Removed(it) => {
                (&it.namespace, it.service.clone(), &it.name, it.address.clone())
            }
            Self::Guard(it) | Self::Ended(it) => {
                (&it.namespace, format!("{}:{}", it.service, it.port), &it.endpoint, String::new())
            }
        };
        let (status, tone, source, reason) = match self {
            Self::Health(it) | Self::Detail(it) => {
                (it.status.as_str(), it.status.tone(), it.source.clone(), it.reason.clone())
            }
            Self::Removed(_) => ("Removed", None, String::new(), String::new()),
            Self::Guard(it) => {
                let bad = it.state != GuardState::HalfOpen;
                let node = format!("node {}", it.node);
                (it.state.as_str(), bad.then_some(Tone::Bad), node, it.cause.clone())
            }
            Self::Ended(it) => {
                let node = format!("node {}", it.node);
                (it.state.end(), Some(Tone::Good), node, String::new())
            }
        };
        let mut row = vec![
            (self.time(now_ms), None),
            (namespace.clone(), None),
            (service, None),
            (endpoint.clone(), None),
            (status.to_owned(), tone),
            (source, None),
        ];
        if wide {
            row.push((address, None));
        }
        row.push((reason, None));
        row
    }

    pub(in crate::commands::health) fn json(&self, now_ms: u64) -> JsonChange<'_> {
        let (event, endpoint, guard) = match self {
            Self::Health(endpoint) | Self::Detail(endpoint) => ("HEALTH", Some(endpoint), None),
            Self::Removed(endpoint) => ("REMOVED", Some(endpoint), None),
            Self::Guard(guard) => ("GUARD", None, Some(guard)),
            Self::Ended(guard) => ("GUARD-ENDED", None, Some(guard)),
        };
        JsonChange { time: self.time(now_ms), event, endpoint, guard }
    }

    fn subject(&self) -> String {
        match self {
            Self::Health(endpoint) | Self::Detail(endpoint) | Self::Removed(endpoint) => {
                endpoint.subject()
            }
            Self::Guard(guard) | Self::Ended(guard) if guard.endpoint.is_empty() => {
                format!("service/{}", guard.service)
            }
            Self::Guard(guard) | Self::Ended(guard) => format!("endpoint/{}", guard.endpoint),
        }
    }
}
