//! Loads a handful of instructions as a program of `connect4` and pins it: what another owner's
//! program is to the mesh. Made by hand, so that no compiler and no object file is needed.

#![expect(unsafe_code, reason = "bpf(2) has no safe interface for bare instructions")]

use std::ffi::CString;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_CONNECT: u32 = 10;

/// `bpf_attr` of `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u32; 2],
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `bpf_attr` of `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// # Safety
///
/// `attr` must be the structure that the kernel expects for `command`, and pointers in it valid.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise; the kernel reads `size_of_val(attr)` bytes.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of_val(attr))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Loads instructions under a name of at most 15 bytes, and pins them.
pub(crate) fn load_connect4(name: &str, instructions: &[u64], pin: &Path) -> io::Result<()> {
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
        log: [0; 2],
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        name: [0; 16],
        prog_ifindex: 0,
        expected_attach_type: BPF_CGROUP_INET4_CONNECT,
    };
    for (to, from) in attr.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the structure of this command; instructions and licence outlive the call.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attr)? };
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = ObjPin {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: the structure of this command; the path outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr)? };
    Ok(())
}
