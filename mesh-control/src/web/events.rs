//! The mesh as server-sent events. An event is made when the page takes it: for a slow one there
//! are fewer, and none waits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::delta::Changes;
use super::survey::Survey;
use super::{Sources, Web};

/// Time between two events.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// One a second.
pub(super) fn ticks() -> Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct Feed {
    web: Web,
    sources: Sources,
    ticks: Interval,
    last: Option<Arc<Survey>>,
    /// Kept for as long as the stream is.
    _place: OwnedSemaphorePermit,
}

/// Ends with the shutdown.
pub(super) fn mesh(
    web: Web,
    sources: Sources,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let feed = Feed { web, sources, ticks: ticks(), last: None, _place: place };
    futures::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    })
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = self.web.0.shutdown.cancelled() => return None,
        }
        let survey = self.web.survey(&self.sources).await;
        let changes = match &self.last {
            Some(last) => Changes::between(last, &survey),
            None => Changes::all(&survey),
        };
        self.last = Some(survey);
        Event::default().event("mesh").json_data(changes).ok()
    }
}
