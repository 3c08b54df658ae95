//! What kind of machine this is: questions that files answer, without starting anything.

use std::path::Path;
use std::{env, fs};

/// Folders that `PATH` of an ordinary user lacks.
const ADMIN_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Does this path exist?
pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}

/// Debian, or something made from it.
pub(crate) fn is_debian() -> bool {
    exists("/etc/debian_version") && has_program("apt-get")
}

/// Does this process run as root?
pub(crate) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| effective_uid(&status) == Some(0))
}

/// Is a program of this name on the PATH or in the administrator's folders?
pub(crate) fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(ADMIN_DIRS.map(Into::into)).any(|dir| dir.join(name).is_file())
}

/// The second number of the line `Uid:` in `/proc/self/status`.
fn effective_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_uid() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t1000\t1000\n"), Some(0));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }
}
