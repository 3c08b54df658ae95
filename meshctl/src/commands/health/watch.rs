//! `health --watch`: what is known, then a line for every change, over lost connections too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use mesh_api::wire;
use mesh_api::wire::health_event::Event;
use serde::Serialize;

use super::view::{Endpoint, Guard, GuardKey, GuardState, Status};
use super::{Scope, not_gathered};
use crate::client::{Client, Context};
use crate::commands::stay::{message, stay};
use crate::failure::Failure;
use crate::output::style::Tone;
use crate::output::table::Table;
use crate::output::{Format, emit, time};

pub(super) async fn run(context: &Context, scope: &Scope) -> Result<(), Failure> {
    let mut printer = Printer::new(context);
    let mut view = View::new(scope);
    stay(context, async |client| follow(client, scope, &mut view, &mut printer).await).await
}

/// Prints until the stream ends; always returns an error.
async fn follow(
    client: &mut Client,
    scope: &Scope,
    view: &mut View<'_>,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    scope.check(client).await?;
    // All of them: that an endpoint is unhealthy no longer is a change to show.
    let mut stream = client.watch_health(scope.request(false)).await?.ok_or_else(not_gathered)?;
    view.connected();
    loop {
        let event = message(client, &mut stream).await?;
        printer.print(view.on(event), now_ms())?;
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

type Key = (String, String);

/// What has been shown, so that on a new connection only differences are.
#[derive(Debug)]
pub(super) struct View<'a> {
    scope: &'a Scope,
    endpoints: BTreeMap<Key, Endpoint>,
    guards: BTreeMap<GuardKey, Guard>,
    /// At the beginning of a connection: what has come again, and the changes held back.
    sync: Option<Sync>,
}

#[derive(Debug, Default)]
struct Sync {
    endpoints: BTreeSet<Key>,
    nodes: BTreeSet<String>,
    held: Vec<Change>,
}

/// What to show.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
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

impl<'a> View<'a> {
    pub(super) const fn new(scope: &'a Scope) -> Self {
        Self { scope, endpoints: BTreeMap::new(), guards: BTreeMap::new(), sync: None }
    }

    /// From here on all comes again.
    pub(super) fn connected(&mut self) {
        self.sync = Some(Sync::default());
    }

    /// The changes to show; those of the beginning come together at its end.
    pub(super) fn on(&mut self, event: wire::HealthEvent) -> Vec<Change> {
        let changes = match event.event {
            Some(Event::Put(endpoint)) => self.put(endpoint.into()).into_iter().collect(),
            Some(Event::Removed(object)) => {
                self.remove(&(object.namespace, object.name)).into_iter().collect()
            }
            Some(Event::Guards(node)) => self.node(node),
            Some(Event::Synced(_)) => return self.synced(),
            None => Vec::new(),
        };
        match &mut self.sync {
            Some(sync) => {
                sync.held.extend(changes);
                Vec::new()
            }
            None => changes,
        }
    }

    fn put(&mut self, endpoint: Endpoint) -> Option<Change> {
        let key = (endpoint.namespace.clone(), endpoint.name.clone());
        if let Some(sync) = &mut self.sync {
            sync.endpoints.insert(key.clone());
        }
        if endpoint.status == Status::Unknown && self.endpoints.contains_key(&key) {
            // As after a restart of the control plane: not to know is no change.
            return None;
        }
        let before = self.endpoints.insert(key, endpoint.clone());
        let bad = |it: &Endpoint| it.status == Status::Unhealthy;
        let wanted = !self.scope.unhealthy || bad(&endpoint) || before.as_ref().is_some_and(bad);
        match before {
            _ if !wanted => None,
            Some(before) if before.says_the_same(&endpoint) => None,
            Some(before) if before.status == endpoint.status => Some(Change::Detail(endpoint)),
            Some(_) | None => Some(Change::Health(endpoint)),
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Change> {
        let gone = self.endpoints.remove(key)?;
        let wanted = !self.scope.unhealthy || gone.status == Status::Unhealthy;
        wanted.then_some(Change::Removed(gone))
    }

    /// What a node reports replaces what it has reported.
    fn node(&mut self, report: wire::NodeGuards) -> Vec<Change> {
        let node = report.node.clone();
        if let Some(sync) = &mut self.sync {
            sync.nodes.insert(node.clone());
        }
        let now = Guard::of_node(report).into_iter().filter(|it| self.scope.has_guard(it));
        let now: BTreeMap<_, _> = now.map(|it| (it.key(), it)).collect();
        let mut changes = self.end_guards(|it| it.node == node && !now.contains_key(&it.key()));
        for (key, guard) in now {
            let before = self.guards.insert(key, guard.clone());
            if before.is_none_or(|before| before.state != guard.state) {
                changes.push(Change::Guard(guard));
            }
        }
        changes
    }

    fn end_guards(&mut self, over: impl Fn(&Guard) -> bool) -> Vec<Change> {
        self.guards.extract_if(.., |_, guard| over(guard)).map(|it| Change::Ended(it.1)).collect()
    }

    fn synced(&mut self) -> Vec<Change> {
        let Some(Sync { endpoints, nodes, held: mut changes }) = self.sync.take() else {
            return Vec::new();
        };
        let gone = self.endpoints.keys().filter(|key| !endpoints.contains(key)).cloned();
        for key in gone.collect::<Vec<_>>() {
            changes.extend(self.remove(&key));
        }
        changes.extend(self.end_guards(|guard| !nodes.contains(&guard.node)));
        changes
    }
}

/// Changes in the format asked for.
struct Printer<'a> {
    context: &'a Context,
    table: Table,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context) -> Self {
        let mut heading = vec!["TIME", "NAMESPACE", "SERVICE", "ENDPOINT", "STATUS", "SOURCE"];
        if context.format == Format::Wide {
            heading.push("ADDRESS");
        }
        heading.push("REASON");
        Self { context, table: Table::new(&heading) }
    }

    fn print(&mut self, changes: Vec<Change>, now_ms: u64) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
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
pub(super) struct JsonChange<'a> {
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

    pub(super) fn row(&self, now_ms: u64, wide: bool) -> Vec<(String, Option<Tone>)> {
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

    pub(super) fn json(&self, now_ms: u64) -> JsonChange<'_> {
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
