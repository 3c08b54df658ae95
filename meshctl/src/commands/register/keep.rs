//! `register --heartbeat`: keeps a lease alive as long as this runs.

use std::time::{Duration, SystemTime};

use mesh_api::wire;
use tokio::signal::unix::{SignalKind, signal};

use super::{names, register};
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::{Format, emit, note};

/// Heartbeats per lease: two may get lost.
const BEATS: u64 = 3;
/// Longest pause before trying again.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Registers, stays, and deregisters at the end.
pub(super) async fn run(context: &Context, request: &wire::RegisterRequest) -> Result<(), Failure> {
    // Listened for from the start, so that no endpoint is left behind.
    let listen = |kind| signal(kind).map_err(|error| Failure::io("signals", error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut client = context.connect_to_stay().await?;
    let (namespace, name) = names(request);
    let kept = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        result = keep(context, &mut client, request) => result,
    };
    kept?;
    let deregister = wire::DeregisterRequest { namespace, name: name.clone() };
    match client.deregister(deregister).await {
        Ok(_) if !matches!(context.format, Format::Table | Format::Wide) => Ok(()),
        Ok(_) => emit(&format!("endpoint/{name} deregistered\n")),
        // The lease ran out first, or somebody was faster: what was wanted is so.
        Err(Failure::NotFound { .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Registers and keeps the lease alive; ends only with an error.
async fn keep(
    context: &Context,
    client: &mut Client,
    request: &wire::RegisterRequest,
) -> Result<(), Failure> {
    let (namespace, name) = names(request);
    let mut sent = SystemTime::now();
    let mut ttl = register(context, client, request).await?;
    loop {
        tokio::time::sleep(pause(ttl)).await;
        let beat = wire::HeartbeatRequest { namespace: namespace.clone(), name: name.clone() };
        let now = SystemTime::now();
        match client.heartbeat(beat).await {
            Ok(response) => (ttl, sent) = (response.ttl_ms, now),
            Err(Failure::NotFound { .. }) if !ran_out(ttl, sent, now) => {
                let message = format!("endpoint/{name} was deleted: it is not registered again");
                return Err(Failure::NotFound { message });
            }
            Err(Failure::NotFound { .. }) => match client.register(request.clone()).await {
                Ok(response) => {
                    (ttl, sent) = (response.ttl_ms, now);
                    note(&format!("the lease had run out: endpoint/{name} registered again"));
                }
                Err(failure) => lost(failure)?,
            },
            Err(failure) => lost(failure)?,
        }
    }
}

/// Whether an endpoint that is gone has gone by itself. The last heartbeat was sent before it
/// arrived, so a lease that ran out over there has run out by this clock, too. It is that of the
/// calendar, because others stand still while a machine sleeps.
fn ran_out(ttl_ms: u64, sent: SystemTime, now: SystemTime) -> bool {
    let silent = now.duration_since(sent).unwrap_or_default();
    silent >= Duration::from_millis(ttl_ms)
}

/// Goes on after what may pass.
fn lost(failure: Failure) -> Result<(), Failure> {
    if let Failure::Unreachable { reason, .. }
    | Failure::TimedOut { message: reason }
    | Failure::Server { message: reason } = failure
    {
        note(&format!("heartbeat: {reason}; trying again"));
        return Ok(());
    }
    Err(failure)
}

fn pause(ttl_ms: u64) -> Duration {
    Duration::from_millis((ttl_ms / BEATS).max(100)).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_come_often_enough() {
        assert_eq!(pause(3000), Duration::from_secs(1));
        assert_eq!(pause(1), Duration::from_millis(100));
        assert_eq!(pause(86_400_000), MAX_PAUSE);
    }

    #[test]
    fn only_silence_lets_a_lease_run_out() {
        let sent = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let after = |ms| sent + Duration::from_millis(ms);
        assert!(!ran_out(1000, sent, after(999)));
        assert!(ran_out(1000, sent, after(1000)));
        // The clock was set back: nothing is known of any silence.
        assert!(!ran_out(1000, sent, SystemTime::UNIX_EPOCH));
    }
}
