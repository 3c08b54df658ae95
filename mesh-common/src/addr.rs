//! Addresses and ports as map keys hold them; the only byte-order conversions.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::layout;

/// An IP address: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IpKey {
    /// The bytes, network order.
    pub octets: [u8; 16],
}

/// The IPv4-mapped prefix, one word in memory order.
const MAPPED_WORD: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl IpKey {
    /// From `bpf_sock_addr.user_ip4` or `bpf_sock_ops.remote_ip4`: a word whose bytes in memory
    /// are in network order.
    #[must_use]
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self::from_words([0, 0, MAPPED_WORD, word])
    }

    /// For `bpf_sock_addr.user_ip4`: the last four bytes as a word in memory order.
    #[must_use]
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        let [_, _, _, word] = self.words();
        word
    }

    /// Four words in memory order. Through bytes, the BPF backend would emit a store each.
    #[inline(always)]
    const fn from_words(words: [u32; 4]) -> Self {
        Self { octets: layout::octets(words) }
    }

    /// Four words in memory order.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        layout::words(self.octets)
    }

    /// Equality by words, for the same reason.
    #[must_use]
    #[inline(always)]
    pub const fn is(&self, other: &Self) -> bool {
        let [first, second, third, fourth] = self.words();
        let [others_first, others_second, others_third, others_fourth] = other.words();
        first == others_first
            && second == others_second
            && third == others_third
            && fourth == others_fourth
    }

    /// From four words in memory order, such as `bpf_sock_addr.user_ip6`; sockets that reach
    /// IPv4 through IPv6 have the mapped form there already.
    #[must_use]
    #[inline(always)]
    pub const fn from_v6_words(words: [u32; 4]) -> Self {
        Self::from_words(words)
    }

    /// From an address of user space.
    #[must_use]
    pub const fn from_v4(address: Ipv4Addr) -> Self {
        Self { octets: address.to_ipv6_mapped().octets() }
    }

    /// From an address of user space; an IPv4-mapped one is the same as its IPv4 address.
    #[must_use]
    pub const fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::from_v4(address),
            IpAddr::V6(address) => Self { octets: address.octets() },
        }
    }

    /// Whether it is an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let [first, second, third, _] = self.words();
        first == 0 && second == 0 && third == MAPPED_WORD
    }

    /// Whether it means the machine itself, and so something else in each network namespace: `::1`
    /// or `127.0.0.0/8`.
    #[must_use]
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        let [first, second, third, fourth] = self.words();
        let mapped = third == MAPPED_WORD && fourth.to_ne_bytes()[0] == 127;
        first == 0 && second == 0 && (mapped || third == 0 && fourth == 1u32.to_be())
    }

    /// To an address of user space; mapped ones come back as IPv4.
    #[must_use]
    pub fn to_ip(&self) -> IpAddr {
        Ipv6Addr::from(self.octets).to_canonical()
    }
}

/// From `bpf_sock_addr.user_port`: network order in the low 16 bits.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the kernel stores a port in these 32 bits")]
pub const fn port_from_user_port(user_port: u32) -> u16 {
    u16::from_be(user_port as u16)
}

/// For `bpf_sock_addr.user_port`.
#[must_use]
#[inline(always)]
pub const fn user_port(port: u16) -> u32 {
    port.to_be() as u32
}

/// From `bpf_sock_ops.remote_port`: network order in the *high* half on little-endian machines
/// (`net/core/filter.c`, `sock_ops_convert_ctx_access`), unlike `user_port`.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the kernel stores a port in these 32 bits")]
pub const fn port_from_remote_port(remote_port: u32) -> u16 {
    u32::from_be(remote_port) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_words_and_user_addresses_agree() {
        let address = Ipv4Addr::new(10, 1, 2, 3);
        let word = u32::from_ne_bytes(address.octets());
        assert_eq!(IpKey::from_v4_word(word), IpKey::from_v4(address));
        assert_eq!(IpKey::from_v4(address).v4_word(), word);
        assert_eq!(IpKey::from_v4(address).to_ip(), IpAddr::V4(address));
    }

    #[test]
    fn loopback_is_what_the_standard_library_says() {
        for (text, loopback) in [
            ("127.0.0.1", true),
            ("127.9.8.7", true),
            ("::1", true),
            ("128.0.0.1", false),
            ("10.0.0.127", false),
            ("::2", false),
            ("::", false),
            ("fd00::1", false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpKey::from_ip(address).is_loopback(), loopback, "{text}");
            assert_eq!(address.is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn ports_survive_the_round_trip() {
        for port in [1, 80, 255, 256, 8080, 65535] {
            assert_eq!(port_from_user_port(user_port(port)), port);
        }
        assert_eq!(port_from_remote_port(u32::from_ne_bytes([0, 0, 0x1f, 0x90])), 8080);
    }
}
