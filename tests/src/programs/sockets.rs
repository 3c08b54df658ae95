//! How programs wait: whether the sockets of established connections are `O_NONBLOCK`, as the kernel
//! tells in `/proc/PID/fdinfo`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Sockets of a program.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Modes {
    /// Most that blocked at a time.
    pub(super) blocking: usize,
    /// Most that did not.
    pub(super) event_driven: usize,
}

/// By the program's name.
pub(super) type Seen = BTreeMap<String, Modes>;

/// Looks at every connection of these processes from or to this port.
pub(super) fn look(cgroup: &Path, port: u16) -> Seen {
    let mut seen = Seen::new();
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for process in processes.lines().map(|id| Path::new("/proc").join(id)) {
        let Ok(name) = fs::read_to_string(process.join("comm")) else { continue };
        let connections = connections(&process, port);
        if connections.is_empty() {
            continue;
        }
        let modes: &mut Modes = seen.entry(name.trim().to_owned()).or_default();
        for entry in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            if inode.is_some_and(|inode| connections.contains(inode)) {
                let info = process.join("fdinfo").join(entry.file_name());
                match fs::read_to_string(info).ok().as_deref().and_then(flags) {
                    Some(flags) if flags & libc::O_NONBLOCK == 0 => modes.blocking += 1,
                    Some(_) => modes.event_driven += 1,
                    None => {}
                }
            }
        }
    }
    seen.retain(|_, modes| *modes != Modes::default());
    seen
}

/// Adds what was seen at another moment.
pub(super) fn merge(all: &mut Seen, now: Seen) {
    for (name, modes) in now {
        let most = all.entry(name).or_default();
        most.blocking = most.blocking.max(modes.blocking);
        most.event_driven = most.event_driven.max(modes.event_driven);
    }
}

/// Inodes of established connections with this port at either end.
fn connections(process: &Path, port: u16) -> BTreeSet<String> {
    let table = |name| fs::read_to_string(process.join("net").join(name)).unwrap_or_default();
    let tables = [table("tcp"), table("tcp6")];
    tables.iter().flat_map(|table| table.lines()).filter_map(|line| inode(line, port)).collect()
}

/// `sl local remote state queues timer retransmits uid timeout inode …`
fn inode(line: &str, port: u16) -> Option<String> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [_, local, remote, "01", _, _, _, _, _, inode, ..] = *columns else { return None };
    let has_port = |end: &str| {
        let number = end.rsplit_once(':').map(|(_, number)| u16::from_str_radix(number, 16));
        number == Some(Ok(port))
    };
    (has_port(local) || has_port(remote)).then(|| inode.to_owned())
}

/// The line `flags:`, octal.
fn flags(info: &str) -> Option<i32> {
    let line = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(line.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_prints() {
        let line = "   5: 0100007F:1F90 0201007F:D431 01 00000000:00000000 00:00000000 00000000 \
                    0        0 4711 1 000000 20 4 30 10 -1";
        assert_eq!(inode(line, 8080).as_deref(), Some("4711"));
        assert_eq!(inode(line, 8081), None);
        assert_eq!(inode(&line.replace(" 01 ", " 06 "), 8080), None);
        assert_eq!(flags("pos:\t0\nflags:\t02004002\nmnt_id:\t10\n"), Some(0o2_004_002));
    }
}
