//! `getpeername()`: an application that connected to a service sees the service's address.

use crate::ctx::SockAddr;
use crate::records;

#[inline(always)]
pub(crate) fn getpeername<const V6: bool>(ctx: &SockAddr<V6>) {
    let Some(record) = records::find(ctx.owner(), ctx.cookie()) else { return };
    if record.describes(&ctx.addr(), ctx.port()) {
        ctx.set_peer(&record.frontend_addr, record.frontend_port);
    }
}
