//! Timeouts: what a socket is told before its SYN, and when it is established. An application's
//! own `TCP_USER_TIMEOUT` is left as it is.

use mesh_common::conn::{ConnFlags, ConnRecord};
use mesh_common::policy::TimeoutPolicy;

use crate::ctx::{self, Options, SockOps};
use crate::guard;

/// Seconds of idle time that keep-alive starts at, as a part of the whole; the probes take the
/// rest.
const PROBES: u32 = 3;

/// Before the SYN. Returns the `TCP_USER_TIMEOUT` that was set, 0 for none.
#[inline(always)]
pub(crate) fn begin(socket: &impl Options, policy: &TimeoutPolicy) -> u32 {
    let TimeoutPolicy { connect_ms, syn_rto_jiffies: _, syn_retries, idle_ms } = *policy;
    if syn_retries != 0 {
        socket.set_syn_retries(syn_retries);
    }
    if idle_ms != 0 && !socket.keeps_alive() {
        let idle = idle_ms / 1_000;
        let first = if idle > 1 { idle / 2 } else { 1 };
        let rest = (idle - first) / PROBES;
        socket.keep_alive(first, if rest > 0 { rest } else { 1 }, PROBES);
    }
    let wanted = if connect_ms != 0 { connect_ms } else { idle_ms };
    if wanted == 0 {
        return 0;
    }
    // A timeout that cannot be read could not be lifted when the connection is established. What
    // an earlier connect of this socket was given is ours as well.
    let Some(present) = socket.user_timeout() else { return 0 };
    if present != 0 && present != connect_ms && present != idle_ms {
        return 0;
    }
    if socket.set_user_timeout(wanted) { wanted } else { 0 }
}

/// Established: from here on, the timeout is the one for idle connections.
#[inline(always)]
pub(crate) fn established(socket: &SockOps, record: &ConnRecord) {
    if !record.flags.contains(ConnFlags::TIMED) || record.received_mark == 0 {
        return;
    }
    let Some(policy) = guard::policy(record.service) else { return };
    // Unless the application has set another in the meantime.
    if socket.user_timeout() == Some(record.received_mark) {
        socket.set_user_timeout(ctx::load(&policy.timeouts.idle_ms));
    }
}
