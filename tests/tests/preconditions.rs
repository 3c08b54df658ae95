//! A machine that lacks something gets one clear line, before anything is changed on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use anyhow::ensure;
use mesh_tests::meshctl::{Said, run_command};
use mesh_tests::netns::NetNs;
use mesh_tests::node::Node;
use mesh_tests::process::Place;
use mesh_tests::scratch::Scratch;
use mesh_tests::testbed::namespace;
use mesh_tests::{bins, bpftool, cgroup};

fn node(what: &str) -> anyhow::Result<(Arc<NetNs>, Node)> {
    let netns = namespace(what)?;
    let node = Node::prepare(&netns, what, &[])?;
    Ok((netns, node))
}

/// One line that names what is missing; no pins, nothing attached.
fn assert_refused(said: &Said, node: &Node, words: &[&str]) -> anyhow::Result<()> {
    assert!(matches!(said.code, Some(1 | 2)), "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "not one line: {}", said.stderr);
    for word in words {
        assert!(said.stderr.contains(word), "no {word:?} in: {}", said.stderr);
    }
    assert!(!node.pins().exists());
    let cgroup = node.cgroup().path().to_string_lossy();
    let attached = bpftool::call(&["cgroup", "show", &cgroup])?;
    assert!(!attached.contains("mesh"), "{attached}");
    Ok(())
}

#[test]
fn without_bpffs_the_agent_says_how_to_mount_it() -> anyhow::Result<()> {
    let (_netns, node) = node("nobpffs")?;
    for verb in ["run", "check"] {
        let place = Place { hide_bpffs: true, ..node.place() };
        let said = run_command(node.command(verb)?, &place)?;
        assert_refused(&said, &node, &["/sys/fs/bpf", "mount -t bpf"])?;
    }
    Ok(())
}

#[test]
fn without_root_the_agent_says_so() -> anyhow::Result<()> {
    let (_netns, node) = node("noroot")?;
    // A copy that everybody may execute, wherever the build folder is.
    let scratch = Scratch::create("noroot-bin")?;
    let copy = scratch.path().join("mesh-agent");
    // By another process: a file that is open for writing here is so in every child that another
    // test starts meanwhile, and cannot be executed (ETXTBSY).
    let mut cp = Command::new("cp");
    cp.arg(bins::workspace("mesh-agent")?).arg(&copy);
    ensure!(run_command(cp, &Place::default())?.code == Some(0), "cp failed");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let given = node.command("run")?;
    let mut command = Command::new(&copy);
    command.args(given.get_args()).uid(65534).gid(65534);
    let said = run_command(command, &Place::default())?;
    assert_refused(&said, &node, &["root"])
}

#[test]
fn wrong_cgroup_paths_are_refused_by_name() -> anyhow::Result<()> {
    let (_netns, node) = node("nocgroup")?;
    let missing = cgroup::root()?.join("mesh-does-not-exist").display().to_string();
    for wrong in ["/proc", "/sys/fs/cgroup-that-does-not-exist", &missing] {
        let mut command = node.command("run")?;
        // The last one counts; an agent that refuses repeated flags fails this test as well.
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Command::new(bins::workspace("mesh-agent")?);
        let mut follows = false;
        for arg in args {
            command.arg(if follows { wrong.into() } else { arg.clone() });
            follows = arg == "--cgroup";
        }
        let said = run_command(command, &node.place())?;
        assert_refused(&said, &node, &[wrong, "cgroup"])?;
    }
    Ok(())
}
