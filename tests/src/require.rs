//! Preconditions of everything that touches the kernel. A machine that cannot run a kernel
//! test fails it with one clear line: a skipped test would look like a passed one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context as _, bail};
use nix::unistd::Uid;

use crate::{cgroup, cleanup, scratch, sys, ui};

/// Where the BPF file system belongs.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Checks root, cgroup v2, BPF and the tools; arranges for a BPF file system and for cleanup
/// on Ctrl-C. Call it first, on the thread that will start the processes.
pub fn kernel() -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        bail!("needs root: it creates namespaces, cgroups and BPF programs (run it with sudo)");
    }
    cgroup::root()?;
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        bail!("needs a kernel with BPF and BTF: /sys/kernel/btf/vmlinux is missing");
    }
    for tool in ["ip", "bpftool"] {
        tool_exists(tool)?;
    }
    cleanup::catch_interrupts()?;
    sweep();
    bpffs()
}

fn tool_exists(tool: &str) -> anyhow::Result<()> {
    if crate::bins::in_path(tool).is_some() {
        return Ok(());
    }
    let package = if tool == "ip" { "iproute2" } else { tool };
    bail!("needs `{tool}`: apt-get install {package}")
}

/// Does this kernel speak IPv6? Some are started with `ipv6.disable=1`.
#[must_use]
pub fn ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// A program of the system that a test cannot do without.
pub fn program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    crate::bins::in_path(name)
        .with_context(|| format!("needs `{name}`: apt-get install {package} (cargo xtask setup)"))
}

/// Is a BPF file system mounted at its place, as this thread sees it?
pub fn bpffs_mounted() -> anyhow::Result<bool> {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").context("/proc is not mounted")?;
    Ok(mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    }))
}

/// Where the machine has none, this thread gets one that only its children see: the machine
/// stays as it is, and the kernel takes it back however we end.
fn bpffs() -> anyhow::Result<()> {
    static SAID: Once = Once::new();
    if bpffs_mounted()? {
        return Ok(());
    }
    sys::private_bpffs().context("mounting a private BPF file system at /sys/fs/bpf")?;
    SAID.call_once(|| {
        ui::note("/sys/fs/bpf is not mounted here: using a private one, seen only by this run");
    });
    Ok(())
}

/// Removes what runs that were killed outright have left behind.
fn sweep() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        crate::netns::sweep();
        cgroup::sweep();
        for parent in [Path::new(BPFFS), &std::env::temp_dir()] {
            for name in scratch::stale_in(parent) {
                drop(fs::remove_dir_all(parent.join(name)));
            }
        }
    });
}
