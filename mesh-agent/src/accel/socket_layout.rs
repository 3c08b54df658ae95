//! Where this kernel's `struct tcp_sock` keeps what the program for messages looks at.
//!
//! # Minimum kernel version
//!
//! 5.4 (`/sys/kernel/btf/vmlinux`).

use std::fs;

use mesh_common::accel::SocketLayout;

use super::btf::{Btf, Field};

const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// What this kernel says. None where it does not say, or says something that the program cannot use.
pub(super) fn read() -> Option<SocketLayout> {
    find(&Btf::parse(&fs::read(KERNEL).ok()?)?)
}

/// Every way begins at `tcp_sock`, so that nothing is assumed about what it begins with.
fn find(btf: &Btf<'_>) -> Option<SocketLayout> {
    const SOCKET: [&str; 3] = ["inet_conn", "icsk_inet", "sk"];
    let field = |path: &[&str], size, pointer| {
        let found = btf.field("tcp_sock", path)?;
        // The program reads so many bytes, at their natural place.
        let fits = found.size == size && found.offset % size == 0 && found.pointer == pointer;
        fits.then_some(found)
    };
    let [connection, inet, socket] = SOCKET;
    let waiting = field(&[connection, inet, socket, "sk_backlog", "rmem_alloc"], 4, false)?;
    let flags = field(&[connection, inet, socket, "__sk_common", "skc_flags"], 8, false)?;
    let ulp = field(&[connection, "icsk_ulp_ops"], 8, true)?;
    let bit = u32::try_from(btf.value("sock_flags", "SOCK_ZEROCOPY")?).ok()?;
    let offset = |field: Field| field.offset;
    Some(SocketLayout {
        waiting_at: offset(waiting),
        flags_at: offset(flags),
        zero_copy: 1u64.checked_shl(bit)?,
        ulp_at: offset(ulp),
        pad: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::btf::tests::Writer;
    use super::*;

    /// A kernel in small; `flags` is the size of `skc_flags`.
    fn kernel(flags: u32, member: &str) -> Vec<u8> {
        let mut writer = Writer::new();
        let (int, long, pointer) = (writer.int(4), writer.int(flags), writer.pointer());
        let atomic = writer.structure("", false, 4, &[("counter", int, 0)]);
        let either = writer.union(8, &[("skc_flags", long, 0), ("skc_listener", pointer, 0)]);
        let common =
            writer.structure("sock_common", false, 16, &[("x", pointer, 0), ("", either, 64)]);
        let backlog =
            writer.structure("", false, 16, &[(member, atomic, 32), ("head", pointer, 64)]);
        let sock = [("__sk_common", common, 0), ("sk_backlog", backlog, 128)];
        let sock = writer.structure("sock", false, 32, &sock);
        let common_part = writer.structure("inet_sock", false, 32, &[("sk", sock, 0)]);
        let members = [("icsk_inet", common_part, 0), ("icsk_ulp_ops", pointer, 256)];
        let connection = writer.structure("inet_connection_sock", false, 40, &members);
        writer.structure("tcp_sock", false, 48, &[("inet_conn", connection, 0)]);
        writer.enumeration("sock_flags", &[("SOCK_DEAD", 0), ("SOCK_ZEROCOPY", 18)]);
        writer.bytes()
    }

    fn found(bytes: &[u8]) -> Option<SocketLayout> {
        find(&Btf::parse(bytes).unwrap())
    }

    #[test]
    fn a_layout_is_read_from_what_the_kernel_says() {
        let expected =
            SocketLayout { waiting_at: 20, flags_at: 8, zero_copy: 1 << 18, ulp_at: 32, pad: 0 };
        assert_eq!(found(&kernel(8, "rmem_alloc")), Some(expected));
    }

    #[test]
    fn what_is_elsewhere_or_of_another_size_is_unknown() {
        assert_eq!(found(&kernel(4, "rmem_alloc")), None);
        assert_eq!(found(&kernel(8, "rmem")), None);
    }

    #[test]
    fn this_kernel_has_a_layout_that_makes_sense() {
        let layout = read().unwrap();
        for offset in [layout.waiting_at, layout.flags_at, layout.ulp_at] {
            assert!((1..8_192).contains(&offset), "{layout:?}");
        }
        assert!(layout.zero_copy.is_power_of_two());
        assert!(layout.waiting_at < layout.ulp_at, "{layout:?}");
    }
}
