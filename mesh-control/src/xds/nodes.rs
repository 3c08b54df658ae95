//! The table of nodes behind a lock, with a signal for those who wait for a revision.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_xds::server::Progress;
use tokio::sync::watch;

use super::clients::ClientTable;
use super::kind::ClientKind;
use super::table::{NodeTable, Settled};
use super::traces::Traces;
use crate::metrics::{ClientLabel, Metrics};

/// All nodes, and the clients beside them.
#[derive(Debug)]
pub struct Nodes {
    table: Mutex<NodeTable>,
    clients: Mutex<ClientTable>,
    traces: Traces,
    changed: watch::Sender<()>,
    streams: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Nodes {
    /// No node yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            table: Mutex::default(),
            clients: Mutex::default(),
            traces: Traces::default(),
            changed: watch::Sender::new(()),
            streams: AtomicU64::new(0),
            metrics,
        }
    }

    /// The table. Never held across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, NodeTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Envoy and gRPC clients. Never held across an `await`.
    pub fn clients(&self) -> MutexGuard<'_, ClientTable> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn observe_client(
        &self,
        stream: u64,
        kind: ClientKind,
        progress: &Progress,
        now: Instant,
    ) {
        self.clients().observe(stream, kind, progress, now);
        self.count_clients(kind);
    }

    pub(super) fn client_ended(&self, stream: u64, kind: ClientKind, now: Instant) {
        self.clients().ended(stream, now);
        self.count_clients(kind);
    }

    fn count_clients(&self, kind: ClientKind) {
        let connected = i64::try_from(self.clients().connected(kind)).unwrap_or(i64::MAX);
        self.metrics.clients.get_or_create_owned(&ClientLabel::of(kind)).set(connected);
    }

    /// The traces of what is sent to them.
    pub const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Notes when a revision was stored.
    pub fn committed(&self, revision: u64, at: Instant) {
        self.lock().committed(revision, at);
    }

    /// Returns whether every connected node serves a revision, as soon as each has answered, or
    /// at the timeout. Where no node is connected, waits for one.
    pub async fn wait_live(&self, revision: u64, timeout: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        let answered = async {
            loop {
                let settled = self.lock().settled(revision);
                match settled {
                    Settled::Live => return true,
                    Settled::Rejected => return false,
                    Settled::Pending => {}
                }
                if changed.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(timeout, answered).await.unwrap_or(false)
    }

    fn after_change(&self) {
        let connected = self.lock().connected();
        let connected = i64::try_from(connected).unwrap_or(i64::MAX);
        self.metrics.connected.set(connected);
        self.changed.send_replace(());
    }
}

/// One stream's part in the table; its node counts as away when this is dropped.
pub(super) struct Connection {
    nodes: Arc<Nodes>,
    stream: u64,
    peer: Option<SocketAddr>,
    node: Option<String>,
}

impl Connection {
    pub(super) fn new(nodes: Arc<Nodes>, peer: Option<SocketAddr>) -> Self {
        let stream = nodes.next_stream();
        Self { nodes, stream, peer, node: None }
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        match (&self.node, self.peer) {
            (Some(node), _) => node.clone(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => "unknown".to_owned(),
        }
    }

    pub(super) fn observe(&mut self, progress: &Progress, now: Instant) {
        if self.node.is_none()
            && let Some(info) = &progress.node
        {
            tracing::info!(node = info.id, peer = ?self.peer, "connected");
            self.node = Some(info.id.clone());
        }
        let (new, took) = self.nodes.lock().observe(self.stream, progress, now);
        for took in took {
            let seconds = took.as_secs_f64();
            self.nodes.metrics.convergence_seconds.observe(seconds);
        }
        if new {
            self.nodes.after_change();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(node) = &self.node else { return };
        let now = Instant::now();
        if self.nodes.lock().ended(self.stream, node, now) {
            tracing::info!(%node, "disconnected");
            self.nodes.after_change();
        }
    }
}
