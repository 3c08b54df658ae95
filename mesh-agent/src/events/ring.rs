//! Reads the ring buffer and writes the connection log: failures, and with `--access-log` every
//! connection that ends. A burst is cut, and the log says by how much; the counters have it all.
//! Transitions are passed on to whoever watches breakers and ejections.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, RingBuf};
use mesh_api::convert::milliseconds;
use mesh_common::names;
use tokio::io::unix::AsyncFd;

use super::record::{Record, Told, decode};
use crate::accel::live;
use crate::bpf::load::map_path;
use crate::guard::follower::Guards;

/// How long an event may wait.
const LOOK: Duration = Duration::from_millis(200);
/// Most lines per second.
const LINES_PER_SECOND: u32 = 200;

/// Why the ring cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// It cannot be opened.
    #[error("cannot open the pinned ring of events: {0}")]
    Open(#[source] Box<aya::maps::MapError>),
    /// It cannot be waited for.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] io::Error),
}

/// Opens the pinned ring.
pub fn open(pin_path: &Path) -> Result<AsyncFd<RingBuf<MapData>>, RingError> {
    let open_error = |error| RingError::Open(Box::new(error));
    let data = MapData::from_pin(map_path(pin_path, names::EVENTS)).map_err(open_error)?;
    let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(open_error)?;
    #[expect(deprecated, reason = "the ring owns its descriptor, so it outlives the registration")]
    AsyncFd::new(ring).map_err(RingError::Wait)
}

/// Logs events for ever.
pub async fn run(mut ring: AsyncFd<RingBuf<MapData>>, guards: Guards) -> RingError {
    let mut budget = Budget::new(Instant::now());
    let mut transitions = Vec::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        // The programs call only for what is urgent, and where much waits.
        tokio::select! {
            ready = ring.readable_mut() => match ready {
                // What comes from here on is read below, or calls again.
                Ok(mut ready) => ready.clear_ready(),
                Err(error) => return RingError::Wait(error),
            },
            _ = look.tick() => {}
        }
        while let Some(item) = ring.get_mut().next() {
            match decode(&item) {
                Some(Told::Transition(transition)) => transitions.push(transition),
                // The canary's connections are nobody's.
                Some(Told::Connection(record))
                    if mesh_common::canary::is_reserved(record.frontend.0) => {}
                Some(Told::Connection(record)) if budget.take(Instant::now()) => log(&record),
                Some(Told::Connection(_)) => {}
                None => tracing::error!(bytes = item.len(), "unreadable event"),
            }
        }
        if !transitions.is_empty() {
            guards.hear(std::mem::take(&mut transitions));
        }
    }
}

fn log(record: &Record) {
    let Record {
        established,
        service,
        client,
        frontend,
        backend,
        duration,
        bytes_sent,
        bytes_received,
        retransmits,
        paths,
    } = record;
    // Fields without a value are left out.
    let paths = paths.map(|(sent, received)| (live::name(sent), live::name(received)));
    let address = |(ip, port): &(std::net::IpAddr, u16)| std::net::SocketAddr::new(*ip, *port);
    tracing::info!(
        target: "access",
        service,
        src.addr = %address(client),
        dst.service = %address(frontend),
        dst.addr = %address(backend),
        duration_ms = milliseconds(*duration),
        bytes_sent,
        bytes_recv = bytes_received,
        retransmits,
        path_sent = paths.map(|(sent, _)| sent),
        path_recv = paths.map(|(_, received)| received),
        "{}", if *established { "connection closed" } else { "connection failed" },
    );
}

/// Lines left in this second.
#[derive(Debug)]
struct Budget {
    since: Instant,
    used: u32,
    cut: u64,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self { since: now, used: 0, cut: 0 }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            if self.cut > 0 {
                tracing::warn!(target: "access", lines = self.cut, "more than {LINES_PER_SECOND} a second were left out");
            }
            *self = Self::new(now);
        }
        self.used += 1;
        let within = self.used <= LINES_PER_SECOND;
        self.cut += u64::from(!within);
        within
    }
}
