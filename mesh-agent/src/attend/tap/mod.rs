//! One tap: the events of the kernel, with names, in the words of the API, as a stream that ends when
//! it is dropped.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::Stream;
use mesh_api::wire;
use mesh_common::reason::Reason;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;

use crate::accel::live;
use crate::events::bucket::Bucket;
use crate::events::choice::OneOf;
use crate::events::filter::{Ends, Filter, Outcomes, Place, numbers};
use crate::events::record::{Happened, Record};
use crate::events::tap::{Tap, Taps};
use crate::maps::kernel::affinity::monotonic;
use crate::reconcile::Called;
use crate::worker::Worker;

/// Most events told in a second.
const PER_SECOND: u32 = 2000;
/// Most events in a message: some 100 KiB.
const PART: usize = 256;
/// How often it says how it is where nothing happens: whoever asked hears that somebody is there.
const SIGN: Duration = Duration::from_secs(2);
/// Most connections of which one is told.
const MAX_SAMPLE: u32 = 1_000_000;

/// Opens a tap. What comes is told until the stream is dropped, or as many events have been.
pub fn open(
    taps: &Arc<Taps>,
    wanted: &wire::Tap,
) -> Result<impl Stream<Item = Result<wire::Tapped, Status>> + Send + use<>, Status> {
    let (outcomes, filter) = asked(wanted)?;
    let wire::Tap { sample, limit, .. } = *wanted;
    if sample > MAX_SAMPLE {
        let text = format!("one of {MAX_SAMPLE} connections at least has to be told");
        return Err(Status::invalid_argument(text));
    }
    let tap = taps.open(outcomes).map_err(|many| Status::resource_exhausted(many.to_string()))?;
    let mut sign = interval(SIGN);
    sign.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follow = Follow {
        worker: tap.worker(),
        tap,
        choice: Choice::new(filter, sample, limit),
        began: Instant::now(),
        lost: Lost::default(),
        sign,
        ended: false,
    };
    Ok(futures::stream::unfold(follow, |mut follow| async move {
        let part = follow.next().await?;
        follow.ended = !part.as_ref().is_ok_and(|part| part.more);
        Some((part, follow))
    }))
}

/// What is asked for.
fn asked(wanted: &wire::Tap) -> Result<(Outcomes, Filter), Status> {
    let mut outcomes = Outcomes::NONE;
    for outcome in &wanted.outcomes {
        match wire::Outcome::try_from(*outcome) {
            Ok(wire::Outcome::Opened) => outcomes.opened = true,
            Ok(wire::Outcome::Closed) => outcomes.closed = true,
            Ok(wire::Outcome::Failed) => outcomes.failed = true,
            Ok(wire::Outcome::Refused) => outcomes.refused = true,
            Ok(wire::Outcome::Unspecified) | Err(_) => {
                return Err(Status::invalid_argument("this agent does not know the outcome"));
            }
        }
    }
    if wanted.outcomes.is_empty() {
        outcomes = Outcomes::default();
    }
    let said = |text: &String| (!text.is_empty()).then(|| text.clone());
    let filter = Filter {
        namespace: said(&wanted.namespace),
        service: said(&wanted.service),
        source: said(&wanted.source_workload),
        endpoint: said(&wanted.endpoint).map(Place::new),
    };
    Ok((outcomes, filter))
}

/// How many events the kernel has lost since the beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    first: Option<u64>,
    last: u64,
}

impl Lost {
    fn now(&mut self, count: u64) {
        self.first.get_or_insert(count);
        self.last = count;
    }

    fn since(self) -> u64 {
        self.first.map_or(0, |first| self.last.saturating_sub(first))
    }
}

struct Follow {
    tap: Tap,
    worker: Worker,
    choice: Choice,
    began: Instant,
    lost: Lost,
    sign: Interval,
    ended: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<Result<wire::Tapped, Status>> {
        let mut records = Vec::new();
        while !self.ended {
            // The first tick is at once: then the programs tell of everything.
            let is_sign = tokio::select! {
                () = self.tap.take(&mut records, PART) => false,
                _ = self.sign.tick() => true,
            };
            let (called, lost) = match self.worker.called(numbers(&records)).await {
                Ok(called) => called,
                Err(gone) => return Some(Err(Status::unavailable(gone.to_string()))),
            };
            self.lost.now(lost);
            let clock = match Clock::now() {
                Ok(clock) => clock,
                Err(status) => return Some(Err(status)),
            };
            let now = self.began.elapsed();
            let events: Vec<_> = records
                .drain(..)
                .filter_map(|record| self.choice.take(&record, &called, clock, now))
                .collect();
            if is_sign || !events.is_empty() {
                let left_out = wire::LeftOut {
                    overrun: self.tap.overrun(),
                    lost: self.lost.since(),
                    ..self.choice.left_out
                };
                let more = self.choice.rest > 0;
                return Some(Ok(wire::Tapped { events, left_out: Some(left_out), more }));
            }
        }
        None
    }
}

/// Which events are told. Pure.
#[derive(Debug)]
struct Choice {
    filter: Filter,
    sample: OneOf,
    bucket: Bucket,
    /// How many more may be told.
    rest: u64,
    left_out: wire::LeftOut,
}

impl Choice {
    fn new(filter: Filter, sample: u32, limit: u64) -> Self {
        Self {
            filter,
            sample: OneOf::new(sample),
            bucket: Bucket::new(PER_SECOND, Duration::ZERO),
            rest: if limit == 0 { u64::MAX } else { limit },
            left_out: wire::LeftOut::default(),
        }
    }

    /// The event, where it is told; `now` is since the beginning.
    fn take(
        &mut self,
        record: &Record,
        called: &Called,
        clock: Clock,
        now: Duration,
    ) -> Option<wire::ConnectionEvent> {
        let ends = Ends::of(record, called);
        if self.rest == 0 || !self.filter.takes(record, ends) {
            return None;
        }
        if !self.sample.take() {
            self.left_out.sampled = self.sample.left_out();
            return None;
        }
        if !self.bucket.take(now) {
            self.left_out.rate_limited += 1;
            return None;
        }
        self.rest -= 1;
        Some(event(record, ends, clock))
    }
}

/// Two clocks at the same moment: the time since the Unix epoch, and `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: Duration,
    monotonic: Duration,
}

impl Clock {
    fn now() -> Result<Self, Status> {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let monotonic = monotonic().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Self { wall, monotonic })
    }

    /// Microseconds since the epoch.
    fn unix(self, monotonic: Duration) -> u64 {
        let ago = self.monotonic.saturating_sub(monotonic);
        microseconds(self.wall.saturating_sub(ago))
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn event(record: &Record, ends: Ends<'_>, clock: Clock) -> wire::ConnectionEvent {
    let address = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip, port).to_string();
    let (outcome, cause) = match record.happened {
        Happened::Opened => (wire::Outcome::Opened, ""),
        Happened::Closed => (wire::Outcome::Closed, ""),
        Happened::Failed(cause) => (wire::Outcome::Failed, cause.name()),
        Happened::Refused(reason) => (wire::Outcome::Refused, reason_name(reason)),
    };
    let transport = if record.is_udp { wire::Transport::Udp } else { wire::Transport::Tcp };
    let mut event = wire::ConnectionEvent {
        time_us: clock.unix(record.time),
        outcome: outcome.into(),
        transport: transport.into(),
        source_workload: ends.source.map(ToString::to_string).unwrap_or_default(),
        cgroup: record.cgroup,
        frontend: address(record.frontend),
        bytes_sent: record.bytes_sent,
        bytes_received: record.bytes_received,
        duration_us: microseconds(record.duration),
        srtt_us: u32::try_from(record.srtt.as_micros()).unwrap_or(u32::MAX),
        retransmits: record.retransmits,
        cause: cause.to_owned(),
        ..wire::ConnectionEvent::default()
    };
    if outcome != wire::Outcome::Refused {
        event.client = address(record.client);
        event.backend = address(record.backend);
    }
    if let Some(service) = ends.service {
        event.namespace = service.namespace.to_string();
        event.service = service.name.to_string();
    }
    if let Some(named) = ends.named {
        event.endpoint = named.endpoint.to_string();
        event.version = named.version.as_ref().map(ToString::to_string).unwrap_or_default();
    }
    if let Some((sent, received)) = record.paths {
        live::name(sent).clone_into(&mut event.sent_path);
        live::name(received).clone_into(&mut event.received_path);
    }
    event
}

fn reason_name(reason: Reason) -> &'static str {
    let known = Reason::NAMES.into_iter().find(|(known, _)| *known == reason);
    known.map_or("unknown", |(_, name)| name)
}

#[cfg(test)]
mod tests;
