//! Addresses: which ones a service or an endpoint can have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::violation::Fields;

/// The address of one host, IPv4-mapped ones as IPv4.
pub(super) fn host(fields: &mut Fields, field: &str, text: &str) -> Option<IpAddr> {
    let address = match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical(),
        Err(_) if text.is_empty() => {
            fields.invalid(field, "required: an IPv4 or IPv6 address");
            return None;
        }
        Err(_) => {
            fields.invalid(field, format!("{:?} is not an IP address", super::shorten(text)));
            return None;
        }
    };
    if let Some(problem) = problem(address) {
        fields.invalid(field, format!("{address} {problem}"));
        return None;
    }
    Some(address)
}

/// A virtual address. On the loopback it would take the connections that every node makes to
/// itself, the mesh's own among them.
pub(super) fn virtual_address(fields: &mut Fields, field: &str, text: &str) -> Option<IpAddr> {
    let address = host(fields, field, text)?;
    if address.is_loopback() {
        let message = format!("{address} is the loopback of every node: use another address");
        fields.invalid(field, message);
        return None;
    }
    if is_agents_own(address) {
        let message = format!("{address} is kept for the agents' own checks: use another address");
        fields.invalid(field, message);
        return None;
    }
    Some(address)
}

/// Where agents prove that their programs run: the IPv4 dummy address (RFC 7600) and the discard
/// prefix `100::/64` (RFC 6666), neither of which leads anywhere. The agents have them in
/// `mesh_common::canary`, which this crate does not know; a test of theirs compares.
fn is_agents_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == Ipv4Addr::new(192, 0, 0, 8),
        IpAddr::V6(address) => address.segments().iter().take(4).eq(&[0x100, 0, 0, 0]),
    }
}

const fn problem(address: IpAddr) -> Option<&'static str> {
    let broadcast = matches!(address, IpAddr::V4(Ipv4Addr::BROADCAST));
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Some("is not the address of one host");
    }
    match address {
        // fe80::/10 (RFC 4291 §2.5.6).
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some("means something only together with an interface: use another address")
        }
        IpAddr::V6(address) if is_v4_compatible(address) => {
            Some("is an IPv4-compatible address, which nothing routes (RFC 4291): use IPv4")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// `::/96` without `::` and `::1` (RFC 4291 §2.5.5.1).
const fn is_v4_compatible(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0, 0, 0, 0, 0, 0, _, _]) && !address.is_loopback()
}
