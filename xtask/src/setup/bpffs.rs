//! The BPF file system: without it nothing can be pinned.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::say;
use crate::{machine, process, ui};

const BPFFS: &str = "/sys/fs/bpf";

/// Mounts it where it is not mounted. Without root this is only said: building needs no bpffs.
pub(super) fn mount() -> Result<()> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    if is_mounted(&mounts) {
        say(format_args!("{BPFFS} is mounted"));
        return Ok(());
    }
    if !machine::is_root() {
        ui::warn(format_args!(
            "warning: {BPFFS} is not mounted; run: sudo mount -t bpf bpf {BPFFS}"
        ));
        return Ok(());
    }
    process::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))?;
    say(format_args!("mounted {BPFFS} (until the next boot)"));
    Ok(())
}

fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_place_and_kind() {
        assert!(is_mounted("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n"));
        assert!(!is_mounted("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!is_mounted("bpf /mnt/bpf bpf rw 0 0\n"));
    }
}
