//! Where this kernel keeps what the programs look at in sockets: `struct tcp_sock`, and what a socket
//! in a map has beside it (`struct sk_psock`).
//!
//! # Minimum kernel version
//!
//! 5.4 (`/sys/kernel/btf/vmlinux`).

use std::fs;

use mesh_common::accel::SocketLayout;

use super::btf::Btf;

const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// What this kernel says. None where it does not say, or says something that the program cannot use.
pub(super) fn read() -> Option<SocketLayout> {
    find(&Btf::parse(&fs::read(KERNEL).ok()?)?)
}

/// Where `sk_err` is in this kernel's `struct tcp_sock`; 0 where the kernel does not say.
pub(super) fn error_at() -> u32 {
    let read = || error(&Btf::parse(&fs::read(KERNEL).ok()?)?);
    read().unwrap_or(0)
}

fn error(btf: &Btf<'_>) -> Option<u32> {
    let found = btf.field("tcp_sock", &["inet_conn", "icsk_inet", "sk", "sk_err"])?;
    (found.size == 4 && found.offset % 4 == 0 && !found.pointer).then_some(found.offset)
}

/// Every way begins at `tcp_sock`, so that nothing is assumed about what it begins with.
fn find(btf: &Btf<'_>) -> Option<SocketLayout> {
    const SOCKET: [&str; 3] = ["inet_conn", "icsk_inet", "sk"];
    let field = |whose: &str, path: &[&str], size, pointer| {
        let found = btf.field(whose, path)?;
        // The programs read so many bytes, at their natural place.
        let fits = found.size == size && found.offset % size == 0 && found.pointer == pointer;
        fits.then_some(found.offset)
    };
    let tcp = |path: &[&str], size, pointer| field("tcp_sock", path, size, pointer);
    let [connection, inet, socket] = SOCKET;
    let bit = u32::try_from(btf.value("sock_flags", "SOCK_ZEROCOPY")?).ok()?;
    Some(SocketLayout {
        zero_copy: 1u64.checked_shl(bit)?,
        waiting_at: tcp(&[connection, inet, socket, "sk_backlog", "rmem_alloc"], 4, false)?,
        flags_at: tcp(&[connection, inet, socket, "__sk_common", "skc_flags"], 8, false)?,
        ulp_at: tcp(&[connection, "icsk_ulp_ops"], 8, true)?,
        user_data_at: tcp(&[connection, inet, socket, "sk_user_data"], 8, true)?,
        users_at: field("sk_psock", &["refcnt", "refs", "counter"], 4, false)?,
        links_at: field("sk_psock", &["link", "next"], 8, true)?,
        queue_at: field("sk_psock", &["ingress_msg", "next"], 8, true)?,
        socket_at: tcp(&[connection, inet, socket, "sk_socket"], 8, true)?,
        file_at: field("socket", &["file"], 8, true)?,
        file_flags_at: field("file", &["f_flags"], 4, false)?,
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
        let pointers = [("sk_user_data", pointer, 256), ("sk_socket", pointer, 320)];
        let [data, file] = pointers;
        let sock = [("__sk_common", common, 0), ("sk_backlog", backlog, 128), data, file];
        let sock = writer.structure("sock", false, 48, &sock);
        let common_part = writer.structure("inet_sock", false, 48, &[("sk", sock, 0)]);
        let members = [("icsk_inet", common_part, 0), ("icsk_ulp_ops", pointer, 384)];
        let connection = writer.structure("inet_connection_sock", false, 56, &members);
        writer.structure("tcp_sock", false, 64, &[("inet_conn", connection, 0)]);
        let count = writer.structure("refcount_struct", false, 4, &[("refs", atomic, 0)]);
        let links = [("next", pointer, 0), ("prev", pointer, 64)];
        let list = writer.structure("list_head", false, 16, &links);
        let members = [("refcnt", count, 0), ("ingress_msg", list, 64), ("link", list, 192)];
        writer.structure("sk_psock", false, 40, &members);
        writer.structure("socket", false, 16, &[("state", int, 0), ("file", pointer, 64)]);
        writer.structure("file", false, 8, &[("f_mode", int, 0), ("f_flags", int, 32)]);
        writer.enumeration("sock_flags", &[("SOCK_DEAD", 0), ("SOCK_ZEROCOPY", 18)]);
        writer.bytes()
    }

    fn found(bytes: &[u8]) -> Option<SocketLayout> {
        find(&Btf::parse(bytes).unwrap())
    }

    #[test]
    fn a_layout_is_read_from_what_the_kernel_says() {
        let expected = SocketLayout {
            zero_copy: 1 << 18,
            waiting_at: 20,
            flags_at: 8,
            ulp_at: 48,
            user_data_at: 32,
            users_at: 0,
            links_at: 24,
            queue_at: 8,
            socket_at: 40,
            file_at: 8,
            file_flags_at: 4,
        };
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
        for offset in [layout.waiting_at, layout.flags_at, layout.ulp_at, layout.user_data_at] {
            assert!((1..8_192).contains(&offset), "{layout:?}");
        }
        assert!(layout.zero_copy.is_power_of_two());
        assert!(layout.waiting_at < layout.ulp_at, "{layout:?}");
        assert!((1..8_192).contains(&error_at()));
    }
}
