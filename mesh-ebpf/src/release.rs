//! The end of what no TCP state change ends: datagram sockets, and connects that failed before
//! their SYN.

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnFlags, ConnRecord, Stage};
use mesh_common::flow::{FLOWS, Flow};
use mesh_common::logic::breaker::Outcome;

use crate::ctx::{self, Owner, Sock, TCP, UDP};
use crate::{edge, parts, records, telemetry};

/// `sock_release`: the last user has closed the socket.
#[inline(always)]
pub(crate) fn release(ctx: &Sock) {
    let protocol = ctx.protocol();
    if protocol == u32::from(UDP) {
        if let Some(flows) = ctx.owner().flows(false) {
            let mut at = 0;
            while at < FLOWS {
                if let Some(ended) = flows.flows.get_mut(at)
                    && ended.frontend_port != 0
                {
                    flow(ended);
                    ended.frontend_port = 0;
                }
                at += 1;
            }
        }
    } else if protocol != u32::from(TCP) {
        return;
    }
    let (owner, cookie) = (ctx.owner(), ctx.cookie());
    let Some(record) = records::find(owner, cookie) else { return };
    let stage = ctx::load(&record.stage);
    if stage == Stage::CONNECTING {
        // The state change that follows is the application's doing, not the backend's.
        ctx::set_flags(record, ConnFlags::ABANDONED);
        return;
    }
    let ends_here = stage == Stage::CHOSEN || stage == Stage::DATAGRAM;
    // Without the socket's lock, a state change may have given the place to another socket since.
    if ends_here && records::find(owner, cookie).is_some() && unfinished(record, cookie) {
        records::free(cookie);
    }
}

/// Ends what a socket has begun and no TCP state change will end, if there is anything.
#[inline(always)]
pub(crate) fn forget(owner: Owner, cookie: u64) {
    if records::find(owner, cookie).is_some_and(|record| unfinished(record, cookie)) {
        records::free(cookie);
    }
}

/// Counts the end of a datagram flow.
#[inline(always)]
pub(crate) fn flow(flow: &Flow) {
    if flow.backend == BackendIndex::NONE {
        return;
    }
    if let Some(counters) = telemetry::holder(flow.backend, flow.generation) {
        ctx::add(&mut counters.closed, 1);
        edge::flow_ended(flow);
        if flow.flags.contains(ConnFlags::ACTIVE) {
            telemetry::inactive(flow.backend);
        }
    }
}

/// Counts the end of a connection that sockops will not see end; false where it will, or has.
#[inline(always)]
pub(crate) fn unfinished(record: &mut ConnRecord, cookie: u64) -> bool {
    let datagram = record.stage == Stage::DATAGRAM;
    if !datagram && record.stage != Stage::CHOSEN {
        return false;
    }
    record.stage = Stage::DONE;
    parts::failed(record, Outcome::Unknown);
    if let Some(counters) = telemetry::holder(record.backend, record.generation) {
        ctx::add(if datagram { &mut counters.closed } else { &mut counters.failed }, 1);
        if record.flags.contains(ConnFlags::BY_CLIENT) {
            parts::disconnected(cookie);
        }
        if record.flags.contains(ConnFlags::ACTIVE) {
            telemetry::inactive(record.backend);
        }
    }
    true
}
