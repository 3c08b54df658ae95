//! `getpeername()`: an application that connected to a service sees the service's address.

use crate::ctx::SockAddr;

#[inline(always)]
pub(crate) fn getpeername4(ctx: &SockAddr) {
    let Some(record) = ctx.record() else { return };
    if record.describes(&ctx.addr4(), ctx.port()) {
        ctx.set_peer4(&record.frontend_addr, record.frontend_port);
    }
}
