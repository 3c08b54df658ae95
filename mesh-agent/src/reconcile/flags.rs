//! The flags of a backend: whether it takes connections, and whether its endpoint is on this node.

use mesh_common::backend::BackendFlags;

use crate::world::Member;

/// The flags of a backend that takes new connections.
pub(crate) const fn serving(member: &Member) -> BackendFlags {
    with_place(BackendFlags { bits: 0 }, member)
}

/// The flags of a backend that does not, while its endpoint is there. One that has gone is nowhere:
/// [`removed`].
pub(crate) const fn draining(member: &Member) -> BackendFlags {
    with_place(BackendFlags::DRAINING, member)
}

/// The flags of a backend that has gone.
pub(super) const fn removed(before: BackendFlags) -> BackendFlags {
    BackendFlags { bits: BackendFlags::REMOVED.bits | (before.bits & BackendFlags::PROXY.bits) }
}

const fn with_place(flags: BackendFlags, member: &Member) -> BackendFlags {
    let place = if member.is_here() { BackendFlags::LOCAL.bits } else { 0 };
    let proxy = if member.is_proxy { BackendFlags::PROXY.bits } else { 0 };
    BackendFlags { bits: flags.bits | place | proxy }
}
