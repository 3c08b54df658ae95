//! Can kernel tests run on this machine? Asked before minutes are spent on building.

use std::process::Command;

use crate::{machine, process};

/// One line of what is missing and how to mend it.
pub(super) fn kernel() -> Result<(), String> {
    if !machine::is_root() {
        return Err(
            "they need root (sudo -E cargo xtask test); `cargo test` runs the others".into()
        );
    }
    if !machine::exists("/sys/kernel/btf/vmlinux") {
        return Err(
            "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF); use a distribution's kernel".into()
        );
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if !mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")) {
        return Err("cgroup v2 is not mounted; run: mount -t cgroup2 none /sys/fs/cgroup".into());
    }
    // Without bpftool nothing is known yet: setup installs it.
    if !machine::has_program("bpftool") {
        return Ok(());
    }
    process::read(Command::new("bpftool").args(["prog", "list"]))
        .map(drop)
        .map_err(|error| format!("bpf(2) is not permitted here: {error:#}"))
}
