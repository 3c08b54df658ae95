//! Reads the ring buffer and passes on what it tells: connections to taps and to the log, transitions
//! to whoever watches breakers and ejections. Nothing here waits for them: the kernel's buffer is small.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use mesh_common::names;
use tokio::io::unix::AsyncFd;

use super::access::Access;
use super::record::{Told, decode};
use super::spans::Spans;
use super::tap::Taps;
use crate::bpf::load::map_path;
use crate::guard::follower::Guards;

/// How long an event may wait.
const LOOK: Duration = Duration::from_millis(200);
/// Events read before others have their turn.
const AT_ONCE: usize = 256;

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

/// Reads for ever.
pub async fn run(
    mut ring: AsyncFd<RingBuf<MapData>>,
    guards: Guards,
    access: Arc<Access>,
    taps: Arc<Taps>,
    spans: Option<Arc<Spans>>,
) -> RingError {
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
        // Under load the ring is never empty: others have their turn meanwhile, and what the guards are
        // to hear they hear.
        while read(&mut ring, &guards, &access, &taps, spans.as_deref()) {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads some; returns whether there may be more.
fn read(
    ring: &mut AsyncFd<RingBuf<MapData>>,
    guards: &Guards,
    access: &Access,
    taps: &Taps,
    spans: Option<&Spans>,
) -> bool {
    let mut transitions = Vec::new();
    let mut rest = AT_ONCE;
    while rest > 0
        && let Some(item) = ring.get_mut().next()
    {
        rest -= 1;
        match decode(&item) {
            Some(Told::Transition(transition)) => transitions.push(transition),
            // The canary's connections are nobody's.
            Some(Told::Connection(record))
                if mesh_common::canary::is_reserved(record.frontend.0) => {}
            Some(Told::Connection(record)) => {
                taps.told(&record);
                if let Some(spans) = spans {
                    spans.told(&record);
                }
                access.told(record);
            }
            None => tracing::error!(bytes = item.len(), "unreadable event"),
        }
    }
    if !transitions.is_empty() {
        guards.hear(transitions);
    }
    rest == 0
}
