//! Frontends: what applications connect to. The first lookup of every `connect()`.

use crate::addr::IpKey;
use crate::service::ServiceIndex;

/// Key of the `frontends` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    /// Virtual address.
    pub addr: IpKey,
    /// Port, host order.
    pub port: u16,
    /// IANA protocol number: 6 TCP, 17 UDP.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}

impl FrontendKey {
    /// A key; the padding is always zero.
    #[must_use]
    #[inline(always)]
    pub const fn new(addr: IpKey, port: u16, proto: u8) -> Self {
        Self { addr, port, proto, pad: 0 }
    }
}

/// Value of the `frontends` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Index into `services`; never [`ServiceIndex::NONE`].
    pub service: ServiceIndex,
}
