//! The addresses at which the agent proves that the programs run: services of its own, in ranges
//! that no application can mean to reach.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Virtual address of the canary services over IPv4: the dummy address, which the IANA registry
/// of special-purpose addresses lists as no valid destination (RFC 7600).
pub const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// The same over IPv6: in the discard prefix, `100::/64` (RFC 6666).
pub const V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8);
/// Port of the services that have a backend, one over TCP and one over UDP.
pub const PORT: u16 = 1;
/// Port of the TCP service that has none.
pub const REFUSING_PORT: u16 = 2;
/// What its `connect()` returns: `ECANCELED`, which no route, firewall or peer answers with.
pub const REFUSAL: u32 = 125;

/// Services that the canary needs, beside what users may have; as many frontends.
pub const SERVICES: u32 = 6;
/// Backends that the canary needs, beside what users may have; as many slots.
pub const BACKENDS: u32 = 4;

/// Whether an address is kept for the canary, so that no service of a user may have it.
#[must_use]
pub fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == V4,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address == V4,
            None => address.segments().iter().take(4).eq(&[0x100, 0, 0, 0]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reserved_ranges_are_reserved() {
        for text in ["192.0.0.8", "::ffff:192.0.0.8", "100::", "100::8", "100::1:2:3:4"] {
            assert!(is_reserved(text.parse().unwrap()), "{text}");
        }
        for text in ["192.0.0.9", "10.0.0.1", "100:0:0:1::", "::1", "2001:db8::1"] {
            assert!(!is_reserved(text.parse().unwrap()), "{text}");
        }
        assert!(is_reserved(V4.into()) && is_reserved(V6.into()));
    }
}
