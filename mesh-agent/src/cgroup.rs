//! What `/proc/PID/cgroup` says. Pure.

/// The path of the process in cgroup v2, from the root of the reader's cgroup namespace: with `/..` in
/// front where the process is outside of that, and ` (deleted)` behind where the cgroup was removed
/// (`cgroup_namespaces(7)`, `cgroups(7)`). None without v2.
#[must_use]
pub fn v2_path(lines: &str) -> Option<&str> {
    lines.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_v2_is_found_among_those_of_v1() {
        for (lines, path) in [
            ("0::/\n", Some("/")),
            ("0::/a/b\n", Some("/a/b")),
            // A hybrid: names of v1's hierarchies and cgroups can be anything.
            ("10::/x\n2:cpu,cpuacct:/0::/y\n1:name=systemd:/init.scope\n0::/a b\n", Some("/a b")),
            ("0::/../other\n", Some("/../other")),
            ("0::/a (deleted)\n", Some("/a (deleted)")),
            ("1:cpu:/x\n", None),
            ("", None),
        ] {
            assert_eq!(v2_path(lines), path, "{lines}");
        }
    }
}
