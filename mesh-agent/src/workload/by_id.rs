//! The path of a cgroup by its id: asked of the kernel, at once and without a walk through all
//! cgroups. Minimum kernel: 5.5, where a cgroup's id is what `open_by_handle_at` takes.

#![expect(unsafe_code, reason = "a system call that takes a file handle")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// `FILEID_KERNFS` (`include/linux/exportfs.h`).
const KERNFS: libc::c_int = 0xfe;

/// `struct file_handle` with a handle of kernfs.
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    id: [u8; 8],
}

/// All cgroups of the hierarchy.
#[derive(Debug)]
pub struct Cgroups {
    mount: File,
    root: PathBuf,
}

impl Cgroups {
    /// Those mounted at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        Ok(Self { mount: File::open(&root)?, root })
    }

    /// The path of a cgroup from the root; `None` where it has gone. Needs `CAP_DAC_READ_SEARCH`.
    pub fn path(&self, id: u64) -> io::Result<Option<String>> {
        let mut handle = Handle { bytes: 8, kind: KERNFS, id: id.to_ne_bytes() };
        // SAFETY: the handle is as long as it says, and outlives the call.
        let fd = unsafe {
            let handle = std::ptr::from_mut(&mut handle);
            let (call, mount) = (libc::SYS_open_by_handle_at, self.mount.as_raw_fd());
            libc::syscall(call, mount, handle, libc::O_PATH | libc::O_CLOEXEC)
        };
        if fd < 0 {
            let error = io::Error::last_os_error();
            let gone = [libc::ESTALE, libc::ENOENT].map(Some).contains(&error.raw_os_error());
            return if gone { Ok(None) } else { Err(error) };
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just opened it, for us alone.
        let directory = unsafe { OwnedFd::from_raw_fd(fd) };
        let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
        let Ok(below) = path.strip_prefix(&self.root) else { return Ok(None) };
        let below = below.to_string_lossy();
        // Removed just now.
        Ok((!below.ends_with(" (deleted)")).then(|| format!("/{below}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_cgroup_is_found_by_its_id() {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let Some(mount) = mounts.find(|fields| fields.get(2) == Some(&"cgroup2")) else { return };
        let Ok(cgroups) = Cgroups::open(Path::new(mount[1])) else { return };
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let id = fs::metadata(format!("{}{own}", mount[1])).unwrap().ino();
        match cgroups.path(id) {
            Ok(path) => assert_eq!(path.as_deref(), Some(own)),
            // Without the capability nothing can be tested.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        if let Ok(path) = cgroups.path(id | 1 << 60) {
            assert_eq!(path, None);
        }
    }
}
