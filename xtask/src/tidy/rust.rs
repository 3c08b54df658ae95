//! What holds for every Rust file: a header, a short `main.rs`, unsafe code where it is listed,
//! tests that run.

use super::source::{Source, Violation, has_word};

/// Longest `main.rs`, in lines.
const MAIN_LINES: usize = 80;

/// Binaries whose tasks are all started in one file.
const BINARIES: [&str; 2] = ["mesh-agent/src/", "mesh-control/src/"];

/// Where unsafe code may stand: the kernel's memory, system calls, and proofs of layout.
const UNSAFE: [&str; 11] = [
    "mesh-agent/src/accel/sys",
    "mesh-agent/src/bpf/mapped",
    "mesh-agent/src/bpf/pinned",
    "mesh-agent/src/bpf/sys",
    "mesh-agent/src/memory",
    "mesh-agent/src/workload/by_id",
    "mesh-common/src/layout",
    "mesh-ebpf/src/ctx/",
    "mesh-ebpf/src/floor",
    "tests/src/sys",
    "tests/src/sys_bpf",
];

/// How far above an unsafe block its reason may begin, in lines.
const SAFETY_REACH: usize = 8;

/// All breaches in one file.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(header(source));
    found.extend(main_length(source));
    found.extend(spawns(source));
    found.extend(unsafe_code(source));
    for (line, code) in source.all_code() {
        if has_word(code, "ignore") && code.trim_start().starts_with("#[") {
            found.push(source.violation(line, "an ignored test: mend it or delete it"));
        }
        if has_word(code, "todo!") || has_word(code, "unimplemented!") {
            found.push(source.violation(line, "an unwritten part: write it or return an error"));
        }
    }
    found
}

fn header(source: &Source) -> Option<Violation> {
    let first = source.text.lines().next().unwrap_or_default();
    let good = first.strip_prefix("//! ").is_some_and(|rest| !rest.trim().is_empty());
    let message = "no header: begin with `//! ` and what is in the file and why it is there";
    (!good).then(|| source.violation(1, message))
}

fn main_length(source: &Source) -> Option<Violation> {
    let lines = source.text.lines().count();
    let long = source.path.ends_with("/main.rs") && lines > MAIN_LINES;
    let message = format!("{lines} lines, more than {MAIN_LINES}: move wiring to app.rs");
    long.then(|| source.violation(lines, message))
}

fn spawns(source: &Source) -> Vec<Violation> {
    if !source.is_in(&BINARIES) || source.path.ends_with("/app.rs") {
        return Vec::new();
    }
    // Without arguments it is a process: whoever starts it holds it.
    let spawning = source.code().filter(|(_, code)| {
        (has_word(code, "spawn(") || has_word(code, "spawn_local("))
            && !code.contains("fn spawn")
            && !code.contains(".spawn()")
    });
    let message = "a task is started outside app.rs: return a future and spawn it there";
    spawning.map(|(line, _)| source.violation(line, message)).collect()
}

fn unsafe_code(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let lines: Vec<_> = source.text.lines().collect();
    for (line, code) in source.all_code() {
        // `#[unsafe(no_mangle)]` and `unsafe_code` in a lint are not code that is unsafe.
        if !has_word(code, "unsafe") || code.contains("#[unsafe(") {
            continue;
        }
        if !source.is_in(&UNSAFE) {
            let message = "unsafe outside the listed files: use a safe wrapper of theirs \
                           (the list is in xtask/src/tidy/rust.rs)";
            found.push(source.violation(line, message));
        }
        let above = lines.get(line.saturating_sub(SAFETY_REACH)..line).unwrap_or_default();
        if !above.iter().any(|text| text.contains("SAFETY:") || text.contains("# Safety")) {
            found.push(source.violation(line, "unsafe without `// SAFETY:`: say why it is sound"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).into_iter().map(|v| v.line).collect()
    }

    #[test]
    fn a_header_is_needed() {
        assert_eq!(lines("mesh-xds/src/lib.rs", "//! What it is.\n"), NONE);
        assert_eq!(lines("mesh-xds/src/lib.rs", "// What it is.\n"), [1]);
        assert_eq!(lines("mesh-xds/src/lib.rs", ""), [1]);
    }

    #[test]
    fn main_is_short() {
        let long = format!("//! Main.\n{}", "\n".repeat(80));
        assert_eq!(lines("meshctl/src/main.rs", &long), [81]);
        assert_eq!(lines("meshctl/src/app.rs", &long), NONE);
    }

    #[test]
    fn only_app_spawns() {
        let text = "//! X.\n// spawn(\nfn f() { tokio::spawn(g()); }\n";
        assert_eq!(lines("mesh-agent/src/xds/stream.rs", text), [3]);
        assert_eq!(lines("mesh-agent/src/app.rs", text), NONE);
        assert_eq!(lines("tests/src/node.rs", text), NONE);
        assert_eq!(lines("mesh-agent/src/xds/tests.rs", text), NONE);
    }

    #[test]
    fn unsafe_is_listed_and_explained() {
        let explained = "//! X.\n// SAFETY: checked.\nunsafe { f() }\n";
        assert_eq!(lines("mesh-ebpf/src/ctx/sock.rs", explained), NONE);
        assert_eq!(lines("mesh-ebpf/src/connect.rs", explained), [3]);
        assert_eq!(lines("mesh-ebpf/src/ctx/sock.rs", "//! X.\nunsafe { f() }\n"), [2]);
        assert_eq!(lines("mesh-ebpf/src/main.rs", "//! X.\n#[unsafe(no_mangle)]\n"), NONE);
        assert_eq!(lines("mesh-xds/src/lib.rs", "//! X.\n#![forbid(unsafe_code)]\n"), NONE);
    }

    #[test]
    fn tests_run() {
        let text = "//! X.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n";
        assert_eq!(lines("mesh-xds/src/tests.rs", text), [3]);
        assert_eq!(lines("mesh-xds/src/a.rs", "//! X.\nlet ignore = 1;\n"), NONE);
    }
}
