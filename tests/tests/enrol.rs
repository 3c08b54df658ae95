//! Who is in the mesh, by cgroup and by network namespace; and who is said to run on a node.

use std::fs;
use std::thread;
use std::time::Instant;

use aya::maps::{HashMap, Map, MapData};
use mesh_common::enrol::{CgroupKey, Verdict};
use mesh_common::names;
use mesh_tests::cgroup::Cgroup;
use mesh_tests::load::Mode;
use mesh_tests::node::HTTP;
use mesh_tests::process::Place;
use mesh_tests::stats::Figures;
use mesh_tests::testbed::{SMALL, Testbed, VIP};
use mesh_tests::traffic::probe;
use mesh_tests::wait::eventually;
use mesh_tests::{cleanup, http};
use serde_json::Value;

/// The flags for small maps, and these.
fn flags<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SMALL.iter().chain(more).copied().collect()
}

/// A service with one server.
fn shop(what: &str, more: &[&str]) -> anyhow::Result<(Testbed, impl Sized)> {
    let bed = Testbed::start_with(what, &flags(more))?;
    let servers = bed.serve(Mode::Greet, &["v1"])?;
    bed.apply_split(&[("v1", 1)])?;
    Ok((bed, servers))
}

/// Whether a connection to the service, which nobody listens for, is redirected.
fn redirected(place: &Place) -> anyhow::Result<bool> {
    Ok(probe(place, VIP, Mode::Greet)?["connected"] == true)
}

fn within(bed: &Testbed, cgroup: &Cgroup) -> Place {
    Place::in_netns(&bed.netns).and_cgroup(cgroup)
}

fn restart(bed: &mut Testbed, more: &[&str]) -> anyhow::Result<()> {
    bed.node.stop()?;
    bed.node.set_flags(&flags(more));
    bed.node.run()?;
    bed.node.wait_ready()
}

/// Whether the node lists a cgroup as enrolled; `None` where it does not list it.
fn listed(bed: &Testbed, cgroup: &Cgroup) -> anyhow::Result<Option<bool>> {
    let list: Value = serde_json::from_str(&http::get_ok(&bed.netns, HTTP, "/workloads")?)?;
    let id = cgroup.id()?;
    let workloads = list["workloads"].as_array().into_iter().flatten();
    let found = workloads.filter(|it| it["cgroupId"] == id).find_map(|it| it["enrolled"].as_bool());
    Ok(found)
}

fn wait_listed(bed: &Testbed, cgroup: &Cgroup, enrolled: bool) -> anyhow::Result<()> {
    eventually(|| match listed(bed, cgroup) {
        Ok(Some(found)) if found == enrolled => Ok(()),
        other => Err(format!("{} is listed as {other:?}", cgroup.path().display())),
    })
}

#[test]
fn cgroups_are_left_alone_or_taken_in_as_the_flags_say() -> anyhow::Result<()> {
    let out_flags = ["--exclude-cgroup", "/mesh-t*-enrol/out"];
    let (mut bed, _servers) = shop("enrol", &out_flags)?;
    assert!(redirected(&bed.node.place())?, "the node's own cgroup is in");

    let inside = bed.node.cgroup().child("in")?;
    assert!(redirected(&within(&bed, &inside))?, "new, and in from the first connection");
    let out = bed.node.cgroup().child("out")?;
    wait_listed(&bed, &out, false)?;
    assert!(!redirected(&within(&bed, &out))?);
    // Too new for an entry of its own: the kernel asks its parents.
    let deep = out.child("deep")?;
    assert!(!redirected(&within(&bed, &deep))?, "out from the first connection");

    // The data path keeps to it without the agent, and while the agent starts again.
    bed.node.kill()?;
    let fresh = out.child("fresh")?;
    assert!(!redirected(&within(&bed, &fresh))?);
    let place = within(&bed, &fresh);
    let seen = thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            (0..40).try_fold(false, |seen, _| Ok::<_, anyhow::Error>(seen || redirected(&place)?))
        });
        bed.node.run()?;
        bed.node.wait_ready()?;
        watcher.join().expect("the watcher")
    })?;
    assert!(!seen, "an excluded cgroup was redirected during the restart");

    // Only what is included, and not what is excluded below.
    restart(
        &mut bed,
        &["--include-cgroup", "/mesh-t*-enrol/*", "--exclude-cgroup", "/mesh-t*-enrol/out/deep"],
    )?;
    for (cgroup, wanted) in [(&inside, true), (&out, true), (&fresh, true), (&deep, false)] {
        assert_eq!(redirected(&within(&bed, cgroup))?, wanted, "{}", cgroup.path().display());
    }
    assert!(!redirected(&bed.node.place())?, "not included");

    // Without flags everything is in again.
    restart(&mut bed, &[])?;
    for place in [bed.node.place(), within(&bed, &deep), within(&bed, &out)] {
        assert!(redirected(&place)?);
    }
    Ok(())
}

#[test]
fn network_namespaces_are_left_alone_or_taken_in() -> anyhow::Result<()> {
    let (mut bed, _servers) = shop("enrolns", &["--exclude-netns", "mesh-t*-enrolns"])?;
    assert!(!redirected(&bed.node.place())?, "excluded by its name");
    let said = bed.meshctl.ok(&["workloads"])?;
    assert!(said.stderr.contains(bed.netns.name()), "{}", said.stderr);
    restart(&mut bed, &["--include-netns", "mesh-t*-enrolns"])?;
    assert!(redirected(&bed.node.place())?, "included by its name");
    restart(&mut bed, &["--include-netns", "mesh-t*-other"])?;
    assert!(!redirected(&bed.node.place())?, "not included");
    restart(&mut bed, &["--exclude-netns", "mesh-t*-other"])?;
    assert!(redirected(&bed.node.place())?, "not excluded");
    Ok(())
}

#[test]
fn a_map_that_is_too_small_is_said_with_its_flag() -> anyhow::Result<()> {
    let limit = ["--exclude-cgroup", "/mesh-t*-enrolfew/*", "--max-cgroups", "2"];
    let (bed, _servers) = shop("enrolfew", &limit)?;
    let many = ["a", "b", "c"].map(|name| bed.node.cgroup().child(name));
    let many = many.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    eventually(|| {
        let status = bed.node.status().map_err(|error| error.to_string())?;
        let warnings = status["warnings"].to_string();
        let usage = status["maps"].as_array().into_iter().flatten();
        let full = usage.clone().any(|it| it["map"] == names::CGROUPS && it["entries"] == 2);
        if full && warnings.contains("2 cgroups") && warnings.contains("--max-cgroups") {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    // The first is out, the others are as their parent.
    let verdicts = many.iter().map(|cgroup| redirected(&within(&bed, cgroup)));
    assert_eq!(verdicts.collect::<anyhow::Result<Vec<_>>>()?, [false, true, true]);
    Ok(())
}

#[test]
fn a_bad_glob_is_refused_with_its_position() -> anyhow::Result<()> {
    let bed = Testbed::start("enrolbad")?;
    let mut command = bed.node.command("check")?;
    command.args(["--exclude-cgroup", "/a/[b"]);
    let said = mesh_tests::meshctl::run_command(command, &bed.node.place())?;
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("--exclude-cgroup"), "{}", said.stderr);
    assert!(said.stderr.contains("position 4"), "{}", said.stderr);
    Ok(())
}

#[test]
fn workloads_are_listed_by_the_control_plane() -> anyhow::Result<()> {
    let mut bed = Testbed::start_with("enrolls", &flags(&["--exclude-cgroup", "**/sshd.service"]))?;
    let nobody = bed.meshctl.run(&["workloads", "nobody"])?;
    assert_eq!(nobody.code, Some(4), "{}", nobody.stderr);
    assert!(nobody.stderr.contains("there is no node nobody"), "{}", nobody.stderr);

    let slice = bed.node.cgroup().child("system.slice")?;
    let nginx = slice.child("nginx.service")?;
    let sshd = slice.child("sshd.service")?;
    let lines = |bed: &Testbed, more: &[&str]| -> anyhow::Result<String> {
        let args: Vec<&str> = ["workloads", "-o", "name"].iter().chain(more).copied().collect();
        Ok(bed.meshctl.run(&args)?.stdout)
    };
    let wait_for = |bed: &Testbed, more: &[&str], line: &str, there: bool| {
        eventually(|| match lines(bed, more) {
            Ok(text) if text.lines().any(|it| it == line) == there => Ok(()),
            other => Err(format!("{line} ({there}) in {other:?}")),
        })
    };
    wait_for(&bed, &[], "enrolls/unit/nginx.service", true)?;
    wait_for(&bed, &["enrolls", "--enrolled=false"], "enrolls/unit/sshd.service", true)?;
    let inside = lines(&bed, &["--enrolled"])?;
    assert!(inside.contains("nginx") && !inside.contains("sshd"), "{inside}");
    assert!(!inside.contains("slice"), "a slice runs nothing: {inside}");

    let said = bed.meshctl.ok(&["workloads", "-o", "json"])?;
    let list: Value = serde_json::from_str(&said.stdout)?;
    assert_eq!(list[0]["connected"], true);
    let found = list[0]["workloads"].as_array().into_iter().flatten();
    let found = found.into_iter().find(|it| it["name"] == "sshd.service").expect("listed");
    assert_eq!(found["reason"], "--exclude-cgroup **/sshd.service", "{found}");
    assert_eq!(found["cgroupId"], sshd.id()?);
    let table = bed.meshctl.ok(&["workloads"])?.stdout;
    assert!(table.starts_with("NODE "), "{table}");

    // A control plane that has forgotten is told again.
    bed.control.restart()?;
    wait_for(&bed, &[], "enrolls/unit/nginx.service", true)?;
    // What has ended is no longer listed.
    drop(nginx);
    wait_for(&bed, &[], "enrolls/unit/nginx.service", false)?;
    // Without its agent the list is stale, and says so.
    bed.node.kill()?;
    eventually(|| match bed.meshctl.ok(&["workloads", "enrolls"]) {
        Ok(said) if said.stderr.contains("node enrolls went away") => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    drop((sshd, slice));
    Ok(())
}

#[test]
fn thousands_of_cgroups_are_followed() -> anyhow::Result<()> {
    const MANY: usize = 5000;

    let bed = Testbed::start_with("enrolmany", &flags(&["--exclude-cgroup", "/mesh-t*/many/x4*"]))?;
    let many = bed.node.cgroup().child("many")?;
    let folder = many.path().to_owned();
    let below = move || {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Files are no directories; whatever stays, the parent's end complains about.
            drop(fs::remove_dir(entry.path()));
        }
    };
    let guard = cleanup::on_exit(below);
    let start = Instant::now();
    for n in 0..MANY {
        fs::create_dir(many.path().join(format!("x{n}")))?;
    }
    let made = start.elapsed();
    let count = |args: &[&str]| -> anyhow::Result<usize> {
        let said = bed.meshctl.ok(args)?;
        Ok(said.stdout.lines().filter(|line| line.contains("/many/x")).count())
    };
    eventually(|| match count(&["workloads", "-o", "name"]) {
        Ok(MANY) => Ok(()),
        other => Err(format!("{other:?} of {MANY} listed")),
    })?;
    println!("{MANY} cgroups made in {made:?}, listed after {:?}", start.elapsed());
    // x4, x40 to x49, x400 to x499, x4000 to x4999.
    assert_eq!(count(&["workloads", "-o", "name", "--enrolled=false"])?, 1111);

    // How long the kernel does without an entry for a new cgroup, among so many.
    let map = MapData::from_pin(bed.node.map(names::CGROUPS))?;
    let verdicts: HashMap<_, CgroupKey, Verdict> = HashMap::try_from(Map::HashMap(map))?;
    let mut took = Vec::new();
    for n in 0..100 {
        let start = Instant::now();
        let new = many.child(&format!("x4-{n}"))?;
        let key = CgroupKey { id: new.id()? };
        while verdicts.get(&key, 0).is_err() {
            anyhow::ensure!(
                start.elapsed().as_secs() < 10,
                "no verdict for {}",
                new.path().display()
            );
            thread::yield_now();
        }
        took.push(start.elapsed().as_secs_f64() * 1e3);
        assert_eq!(verdicts.get(&key, 0)?, Verdict::OUT);
    }
    let took = Figures::new(took);
    let (half, most) = (took.median(), took.percentile(99));
    println!("verdict of a new cgroup: {half:.3} ms median, {most:.3} ms p99");

    drop(guard);
    eventually(|| match count(&["workloads", "-o", "name"]) {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?} still listed")),
    })
}
