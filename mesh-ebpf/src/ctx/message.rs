//! `sk_msg`: what a socket sends.

use core::ptr;

use aya_ebpf::bindings::{BPF_F_INGRESS, sk_msg_md};
use aya_ebpf::programs::SkMsgContext;
use mesh_common::accel::SocketKey;

use super::Owner;
use crate::maps;

/// `SK_PASS` (`enum sk_action`).
const PASS: i64 = 1;

/// A message.
pub(crate) struct Message<'a> {
    ctx: &'a SkMsgContext,
    raw: *mut sk_msg_md,
}

impl<'a> Message<'a> {
    #[inline(always)]
    pub(crate) const fn new(ctx: &'a SkMsgContext) -> Self {
        Self { ctx, raw: ctx.msg }
    }

    /// Its length, bytes.
    #[inline(always)]
    pub(crate) fn size(&self) -> u32 {
        // SAFETY: the kernel passes a valid context for the whole run.
        unsafe { ptr::read_volatile(&raw const (*self.raw).size) }
    }

    /// The socket that sends.
    #[inline(always)]
    pub(crate) fn owner(&self) -> Owner {
        // SAFETY: as in `size`.
        Owner { raw: unsafe { ptr::read_volatile(&raw const (*self.raw).__bindgen_anon_3.sk) } }
    }

    /// Puts the message into the other socket's queue once the program has passed it; false where
    /// that socket is not there.
    #[inline(always)]
    pub(crate) fn redirect(&self, to: SocketKey) -> bool {
        maps::sockets.redirect_msg(self.ctx, to, u64::from(BPF_F_INGRESS)) == PASS
    }
}
