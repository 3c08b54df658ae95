//! The only unsafe code of the harness: what a child does between fork and exec, and the
//! signal handler. Everything else uses safe wrappers.

#![expect(unsafe_code, reason = "fork and signals have no safe interface")]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getppid, write};

/// Where a child process starts its life; the default is "beside the parent".
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Network namespace to enter.
    pub netns: Option<Arc<OwnedFd>>,
    /// `cgroup.procs` of the cgroup to join, open for writing. Joined before exec, because a
    /// socket belongs to the cgroup in which it was created.
    pub cgroup: Option<Arc<OwnedFd>>,
    /// CPU to stay on.
    pub cpu: Option<usize>,
    /// Start in a private mount namespace in which nothing is mounted at `/sys/fs/bpf`.
    pub hide_bpffs: bool,
}

/// Makes `command` start in `place`, and die with the thread that spawns it.
pub(crate) fn confine(command: &mut Command, place: &Place) {
    let place = place.clone();
    let parent = Pid::this();
    // SAFETY: the closure runs in the forked child and makes only system calls on memory
    // that exists already; it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || enter(&place, parent));
    }
}

fn enter(place: &Place, parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    if let Some(cgroup) = &place.cgroup {
        write(cgroup.as_fd(), b"0")?;
    }
    if place.hide_bpffs {
        unshare(CloneFlags::CLONE_NEWNS)?;
        private_mounts()?;
        umount2(c"/sys/fs/bpf", MntFlags::MNT_DETACH)?;
        // Some machines have several, one above the other.
        while umount2(c"/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
    }
    if let Some(netns) = &place.netns {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
    }
    if let Some(cpu) = place.cpu {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    Ok(())
}

/// Keeps later mounts of this mount namespace from spreading to others.
fn private_mounts() -> nix::Result<()> {
    mount(None::<&str>, c"/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// Gives this thread, and what it starts from now on, a mount namespace of its own with a
/// BPF file system at `/sys/fs/bpf`. It vanishes with its last process.
pub(crate) fn private_bpffs() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    private_mounts()?;
    mount(Some(c"bpf"), c"/sys/fs/bpf", Some(c"bpf"), MsFlags::empty(), None::<&str>)
}

/// Lets a socket receive only what a classic BPF program accepts.
pub(crate) fn attach_filter(
    socket: BorrowedFd<'_>,
    filter: &mut [libc::sock_filter],
) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    let length = u32::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: the kernel copies the structure of this option and the instructions it points to,
    // both of which outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Write end of the pipe that the signal handler pokes; -1 before `catch_signals`.
static POKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_signal: libc::c_int) {
    let fd = POKE.load(Ordering::Relaxed);
    if fd >= 0 {
        // SAFETY: `catch_signals` leaked this descriptor, so it is open for the process's life.
        let poke = unsafe { BorrowedFd::borrow_raw(fd) };
        // A full pipe has been poked already, so a failed write loses nothing.
        write(poke, b"!").ok();
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP write a byte to `poke` and do nothing else.
pub(crate) fn catch_signals(poke: OwnedFd) -> nix::Result<()> {
    // Leaked on purpose: the handler may use it until the very end.
    let poke: &'static OwnedFd = Box::leak(Box::new(poke));
    POKE.store(poke.as_raw_fd(), Ordering::Relaxed);
    let action =
        SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only loads an atomic and calls write(2), both async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Ends a TCP connection and keeps its socket (`connect(2)`, `AF_UNSPEC`).
pub(crate) fn disconnect(socket: BorrowedFd<'_>) -> nix::Result<()> {
    let family = libc::c_ushort::try_from(libc::AF_UNSPEC).unwrap_or_default();
    let nowhere = libc::sockaddr { sa_family: family, sa_data: [0; 14] };
    let length = libc::socklen_t::try_from(size_of_val(&nowhere)).unwrap_or_default();
    // SAFETY: an address that lives through the call, and its length.
    let result = unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, length) };
    Errno::result(result).map(drop)
}
