//! Proof that the shared types look the same to both sides: sizes, alignments and offsets as
//! numbers, no hidden padding, and aya's `Pod` for user space.

use core::mem::{align_of, offset_of, size_of};

use crate::accel::{
    Accelerated, Alarm, AutoKey, Direction, Pair, PairId, PairKey, Pairing, SocketKey, SocketLayout,
};
use crate::addr::IpKey;
use crate::affinity::{Affinity, AffinityKey};
use crate::backend::Backend;
use crate::conn::{ConnGroup, ConnRecord, ConnsState};
use crate::counter::{BackendCounters, ReasonCount, ServiceCounters};
use crate::edge::{EdgeCounters, EdgeKey};
use crate::enrol::{CgroupKey, NetnsKey, Verdict};
use crate::event::Event;
use crate::flow::{Flow, Flows};
use crate::frontend::{Frontend, FrontendKey};
use crate::guard::{BackendGuard, ServiceGuard, Transition};
use crate::inbound::{Accepted, ClientId, EndpointId, InboundKey};
use crate::policy::{OutlierPolicy, Policy, Thresholds, TimeoutPolicy};
use crate::refusal::{RefusalCounters, RefusalKey};
use crate::service::ServiceHead;
use crate::slot::Slot;
use crate::state::{BackendState, ServiceState};
use crate::tunables::Tunables;

/// The same 16 bytes as words in memory order.
#[inline(always)]
#[expect(unsafe_code, reason = "a transmute between arrays of integers")]
pub(crate) const fn words(octets: [u8; 16]) -> [u32; 4] {
    // SAFETY: same size, no padding, every bit pattern is valid on both sides.
    unsafe { core::mem::transmute::<[u8; 16], [u32; 4]>(octets) }
}

/// The same four words as bytes in memory order.
#[inline(always)]
#[expect(unsafe_code, reason = "a transmute between arrays of integers")]
pub(crate) const fn octets(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: as in `words`.
    unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) }
}

/// Asserts size, alignment and every field's offset. Fields are listed in order with their
/// sizes; each must begin where the one before ended, and the last must end the type, so there
/// is no padding that has no name.
macro_rules! layout {
    ($type:ident, size $size:literal, align $align:literal, { $($field:ident: $at:literal + $len:literal),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == $align);
            let mut end = 0;
            $(
                assert!(offset_of!($type, $field) == $at);
                assert!(end == $at);
                end += $len;
            )+
            assert!(end == $size);
        };

        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "aya marks plain old data by an unsafe trait")]
        // SAFETY: `repr(C)`, integers and arrays of them only, and the asserts above show that
        // there is no padding.
        unsafe impl aya::Pod for $type {}
    };
}

layout!(IpKey, size 16, align 4, { octets: 0 + 16 });
layout!(FrontendKey, size 20, align 4, { addr: 0 + 16, port: 16 + 2, proto: 18 + 1, pad: 19 + 1 });
layout!(Frontend, size 4, align 4, { service: 0 + 4 });
layout!(ServiceHead, size 28, align 4, {
    slot_base: 0 + 4, slot_count: 4 + 4, generation: 8 + 4, algorithm: 12 + 4, flags: 16 + 4,
    refuse_errno: 20 + 4, affinity_ms: 24 + 4,
});
layout!(Thresholds, size 24, align 4, {
    max_connections: 0 + 4, max_pending: 4 + 4, max_failures: 8 + 4, trials: 12 + 4,
    window_ms: 16 + 4, reset_ms: 20 + 4,
});
layout!(OutlierPolicy, size 16, align 4, {
    consecutive_failures: 0 + 4, base_ms: 4 + 4, max_ms: 8 + 4, max_ejected: 12 + 4,
});
layout!(TimeoutPolicy, size 16, align 4, {
    connect_ms: 0 + 4, syn_rto_jiffies: 4 + 4, syn_retries: 8 + 4, idle_ms: 12 + 4,
});
layout!(Policy, size 128, align 4, {
    service: 0 + 24, backend: 24 + 24, outlier: 48 + 16, timeouts: 64 + 16, pad: 80 + 48,
});
layout!(Slot, size 16, align 4, { service: 0 + 4, backend: 4 + 4, alias: 8 + 4, threshold: 12 + 4 });
layout!(Backend, size 28, align 4, {
    addr: 0 + 16, port: 16 + 2, flags: 18 + 2, service: 20 + 4, generation: 24 + 4,
});
layout!(ConnGroup, size 32, align 8, { cookies: 0 + 32 });
layout!(ConnRecord, size 64, align 8, {
    frontend_addr: 0 + 16, backend_addr: 16 + 16, frontend_port: 32 + 2, backend_port: 34 + 2,
    service: 36 + 4, backend: 40 + 4, generation: 44 + 4, stage: 48 + 2, flags: 50 + 2,
    received_mark: 52 + 4, started_ns: 56 + 8,
});
layout!(ConnsState, size 8, align 8, { overflowed: 0 + 8 });
layout!(Flow, size 56, align 4, {
    frontend_addr: 0 + 16, backend_addr: 16 + 16, frontend_port: 32 + 2, backend_port: 34 + 2,
    cgroup_low: 36 + 4, backend: 40 + 4, generation: 44 + 4, used: 48 + 4,
    flags: 52 + 2, cgroup_high: 54 + 2,
});
layout!(Flows, size 904, align 4, { clock: 0 + 4, lock: 4 + 4, flows: 8 + 896 });
layout!(AffinityKey, size 16, align 8, { client: 0 + 8, service: 8 + 4, pad: 12 + 4 });
layout!(Affinity, size 16, align 8, { backend: 0 + 4, generation: 4 + 4, used_ns: 8 + 8 });
layout!(CgroupKey, size 8, align 8, { id: 0 + 8 });
layout!(NetnsKey, size 8, align 8, { cookie: 0 + 8 });
layout!(Verdict, size 4, align 4, { code: 0 + 4 });
layout!(ServiceState, size 8, align 8, { cursor: 0 + 8 });
layout!(BackendState, size 8, align 8, { active: 0 + 8 });
layout!(ServiceGuard, size 64, align 8, {
    load: 0 + 8, breaker: 8 + 8, ejected: 16 + 8, refused_open: 24 + 8,
    refused_connections: 32 + 8, refused_pending: 40 + 8, refused_backends: 48 + 8, pad: 56 + 8,
});
layout!(BackendGuard, size 64, align 8, {
    load: 0 + 8, breaker: 8 + 8, outlier: 16 + 8, skipped: 24 + 8, good: 32 + 8, bad: 40 + 8,
    pad: 48 + 16,
});
layout!(Transition, size 40, align 8, {
    kind: 0 + 4, service: 4 + 4, backend: 8 + 4, generation: 12 + 4, time_ns: 16 + 8,
    before: 24 + 8, after: 32 + 8,
});
layout!(BackendCounters, size 64, align 8, {
    attempts: 0 + 8, opened: 8 + 8, failed: 16 + 8, closed: 24 + 8, bytes_sent: 32 + 8,
    bytes_received: 40 + 8, retransmits: 48 + 8, rtt_us: 56 + 8,
});
layout!(ServiceCounters, size 16, align 8, { refused: 0 + 8, passed: 8 + 8 });
layout!(ReasonCount, size 8, align 8, { count: 0 + 8 });
layout!(Event, size 128, align 8, {
    kind: 0 + 4, service: 4 + 4, backend: 8 + 4, generation: 12 + 4, time_ns: 16 + 8,
    duration_ns: 24 + 8, bytes_sent: 32 + 8, bytes_received: 40 + 8, client_addr: 48 + 16,
    frontend_addr: 64 + 16, backend_addr: 80 + 16, client_port: 96 + 2, frontend_port: 98 + 2,
    backend_port: 100 + 2, paths: 102 + 2, retransmits: 104 + 4, srtt_us: 108 + 4,
    cgroup: 112 + 8, cause: 120 + 4, protocol: 124 + 4,
});
layout!(PairId, size 8, align 8, { number: 0 + 8 });
layout!(PairKey, size 56, align 8, {
    client_addr: 0 + 16, server_addr: 16 + 16, client_port: 32 + 2, server_port: 34 + 2,
    client_seq: 36 + 4, server_seq: 40 + 4, pad: 44 + 4, netns: 48 + 8,
});
layout!(Pairing, size 16, align 8, { id: 0 + 8, place: 8 + 4, pad: 12 + 4 });
layout!(SocketKey, size 16, align 8, { id: 0 + 8, end: 8 + 4, pad: 12 + 4 });
layout!(Alarm, size 24, align 4, {
    state: 0 + 4, idle: 4 + 4, interval: 8 + 4, count: 12 + 4, closing: 16 + 4, pad: 20 + 4,
});
layout!(Accelerated, size 40, align 8, { id: 0 + 8, place: 8 + 4, end: 12 + 4, alarm: 16 + 24 });
layout!(AutoKey, size 16, align 8, { cgroup: 0 + 8, service: 8 + 4, pad: 12 + 4 });
layout!(Direction, size 16, align 8, { bytes: 0 + 8, messages: 8 + 4, messages_taken: 12 + 4 });
layout!(Pair, size 88, align 8, {
    id: 0 + 8, sent_path: 8 + 4, received_path: 12 + 4, client_at: 16 + 8, server_at: 24 + 8,
    sent: 32 + 16, received: 48 + 16, sent_done: 64 + 8, received_done: 72 + 8, cgroup: 80 + 8,
});
layout!(SocketLayout, size 48, align 8, {
    zero_copy: 0 + 8, waiting_at: 8 + 4, flags_at: 12 + 4, ulp_at: 16 + 4, user_data_at: 20 + 4,
    users_at: 24 + 4, links_at: 28 + 4, queue_at: 32 + 4, socket_at: 36 + 4,
    file_at: 40 + 4, file_flags_at: 44 + 4,
});
layout!(Tunables, size 24, align 8, {
    abi_version: 0 + 4, flags: 4 + 4, revision: 8 + 8, commit: 16 + 8,
});
layout!(EdgeKey, size 16, align 8, { cgroup: 0 + 8, backend: 8 + 4, generation: 12 + 4 });
layout!(EdgeCounters, size 88, align 8, {
    opened: 0 + 8, closed: 8 + 8, failed: 16 + 32, bytes_sent: 48 + 8, bytes_received: 56 + 8,
    retransmits: 64 + 8, rtt_us: 72 + 8, duration_us: 80 + 8,
});
layout!(RefusalKey, size 16, align 8, { cgroup: 0 + 8, service: 8 + 4, pad: 12 + 4 });
layout!(RefusalCounters, size 80, align 8, { refused: 0 + 80 });
layout!(EndpointId, size 8, align 8, { number: 0 + 8 });
layout!(ClientId, size 8, align 8, { number: 0 + 8 });
layout!(InboundKey, size 16, align 8, { endpoint: 0 + 8, client: 8 + 8 });
layout!(Accepted, size 48, align 8, {
    key: 0 + 16, started_ns: 16 + 8, sent: 24 + 8, received: 32 + 8, received_mark: 40 + 4, pad: 44 + 4,
});
