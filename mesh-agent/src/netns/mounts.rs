//! `/proc/PID/mountinfo` → bind mounts of network namespaces. Pure; any text is survived.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::find::inode_of;

/// A namespace mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) inode: u64,
    pub(super) path: PathBuf,
}

/// Those of the lines that mount a network namespace (proc(5), nsfs: the root is `net:[inode]`).
pub(super) fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let inode = inode_of(fields.next()?)?;
        let path = unescaped(fields.next()?);
        Some(Mount { inode, path })
    })
}

/// The kernel writes space, tab, newline and backslash as `\ooo`.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', a, b, c, ..] => octal([*a, *b, *c]),
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    digits.iter().try_fold(0u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}
