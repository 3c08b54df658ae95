//! What `connect()` does with the state it looked up.
//!
//! ```text
//! frontends[vip:port] ─► services[i] ─► place(head, random) ─► slots[base + n]
//!                                                                  │ choose(slot, i, fraction)
//!                                                                  ▼
//!                                              backends[b] ─► belongs(backend, i)
//! ```

use crate::affinity::Affinity;
use crate::backend::{Backend, BackendIndex};
use crate::reason::Reason;
use crate::service::{ServiceFlags, ServiceHead, ServiceIndex};
use crate::slot::Slot;

/// How often a torn head or slot is read again before giving up. One retry is enough unless the
/// agent rewrites the same service between every two reads.
pub const MAX_TRIES: u32 = 4;

/// How many slots of a guarded service are asked at a `connect()`: first as its algorithm says, then
/// one after the other. Where the table has one slot for each backend, that is all of up to 32.
pub const MAX_PICKS: u32 = 35;

/// A place in the service's table, and the fraction that decides between its two backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into `slots`.
    pub slot: u32,
    /// In units of 2^-32.
    pub fraction: u32,
}

/// Turns one random number into a place: the high half of `random * slot_count` is the slot, the
/// low half is uniform within it. `None` where the service has no backend.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves of a 64-bit product are meant")]
pub const fn place(head: &ServiceHead, random: u32) -> Option<Place> {
    if head.slot_count == 0 {
        return None;
    }
    let product = random as u64 * head.slot_count as u64;
    let slot = head.slot_base.wrapping_add((product >> 32) as u32);
    Some(Place { slot, fraction: product as u32 })
}

/// The place whose turn it is: connections walk over the table one after the other. `None` where
/// the service has no backend.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a remainder of a 32-bit divisor")]
pub const fn turn(head: &ServiceHead, cursor: u64) -> Option<Place> {
    if head.slot_count == 0 {
        return None;
    }
    let slot = head.slot_base.wrapping_add((cursor % head.slot_count as u64) as u32);
    Some(Place { slot, fraction: 0 })
}

/// A client's place in a Maglev table. `None` where the service has no backend.
#[must_use]
#[inline(always)]
pub const fn hashed(head: &ServiceHead, client: u64) -> Option<Place> {
    turn(head, mix(client))
}

/// Spreads keys that differ in few bits, such as consecutive cookies, over all 64 bits: the
/// finalizer of `SplitMix64` (Steele, Lea, Flood 2014).
#[must_use]
#[inline(always)]
pub const fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// Whether the backend that served a client last takes its next connection: it is the same one
/// still, takes new connections, and the last one was not too long ago.
#[must_use]
#[inline(always)]
pub const fn sticks(
    affinity: &Affinity,
    backend: &Backend,
    service: ServiceIndex,
    affinity_ms: u32,
    now_ns: u64,
) -> bool {
    belongs(backend, service)
        && backend.generation == affinity.generation
        && backend.flags.takes_new()
        && now_ns.wrapping_sub(affinity.used_ns) < affinity_ms as u64 * 1_000_000
}

/// The slot's backend, or `None` where the slot is not the service's: a torn read.
#[must_use]
#[inline(always)]
pub const fn choose(slot: &Slot, service: ServiceIndex, fraction: u32) -> Option<BackendIndex> {
    if slot.service.index != service.index {
        return None;
    }
    let chosen = if fraction < slot.threshold { slot.backend } else { slot.alias };
    if chosen.index == BackendIndex::NONE.index { None } else { Some(chosen) }
}

/// Whether the backend is the service's; the alternative is a torn read.
#[must_use]
#[inline(always)]
pub const fn belongs(backend: &Backend, service: ServiceIndex) -> bool {
    backend.service.index == service.index && backend.port != 0
}

/// What a connection meets when no backend can take it.
#[must_use]
#[inline(always)]
pub const fn without_backend(head: &ServiceHead) -> Reason {
    if head.flags.contains(ServiceFlags::PASS_THROUGH) {
        Reason::NO_BACKEND_PASSED
    } else if head.flags.contains(ServiceFlags::OTHER_FAMILY) {
        Reason::OTHER_FAMILY
    } else {
        Reason::NO_BACKEND_REFUSED
    }
}
