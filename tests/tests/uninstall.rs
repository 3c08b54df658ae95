//! `mesh-agent uninstall` leaves nothing, and may be called again.

use std::fs;

use mesh_tests::bpftool;
use mesh_tests::load::Mode;
use mesh_tests::testbed::{Testbed, VIP};
use mesh_tests::traffic::probe;
use mesh_tests::wait::eventually;

#[test]
fn stopping_leaves_the_data_path_and_uninstall_takes_it_away() -> anyhow::Result<()> {
    let mut bed = Testbed::start("uninstall")?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    bed.apply_split(&[("v1", 1)])?;
    let place = bed.node.place();
    let cgroup = bed.node.cgroup().path().to_path_buf();
    let attached = || bpftool::call(&["cgroup", "show", &cgroup.to_string_lossy()]);

    bed.node.stop()?;
    assert_eq!(probe(&place, VIP, Mode::Greet)?["name"], "v1");
    assert!(attached()?.contains("connect4"), "{}", attached()?);

    let said = bed.node.uninstall()?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(!bed.node.pins().exists());
    // A link goes with its last pin, after an RCU grace period.
    let detached = || match attached() {
        Ok(shown) if !shown.contains("mesh") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(detached)?;
    let seen = probe(&place, VIP, Mode::Greet)?;
    assert_eq!(seen["connected"], false, "{seen}");

    // Nothing to do is no error.
    for _ in 0..2 {
        let said = bed.node.uninstall()?;
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }

    // Half of an installation is taken away as well.
    bed.node.run()?;
    bed.node.wait_ready()?;
    bed.node.kill()?;
    fs::remove_file(bed.node.pins().join("links").join(mesh_common::names::CONNECT4))?;
    fs::remove_file(bed.node.map(mesh_common::names::SLOTS))?;
    let said = bed.node.uninstall()?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(!bed.node.pins().exists());
    eventually(detached)
}

#[test]
fn uninstall_leaves_files_that_are_not_its_own() -> anyhow::Result<()> {
    let mut bed = Testbed::start("foreign")?;
    bed.node.stop()?;
    let foreign = bed.node.pins().join("not-ours");
    fs::create_dir(&foreign)?;
    let said = bed.node.uninstall()?;
    assert!(foreign.exists(), "removed what was not its own");
    assert!(!bed.node.map(mesh_common::names::FRONTENDS).exists());
    assert_ne!(said.code, Some(101), "{}", said.stderr);
    fs::remove_dir(foreign)?;
    Ok(())
}
