//! Finds, gives out and takes back the record of a socket.
//!
//! A socket's record is changed by one program at a time: `connect()` and the state changes of one
//! socket run under its lock, and the release comes after its last user is gone.

use mesh_common::conn::{ConnRecord, WAYS};
use mesh_common::logic::table::{group, place};
use mesh_common::reason::Reason;

use crate::ctx::{self, Owner};
use crate::{maps, telemetry};

/// The place of a record that the table had no room for.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The socket's record, if it has one.
#[inline(always)]
pub(crate) fn find(owner: Owner, cookie: u64) -> Option<&'static mut ConnRecord> {
    find_anywhere(owner, cookie).map(|(record, _)| record)
}

/// The same, and its place in the table, or [`NOWHERE`].
#[inline(always)]
pub(crate) fn find_anywhere(owner: Owner, cookie: u64) -> Option<(&'static mut ConnRecord, u32)> {
    if let Some(found) = find_place(cookie) {
        return Some(found);
    }
    let overflowed = ctx::copy(maps::conns_state.get_ptr(0)).unwrap_or_default().overflowed;
    if overflowed == 0 { None } else { owner.overflow(false).map(|record| (record, NOWHERE)) }
}

/// The socket's record and where it is, if the table has it.
#[inline(always)]
pub(crate) fn find_place(cookie: u64) -> Option<(&'static mut ConnRecord, u32)> {
    let group = group(cookie);
    let owners = ctx::shared(maps::conns_index.get_ptr_mut(group))?;
    let mut way = 0;
    while way < WAYS {
        if ctx::load(owners.cookies.get(way)?) == cookie {
            let place = place(group, way);
            return ctx::shared(maps::conns.get_ptr_mut(place)).map(|record| (record, place));
        }
        way += 1;
    }
    None
}

/// The record to write for a socket, and whether it has one already; `None` where the kernel has
/// no memory for it.
#[inline(always)]
pub(crate) fn claim(owner: Owner, cookie: u64) -> Option<(&'static mut ConnRecord, bool)> {
    if let Some(record) = find(owner, cookie) {
        return Some((record, true));
    }
    let group = group(cookie);
    let owners = ctx::shared(maps::conns_index.get_ptr_mut(group))?;
    let mut way = 0;
    while way < WAYS {
        let place_of = owners.cookies.get_mut(way)?;
        if ctx::load(place_of) == 0 && ctx::claim(place_of, 0, cookie) {
            return Some((ctx::shared(maps::conns.get_ptr_mut(place(group, way)))?, false));
        }
        way += 1;
    }
    let record = owner.overflow(true)?;
    if let Some(state) = ctx::shared(maps::conns_state.get_ptr_mut(0)) {
        ctx::add(&mut state.overflowed, 1);
    }
    telemetry::trouble(Reason::CONNS_OVERFLOW);
    Some((record, false))
}

/// Gives a socket's record back to the table. In socket storage it stays until the socket goes.
#[inline(always)]
pub(crate) fn free(cookie: u64) {
    let Some(owners) = ctx::shared(maps::conns_index.get_ptr_mut(group(cookie))) else {
        return;
    };
    let mut way = 0;
    while way < WAYS {
        if let Some(place) = owners.cookies.get_mut(way)
            && ctx::load(place) == cookie
        {
            ctx::store(place, 0);
        }
        way += 1;
    }
}
