//! `health --watch`: what is known, then a line for every change, over lost connections too.

mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mesh_api::wire;
use mesh_api::wire::health_event::Event;

pub(super) use self::print::Change;
use self::print::Printer;
use super::view::{Endpoint, Guard, GuardKey, Status};
use super::{Scope, not_gathered};
use crate::client::{Client, Context};
use crate::commands::stay::{message, stay};
use crate::failure::Failure;

/// How long a node may take to report after the control plane was restarted: three reports. What
/// is not known for so long is a change.
const GRACE: Duration = Duration::from_secs(15);

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
        let changes = tokio::select! {
            event = message(client, &mut stream) => view.on(event?, Instant::now()),
            () = reached(view.grace_ends()) => view.end_grace(),
        };
        printer.print(changes)?;
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

type Key = (String, String);

/// What has been shown, so that on a new connection only differences are.
#[derive(Debug)]
pub(super) struct View<'a> {
    scope: &'a Scope,
    endpoints: BTreeMap<Key, Endpoint>,
    guards: BTreeMap<GuardKey, Guard>,
    /// What has not come again since the connection was made.
    doubt: Option<Doubt>,
    /// At the beginning of a connection: what has come again, and the changes held back.
    sync: Option<Sync>,
}

/// It may come again until the grace is over.
#[derive(Debug)]
struct Doubt {
    end: Instant,
    /// Nodes that had guards.
    nodes: BTreeSet<String>,
    /// Endpoints that had a status, as they are without one.
    endpoints: BTreeMap<Key, Endpoint>,
}

#[derive(Debug, Default)]
struct Sync {
    endpoints: BTreeSet<Key>,
    nodes: BTreeSet<String>,
    /// Endpoints that had a status, as they are without one.
    unknown: BTreeMap<Key, Endpoint>,
    held: Vec<Change>,
}

impl<'a> View<'a> {
    pub(super) const fn new(scope: &'a Scope) -> Self {
        Self { scope, endpoints: BTreeMap::new(), guards: BTreeMap::new(), doubt: None, sync: None }
    }

    /// From here on all comes again.
    pub(super) fn connected(&mut self) {
        self.sync = Some(Sync::default());
        self.doubt = None;
    }

    /// The changes to show; those of the beginning come together at its end.
    pub(super) fn on(&mut self, event: wire::HealthEvent, now: Instant) -> Vec<Change> {
        let changes = match event.event {
            Some(Event::Put(endpoint)) => self.put(endpoint.into()).into_iter().collect(),
            Some(Event::Removed(object)) => {
                self.remove(&(object.namespace, object.name)).into_iter().collect()
            }
            Some(Event::Guards(node)) => self.node(node),
            Some(Event::Synced(_)) => return self.synced(now),
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
        // After a restart of the control plane not to know is no change, for a while.
        let unknown = match (&mut self.sync, &mut self.doubt) {
            (Some(sync), _) => Some(&mut sync.unknown),
            (None, Some(doubt)) => Some(&mut doubt.endpoints),
            (None, None) => None,
        };
        if let Some(unknown) = unknown {
            let known = self.endpoints.get(&key).is_some_and(|it| it.status != Status::Unknown);
            if endpoint.status == Status::Unknown && known {
                unknown.insert(key, endpoint);
                return None;
            }
            unknown.remove(&key);
        }
        self.show(key, endpoint)
    }

    fn show(&mut self, key: Key, endpoint: Endpoint) -> Option<Change> {
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
        if let Some(sync) = &mut self.sync {
            sync.unknown.remove(key);
        }
        if let Some(doubt) = &mut self.doubt {
            doubt.endpoints.remove(key);
        }
        let gone = self.endpoints.remove(key)?;
        let wanted = !self.scope.unhealthy || gone.status == Status::Unhealthy;
        wanted.then_some(Change::Removed(gone))
    }

    /// What a node reports replaces what it has reported.
    fn node(&mut self, report: wire::NodeGuards) -> Vec<Change> {
        let node = report.node.clone();
        if let Some(doubt) = &mut self.doubt {
            doubt.nodes.remove(&node);
        }
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

    fn synced(&mut self, now: Instant) -> Vec<Change> {
        let Some(Sync { endpoints, nodes, unknown, held: mut changes }) = self.sync.take() else {
            return Vec::new();
        };
        let gone = self.endpoints.keys().filter(|key| !endpoints.contains(key)).cloned();
        for key in gone.collect::<Vec<_>>() {
            changes.extend(self.remove(&key));
        }
        // Perhaps the node has none any more, perhaps it has not reported yet.
        let missing = self.guards.values().filter(|guard| !nodes.contains(&guard.node));
        let nodes = missing.map(|guard| guard.node.clone()).collect();
        self.doubt = Some(Doubt { end: now + GRACE, nodes, endpoints: unknown });
        changes
    }

    /// When [`Self::end_grace`] is to be called.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        self.doubt.as_ref().map(|doubt| doubt.end)
    }

    /// Guards that have not come again are over, and what is not known is shown so.
    pub(super) fn end_grace(&mut self) -> Vec<Change> {
        let Some(Doubt { nodes, endpoints, .. }) = self.doubt.take() else { return Vec::new() };
        let mut changes = self.end_guards(|guard| nodes.contains(&guard.node));
        changes.extend(endpoints.into_iter().filter_map(|(key, it)| self.show(key, it)));
        changes
    }
}
