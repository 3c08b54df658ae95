//! Preconditions, checked before anything is changed on the machine. Each failure is one line
//! that says what is missing and how to mend it.

use std::fs;
use std::path::{Path, PathBuf};

/// A precondition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Neither root nor the capabilities.
    #[error(
        "not permitted to load eBPF programs: run as root, or with CAP_BPF, CAP_NET_ADMIN and \
         CAP_PERFMON"
    )]
    Capabilities,
    /// The kernel is too old.
    #[error("this kernel is {found}: version {needed} or later is needed")]
    Kernel {
        /// Release of the running kernel.
        found: String,
        /// Oldest that works.
        needed: &'static str,
    },
    /// The kernel has no BTF.
    #[error("this kernel has no BTF (/sys/kernel/btf/vmlinux): use one with CONFIG_DEBUG_INFO_BTF")]
    Btf,
    /// No cgroup v2.
    #[error(
        "cgroup v2 is not mounted: mount it with `mount -t cgroup2 none /sys/fs/cgroup/unified`, \
         or name its directory with --cgroup"
    )]
    NoCgroup,
    /// The given directory is not in a cgroup v2 hierarchy.
    #[error("{} is not a cgroup v2 directory: choose one below {}", .path.display(), .root.display())]
    NotCgroup {
        /// What was given.
        path: PathBuf,
        /// Where cgroup v2 is mounted.
        root: PathBuf,
    },
    /// There is no such cgroup.
    #[error("there is no cgroup {}: create it with mkdir, or leave --cgroup out", .path.display())]
    NoSuchCgroup {
        /// What was given.
        path: PathBuf,
    },
    /// The kernel cannot wait for running programs.
    #[error(
        "membarrier(GLOBAL) does not work here ({0}): boot the kernel without nohz_full, which \
         switches it off"
    )]
    Membarrier(String),
    /// The pin path is not on bpffs.
    #[error(
        "{} is not on a bpffs: mount one with `mount -t bpf bpf /sys/fs/bpf`, or choose another \
         --pin-path", .path.display()
    )]
    NoBpffs {
        /// The pin path.
        path: PathBuf,
    },
}

/// Oldest kernel with everything the programs use (`bpf_set_retval` in cgroup hooks).
const NEEDED: (u32, u32) = (5, 19);
const NEEDED_TEXT: &str = "5.19";

/// What is known about the machine; read by [`Machine::read`], judged by [`check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Effective capabilities, a bit each.
    pub capabilities: u64,
    /// Kernel release, as `uname -r` prints it.
    pub release: String,
    /// Whether the kernel has BTF.
    pub btf: bool,
    /// Mount points with their file system types, as in `/proc/self/mounts`.
    pub mounts: Vec<(PathBuf, String)>,
}

impl Machine {
    /// Looks at this machine.
    #[must_use]
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let capabilities = text("/proc/self/status")
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
            .unwrap_or(0);
        let mounts = text("/proc/self/mounts")
            .lines()
            .filter_map(|line| {
                let mut parts = line.split(' ');
                let target = parts.nth(1)?;
                // Spaces are written as octal.
                Some((PathBuf::from(target.replace("\\040", " ")), parts.next()?.to_owned()))
            })
            .collect();
        Self {
            capabilities,
            release: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            mounts,
        }
    }

    /// Root of the cgroup v2 hierarchy.
    #[must_use]
    pub fn cgroup_root(&self) -> Option<&Path> {
        self.mounts.iter().find(|(_, kind)| kind == "cgroup2").map(|(path, _)| path.as_path())
    }

    /// Type of the file system that holds `path`: the deepest mount point above it, the latest
    /// of several.
    fn file_system(&self, path: &Path) -> Option<&str> {
        self.mounts
            .iter()
            .filter(|(mount, _)| path.starts_with(mount))
            .max_by_key(|(mount, _)| mount.components().count())
            .map(|(_, kind)| kind.as_str())
    }
}

/// Looks at this machine and judges it; returns the cgroup to attach to.
pub fn check_here(cgroup: Option<&Path>, pin_path: &Path) -> Result<PathBuf, CheckError> {
    let cgroup = check(&Machine::read(), cgroup, pin_path)?;
    super::grace().map_err(|error| CheckError::Membarrier(error.to_string()))?;
    if cgroup.is_dir() { Ok(cgroup) } else { Err(CheckError::NoSuchCgroup { path: cgroup }) }
}

/// Judges a machine; returns the cgroup to attach to.
pub fn check(
    machine: &Machine,
    cgroup: Option<&Path>,
    pin_path: &Path,
) -> Result<PathBuf, CheckError> {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    const PERFMON: u64 = 1 << 38;
    const BPF: u64 = 1 << 39;
    let has = |bits| machine.capabilities & bits == bits;
    if !(has(NET_ADMIN | SYS_ADMIN) || has(NET_ADMIN | PERFMON | BPF)) {
        return Err(CheckError::Capabilities);
    }
    if version(&machine.release) < NEEDED {
        return Err(CheckError::Kernel { found: machine.release.clone(), needed: NEEDED_TEXT });
    }
    if !machine.btf {
        return Err(CheckError::Btf);
    }
    let root = machine.cgroup_root().ok_or(CheckError::NoCgroup)?;
    let cgroup = cgroup.unwrap_or(root);
    if machine.file_system(cgroup) != Some("cgroup2") {
        return Err(CheckError::NotCgroup { path: cgroup.to_owned(), root: root.to_owned() });
    }
    if machine.file_system(pin_path) != Some("bpf") {
        return Err(CheckError::NoBpffs { path: pin_path.to_owned() });
    }
    Ok(cgroup.to_owned())
}

/// Major and minor version of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let mut next = || parts.next().flatten().unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let mount = |path: &str, kind: &str| (PathBuf::from(path), kind.to_owned());
        Machine {
            capabilities: u64::MAX,
            release: "6.1.0-18-amd64".to_owned(),
            btf: true,
            mounts: vec![
                mount("/", "ext4"),
                mount("/sys/fs/bpf", "bpf"),
                mount("/sys/fs/cgroup", "tmpfs"),
                mount("/sys/fs/cgroup/unified", "cgroup2"),
            ],
        }
    }

    const PINS: &str = "/sys/fs/bpf/mesh";

    #[test]
    fn a_hybrid_machine_is_fine() {
        let found = check(&machine(), None, Path::new(PINS));
        assert_eq!(found, Ok(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn each_lack_has_its_own_line() {
        let unprivileged = Machine { capabilities: 0, ..machine() };
        assert_eq!(check(&unprivileged, None, Path::new(PINS)), Err(CheckError::Capabilities));
        let old = Machine { release: "5.10.0-28-amd64".to_owned(), ..machine() };
        let text = check(&old, None, Path::new(PINS)).unwrap_err().to_string();
        assert_eq!(text, "this kernel is 5.10.0-28-amd64: version 5.19 or later is needed");
        let bare = Machine { mounts: Vec::new(), ..machine() };
        assert_eq!(check(&bare, None, Path::new(PINS)), Err(CheckError::NoCgroup));
        let wrong = Path::new("/sys/fs/cgroup/memory");
        let text = check(&machine(), Some(wrong), Path::new(PINS)).unwrap_err().to_string();
        assert!(text.contains("/sys/fs/cgroup/memory is not a cgroup v2 directory"), "{text}");
        let elsewhere = Path::new("/run/mesh");
        let text = check(&machine(), None, elsewhere).unwrap_err().to_string();
        assert!(text.contains("mount -t bpf bpf /sys/fs/bpf"), "{text}");
    }
}
