//! What the programs say about single connections, for people who look for a fault. The level is a
//! constant that the agent sets before it loads them: what is below it is cut out by the verifier, so
//! that only two instructions remain, and no work. Each line is a function of its own, as its text
//! would fill the stack of the hook that it stands in.

use aya_log_ebpf::macro_support::{AYA_LOGS, Level, level_enabled};
use aya_log_ebpf::{debug, trace, warn};
use mesh_common::conn::ConnRecord;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use crate::telemetry;

/// `BPF_RB_AVAIL_DATA`, of `bpf_ringbuf_query`. Minimum kernel: 5.8.
const AVAILABLE: u64 = 0;
/// Bytes in the ring from which on no line is written: its size, 128 KiB, less the longest line.
const FULL: u64 = (128 << 10) - 1024;

/// Whether a line of this level is wanted, and there is room for it.
#[inline(always)]
fn may(level: Level) -> bool {
    if !level_enabled(level) {
        return false;
    }
    let room = AYA_LOGS.query(AVAILABLE) < FULL;
    if !room {
        telemetry::count(Reason::LOG_LOST);
    }
    room
}

/// A backend was chosen.
#[inline(always)]
pub(crate) fn chosen(record: &ConnRecord) {
    if may(Level::Trace) {
        say_chosen(record.service.index, record.backend.index, record.generation);
    }
}

#[inline(never)]
fn say_chosen(service: u32, backend: u32, generation: u32) {
    trace!((), "chosen: service={} backend={} generation={}", service, backend, generation);
}

/// A call goes on as if there were no mesh, or is refused.
#[inline(always)]
pub(crate) fn left(reason: Reason) {
    if may(Level::Trace) {
        say_left(reason.code);
    }
}

#[inline(never)]
fn say_left(reason: u32) {
    trace!((), "not redirected: reason={}", reason);
}

/// A service has no backend for a call.
#[inline(always)]
pub(crate) fn without(service: ServiceIndex, reason: Reason) {
    if may(Level::Debug) {
        say_without(service.index, reason.code);
    }
}

#[inline(never)]
fn say_without(service: u32, reason: u32) {
    debug!((), "no backend: service={} reason={}", service, reason);
}

/// A connection is established.
#[inline(always)]
pub(crate) fn opened(record: &ConnRecord) {
    if may(Level::Debug) {
        say_opened(record.service.index, record.backend.index, record.generation);
    }
}

#[inline(never)]
fn say_opened(service: u32, backend: u32, generation: u32) {
    debug!((), "opened: service={} backend={} generation={}", service, backend, generation);
}

/// A connection was not established; `errno` is what the application gets.
#[inline(always)]
pub(crate) fn failed(record: &ConnRecord, errno: u32) {
    if may(Level::Debug) {
        say_failed(record.service.index, record.backend.index, record.generation, errno);
    }
}

#[inline(never)]
fn say_failed(service: u32, backend: u32, generation: u32, errno: u32) {
    debug!(
        (),
        "failed: service={} backend={} generation={} errno={}", service, backend, generation, errno
    );
}

/// An established connection has ended.
#[inline(always)]
pub(crate) fn closed(record: &ConnRecord, sent: u64, received: u64) {
    if may(Level::Debug) {
        say_closed(record.service.index, record.backend.index, record.generation, sent, received);
    }
}

#[inline(never)]
fn say_closed(service: u32, backend: u32, generation: u32, sent: u64, received: u64) {
    debug!(
        (),
        "closed: service={} backend={} generation={} sent={} received={}",
        service,
        backend,
        generation,
        sent,
        received
    );
}

/// Something that should not happen, or had no room.
#[inline(always)]
pub(crate) fn trouble(reason: Reason) {
    if may(Level::Warn) {
        say_trouble(reason.code);
    }
}

#[inline(never)]
fn say_trouble(reason: u32) {
    warn!((), "counted: reason={}", reason);
}
