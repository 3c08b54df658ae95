//! Programs of another owner at `connect4`: they refuse every connection, or send those to one
//! address somewhere else. Attached by `bpftool`, as any other software would.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::bpftool;
use crate::cleanup::{self, Guard};
use crate::require::BPFFS;
use crate::scratch::unique;
use crate::sys_bpf;

/// What the program does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Every connection fails with `EPERM`.
    Refuse,
    /// Connections to the first go to the second.
    Rewrite(Ipv4Addr, SocketAddrV4),
}

/// A loaded and pinned program; gone when dropped, and detached with it.
#[derive(Debug)]
pub struct Foreign {
    pin: PathBuf,
    _guard: Guard,
}

/// Offsets in `struct bpf_sock_addr`.
const USER_IP4: i16 = 4;
const USER_PORT: i16 = 24;

/// One instruction: opcode, destination and source register, offset, immediate.
const fn op(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = value.to_le_bytes();
    u64::from_le_bytes([code, (from << 4) | to, low, high, a, b, c, d])
}

/// `r = value`.
const fn set(register: u8, value: u32) -> u64 {
    op(0xb4, register, 0, 0, value)
}

/// Four bytes at the context plus offset = r.
const fn store(register: u8, offset: i16) -> u64 {
    op(0x63, 1, register, offset, 0)
}

const EXIT: u64 = op(0x95, 0, 0, 0, 0);

fn instructions(act: Act) -> Vec<u64> {
    match act {
        Act::Refuse => vec![set(0, 0), EXIT],
        Act::Rewrite(from, to) => {
            let word = |ip: &Ipv4Addr| u32::from_le_bytes(ip.octets());
            vec![
                op(0x61, 2, 1, USER_IP4, 0),
                // Unless it is that address, skip the four that write.
                op(0x56, 2, 0, 4, word(&from)),
                set(2, word(to.ip())),
                store(2, USER_IP4),
                set(2, u32::from(to.port().to_be())),
                store(2, USER_PORT),
                set(0, 1),
                EXIT,
            ]
        }
    }
}

impl Foreign {
    /// Loads a program under a name of at most 15 bytes.
    pub fn load(name: &str, act: Act) -> anyhow::Result<Self> {
        let pin = Path::new(BPFFS).join(unique(name));
        let undo = pin.clone();
        let guard = cleanup::on_exit(move || drop(fs::remove_file(undo)));
        sys_bpf::load_connect4(name, &instructions(act), &pin)
            .with_context(|| format!("loading the program {name}"))?;
        Ok(Self { pin, _guard: guard })
    }

    /// Attaches it to a cgroup, with `multi`, `override` or no flag. It goes with the cgroup, or
    /// by [`Self::detach`].
    pub fn attach(&self, cgroup: &Path, flags: &[&str]) -> anyhow::Result<()> {
        self.bpftool("attach", cgroup, flags)
    }

    /// Detaches it.
    pub fn detach(&self, cgroup: &Path) -> anyhow::Result<()> {
        self.bpftool("detach", cgroup, &[])
    }

    fn bpftool(&self, verb: &str, cgroup: &Path, flags: &[&str]) -> anyhow::Result<()> {
        let (cgroup, pin) = (cgroup.to_string_lossy(), self.pin.to_string_lossy());
        let words = ["cgroup", verb, &cgroup, "cgroup_inet4_connect", "pinned", &pin];
        bpftool::call(&[&words, flags].concat())?;
        Ok(())
    }
}
