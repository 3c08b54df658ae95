//! The system calls that aya does not offer: opening a pin, replacing the program of a link,
//! asking links and maps about themselves, reading and writing many entries of a map at once,
//! waiting for running programs.

#![expect(unsafe_code, reason = "raw system calls")]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;
const BPF_LINK_UPDATE: libc::c_long = 29;
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;

/// Many times longer than any program runs.
const PREEMPTED: std::time::Duration = std::time::Duration::from_millis(100);

/// `bpf_attr` of `BPF_OBJ_PIN` and `BPF_OBJ_GET` (`include/uapi/linux/bpf.h`).
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `bpf_attr` of `BPF_LINK_UPDATE`.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `bpf_attr` of `BPF_PROG_ATTACH`.
#[repr(C)]
struct ProgAttach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// `BPF_SK_MSG_VERDICT` (`enum bpf_attach_type`).
const SK_MSG_VERDICT: u32 = 7;

/// `bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_link_info`, the part for cgroup links.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkInfo {
    /// Type of the link.
    pub(super) kind: u32,
    /// Id of the link.
    pub(super) id: u32,
    /// Id of the program behind it.
    pub(super) program: u32,
    pad: u32,
    /// Id of the cgroup it is attached to; 0 once the cgroup is gone.
    pub(super) cgroup: u64,
    attach_type: u32,
    rest: [u32; 13],
}

/// `bpf_attr` of the batch commands.
#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `struct bpf_map_info`, the part that matters here.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapInfo {
    /// Type of the map.
    pub(crate) kind: u32,
    /// Id of the map, unique until the machine starts again.
    pub(crate) id: u32,
    /// Bytes of a key.
    pub(crate) key_size: u32,
    /// Bytes of a value; of one CPU where each has its own.
    pub(crate) value_size: u32,
    /// Most entries.
    pub(crate) max_entries: u32,
    /// Flags of its making.
    pub(crate) flags: u32,
}

/// # Safety
///
/// `attr` must be the structure that the kernel expects for `command`, and pointers in it valid.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: the caller's promise; the kernel reads and writes `size_of::<T>()` bytes at most.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjGet { pathname: path.as_ptr().addr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the structure of this command; `path` outlives the call.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut attr)? };
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins an object; nothing must be there yet.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjGet {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: object.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: the structure of this command; `path` outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr)? };
    Ok(())
}

/// Replaces the program behind a link, atomically: every call sees the old or the new one.
/// Minimum kernel: 5.7.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate {
        link_fd: link.as_raw_fd().cast_unsigned(),
        new_prog_fd: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the structure of this command; both descriptors are open.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr)? };
    Ok(())
}

/// Makes a program judge what is sent by sockets that are put into the map from now on; it takes
/// the place of the one before. It stays as long as the map is pinned or open. Minimum kernel: 4.17.
pub(super) fn attach_to_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = ProgAttach {
        target_fd: map.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: SK_MSG_VERDICT,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    // SAFETY: the structure of this command; both descriptors are open.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attr)? };
    Ok(())
}

/// What a link says about itself. Minimum kernel: 5.8.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: integers only.
    let mut info: LinkInfo = unsafe { zeroed() };
    let mut attr = InfoByFd {
        bpf_fd: link.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: std::ptr::from_mut(&mut info).addr() as u64,
    };
    // SAFETY: the structure of this command; `info` is as long as it says.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info)
}

/// What a map says about itself. Minimum kernel: 4.13.
pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    // SAFETY: integers only.
    let mut info: MapInfo = unsafe { zeroed() };
    let mut attr = InfoByFd {
        bpf_fd: map.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<MapInfo>()).map_err(io::Error::other)?,
        info: std::ptr::from_mut(&mut info).addr() as u64,
    };
    // SAFETY: the structure of this command; `info` is as long as it says.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info)
}

/// Reads up to `count` entries that follow the place `from`, or the first ones. Returns how many
/// were read and whether there may be more, whose place is in `next` then. Minimum kernel: 5.6,
/// per-CPU arrays 5.13.
///
/// # Safety
///
/// `keys` and `values` must have room for `count` of the map's keys and values (of all possible
/// CPUs, each rounded up to 8 bytes); `from` and `next` for the larger of a key and 4 bytes.
pub(super) unsafe fn lookup_batch(
    map: BorrowedFd<'_>,
    from: Option<&[u8]>,
    next: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let mut attr = Batch {
        from: from.map_or(0, |from| from.as_ptr().addr() as u64),
        next: next.as_mut_ptr().addr() as u64,
        keys: keys.as_mut_ptr().addr() as u64,
        values: values.as_mut_ptr().addr() as u64,
        count,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the structure of this command; the caller promises room.
    match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => Ok((attr.count, true)),
        // The end; `count` says how many there were.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count, false)),
        Err(error) => Err(error),
    }
}

/// Writes `count` entries, or deletes them where there are no values. On an error, the number
/// says how many were done. Minimum kernel: 5.6.
///
/// # Safety
///
/// `keys` and `values` must hold `count` of the map's keys and values.
pub(super) unsafe fn change_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: Option<&[u8]>,
    count: u32,
) -> Result<(), (u32, io::Error)> {
    let mut attr = Batch {
        from: 0,
        next: 0,
        keys: keys.as_ptr().addr() as u64,
        values: values.map_or(0, |values| values.as_ptr().addr() as u64),
        count,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    let command = if values.is_some() { BPF_MAP_UPDATE_BATCH } else { BPF_MAP_DELETE_BATCH };
    // SAFETY: the structure of this command; the caller promises the content.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => Ok(()),
        // The kernel writes the number back only once it has begun.
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Err((0, error)),
        Err(error) => Err((attr.count.min(count), error)),
    }
}

/// Waits until every BPF program that runs now has ended: membarrier's global command waits for
/// an RCU grace period (`kernel/sched/membarrier.c`), and cgroup programs run inside an RCU read
/// section. With one CPU online it does not wait: there, a pause lets a program that was
/// preempted end. Minimum kernel: 4.3; not with `nohz_full`.
pub fn grace() -> io::Result<()> {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1) {
        std::thread::sleep(PREEMPTED);
    }
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_F_QUERY_EFFECTIVE: u32 = 1;
/// `BPF_CGROUP_MAX_PROGS`: most programs that one cgroup may have for a hook; ancestors add theirs.
const MOST_PROGRAMS: usize = 64;
/// Levels of cgroups whose programs are asked for together before the answer is taken as too long.
const MOST_LEVELS: usize = 16;

/// `bpf_attr` of `BPF_PROG_QUERY`, to its end: newer kernels write the revision.
#[repr(C)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// `bpf_attr` of `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct GetById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Ids of the programs that a cgroup's hook runs, in the order in which they run; or only of those
/// that are attached to this very cgroup. Minimum kernel: 4.15.
pub(super) fn query(
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
    effective: bool,
) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; MOST_PROGRAMS * if effective { MOST_LEVELS } else { 1 }];
    let mut attr = ProgQuery {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        query_flags: if effective { BPF_F_QUERY_EFFECTIVE } else { 0 },
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().addr() as u64,
        prog_cnt: u32::try_from(ids.len()).map_err(io::Error::other)?,
        pad: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: the structure of this command; `ids` has room for `prog_cnt` numbers.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr)? };
    ids.truncate(usize::try_from(attr.prog_cnt).map_err(io::Error::other)?);
    Ok(ids)
}

/// What a program says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProgramInfo {
    /// Its name, cut to 15 bytes.
    pub(super) name: String,
    /// How often it ran; counted only while `kernel.bpf_stats_enabled` is 1.
    pub(super) runs: u64,
}

/// Asks a program of any owner about itself. Needs `CAP_SYS_ADMIN`. Minimum kernel: 5.1.
pub(super) fn program_info(id: u32) -> io::Result<ProgramInfo> {
    /// `struct bpf_prog_info` begins with the type; name and run count are at these bytes of it.
    const NAME: std::ops::Range<usize> = 64..80;
    const RUN_COUNT: std::ops::Range<usize> = 200..208;

    let mut attr = GetById { id, next_id: 0, open_flags: 0 };
    // SAFETY: the structure of this command; no pointers.
    let fd = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr)? };
    // SAFETY: the kernel has just given us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = [0u8; 256];
    let mut attr = InfoByFd {
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(info.len()).map_err(io::Error::other)?,
        info: info.as_mut_ptr().addr() as u64,
    };
    // SAFETY: the structure of this command; `info` is as long as it says.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    let name = info.get(NAME).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let runs = info.get(RUN_COUNT).and_then(|bytes| bytes.try_into().ok());
    Ok(ProgramInfo {
        name: String::from_utf8_lossy(name).into_owned(),
        runs: runs.map_or(0, u64::from_ne_bytes),
    })
}
