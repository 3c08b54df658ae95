//! Network namespaces with a name, so that a person can look into them while a test hangs.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{io::Write as _, thread};

use anyhow::{Context as _, anyhow, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::bins;
use crate::cleanup::{self, Guard};
use crate::scratch::{self, unique};

const FOLDER: &str = "/run/netns";

/// Where the other namespace of [`NetNs::connect`] is.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

/// An end of a pair of interfaces: name, and address with prefix length.
pub type Interface<'a> = (&'a str, &'a str);

/// A namespace with `lo` up; removed on drop.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    fd: Arc<OwnedFd>,
    _guard: Guard,
}

impl NetNs {
    /// Creates `mesh-t<pid>-<n>-<what>`.
    pub fn create(what: &str) -> anyhow::Result<Self> {
        let name = unique(what);
        fs::create_dir_all(FOLDER).with_context(|| format!("mkdir {FOLDER}"))?;
        let path = Path::new(FOLDER).join(&name);
        File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let undo = path.clone();
        let guard = cleanup::on_exit(move || remove(&undo));
        let fd = on_thread(|| make(&path))?.context("creating a network namespace")?;
        let netns = Self { name, fd: Arc::new(fd), _guard: guard };
        netns.ip(&["link set lo up"])?;
        // Many short connections: use all ports there are.
        netns.run(|| fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65000"))??;
        Ok(netns)
    }

    /// Its name below `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name as a path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// The namespace as a descriptor, for `Place`.
    #[must_use]
    pub fn fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Runs `work` on a thread inside the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        on_thread(|| {
            setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok::<_, nix::Error>(work())
        })?
        .with_context(|| format!("entering network namespace {}", self.name))
    }

    /// Gives `lo` more addresses: each can be a backend, or nothing but a target.
    pub fn addresses(&self, addresses: &[&str]) -> anyhow::Result<()> {
        let lines: Vec<String> =
            addresses.iter().map(|address| format!("addr add {address} dev lo")).collect();
        self.ip(&lines)
    }

    /// Runs lines of `ip` commands (without the word `ip`) inside the namespace.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> anyhow::Result<()> {
        let script: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
        let ip = bins::in_path("ip").context("needs `ip`: apt-get install iproute2")?;
        self.feed(&ip, &["-batch", "-"], &script)?;
        Ok(())
    }

    /// Leads to another namespace by a pair of interfaces: `up0` here, `down0` with [`FAR`] there.
    pub fn connect(&self, far: &Self) -> anyhow::Result<()> {
        self.pair(("up0", "10.78.0.1/24"), far, ("down0", &format!("{FAR}/24")))
    }

    /// The same with other interfaces.
    pub fn pair(
        &self,
        (near, own): Interface<'_>,
        far: &Self,
        (peer, its): Interface<'_>,
    ) -> anyhow::Result<()> {
        self.ip(&[
            format!("link add {near} type veth peer name {peer} netns {}", far.name),
            format!("addr add {own} dev {near}"),
            format!("link set {near} up"),
        ])?;
        far.ip(&[format!("addr add {its} dev {peer}"), format!("link set {peer} up")])
    }

    /// Runs a program inside the namespace that reads a script, to its end; what it has printed.
    pub fn feed(&self, program: &Path, args: &[&str], script: &str) -> anyhow::Result<String> {
        let output = self.run(|| {
            let mut child = Command::new(program)
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(script.as_bytes())?;
            }
            child.wait_with_output()
        })??;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            let program = program.file_name().unwrap_or(program.as_os_str()).display();
            bail!("{program} {} in {}: {}\n{script}", args.join(" "), self.name, reason.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .map_err(|cause| anyhow!("a thread in a network namespace panicked: {cause:?}"))
}

fn make(path: &PathBuf) -> anyhow::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let own = "/proc/thread-self/ns/net";
    mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(File::open(own)?.into())
}

fn remove(path: &Path) {
    // Fails where the mount was never made; removing the file is what counts.
    umount2(path, MntFlags::MNT_DETACH).ok();
    drop(fs::remove_file(path));
}

/// Removes namespaces that a killed run left behind.
pub fn sweep() {
    let folder = Path::new(FOLDER);
    for name in scratch::stale_in(folder) {
        remove(&folder.join(name));
    }
}
