//! Attachment that can be trusted: what the agent says of its programs is what they do, and what
//! is lost comes back.

use std::net::SocketAddrV4;
use std::process::Command;

use mesh_common::names;
use mesh_tests::backend::Backends;
use mesh_tests::foreign::{Act, Foreign};
use mesh_tests::load::Mode;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, backend};
use mesh_tests::traffic::probe;
use mesh_tests::wait::eventually;
use mesh_tests::{bins, bpftool, http, meshctl, node};
use serde_json::Value;

/// A node whose agent lives outside of the cgroup that it attaches to and tries often, with one
/// service and one backend.
fn bed(what: &str) -> anyhow::Result<(Testbed, Backends)> {
    let mut bed = Testbed::start_with(what, &[&SMALL[..], &["--canary-interval", "1"]].concat())?;
    bed.node.stop()?;
    bed.node.run_outside()?;
    bed.node.wait_ready()?;
    let servers = bed.serve(Mode::Greet, &["v1"])?;
    bed.apply_split(&[("v1", 1)])?;
    Ok((bed, servers))
}

fn served(bed: &Testbed) -> anyhow::Result<()> {
    let seen = probe(&bed.node.place(), VIP, Mode::Greet)?;
    assert_eq!(seen["name"], "v1", "{seen}");
    Ok(())
}

/// `/status` and the readiness beside it.
fn status(bed: &Testbed) -> anyhow::Result<(Value, bool)> {
    let ready = http::get(&bed.netns, node::HTTP, "/healthz/ready")?.0 == 200;
    Ok((bed.node.status()?, ready))
}

/// Waits until the status is as it should be; the last one is part of the complaint.
fn wait_for(bed: &Testbed, what: &str, good: impl Fn(&Value, bool) -> bool) -> anyhow::Result<()> {
    eventually(|| match status(bed) {
        Ok((status, ready)) if good(&status, ready) => Ok(()),
        seen => Err(format!("not {what}: {seen:?}{}", bed.node.tail())),
    })
}

fn row<'a>(status: &'a Value, program: &str) -> &'a Value {
    let rows = status["programs"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().find(|row| row["program"] == program).unwrap_or(&Value::Null)
}

fn all(status: &Value, good: impl Fn(&Value) -> bool) -> bool {
    names::PROGRAMS.into_iter().all(|program| good(row(status, program)))
}

fn is_healthy(status: &Value, ready: bool) -> bool {
    let good = |row: &Value| {
        row["attached"] == true && row["effective"] == true && row["fires"]["state"] == "yes"
    };
    ready && status["ready"] == true && all(status, good)
}

fn wait_healthy(bed: &Testbed) -> anyhow::Result<()> {
    wait_for(bed, "healthy", is_healthy)
}

#[test]
fn healthy_programs_are_attached_effective_and_fire_in_both_families() -> anyhow::Result<()> {
    let (bed, _servers) = bed("healthy")?;
    let (status, ready) = status(&bed)?;
    assert!(is_healthy(&status, ready), "{status}");
    assert_eq!(status["foreign"], serde_json::json!([]), "{status}");
    let metrics = bed.node.metrics()?;
    for program in names::PROGRAMS {
        for metric in ["mesh_bpf_attached", "mesh_bpf_effective", "mesh_bpf_fires"] {
            let found = metrics.sum(metric, &[("program", program)]);
            assert!((found - 1.0).abs() < 0.1, "{metric} {program}: {found}");
        }
    }
    let mut command = Command::new(bins::workspace("mesh-agent")?);
    command.args(["status", "--http", &node::HTTP.to_string()]);
    let said = meshctl::run_command(command, &Place::in_netns(&bed.netns))?;
    assert_eq!(said.code, Some(0), "{said:?}");
    let line = said.stdout.lines().find(|line| line.starts_with(names::CONNECT6)).unwrap_or("");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words.get(1..4), Some(&["yes", "yes", "yes"][..]), "{}", said.stdout);

    // The canary is nobody's: not in the dump, not in the connections, not among the reasons.
    assert!(!bed.node.dump()?.contains("192.0.0.8"));
    assert!(metrics.sum("istio_tcp_connections_opened_total", &[]) < 0.5);
    let refused = [("reason", "no_backend_refused")];
    assert!(metrics.sum("mesh_bpf_exits_total", &refused) < 0.5);
    Ok(())
}

#[test]
fn a_cgroup_that_is_removed_and_made_again_is_attached_again() -> anyhow::Result<()> {
    let (mut bed, _servers) = bed("again")?;
    served(&bed)?;
    bed.node.cgroup().remove();
    assert!(!bed.node.cgroup().path().exists());
    wait_for(&bed, "unready without its cgroup", |status, ready| {
        !ready && all(status, |row| row["attached"] == false && row["effective"] == false)
    })?;
    bed.node.cgroup_mut().restore()?;
    wait_healthy(&bed)?;
    served(&bed)
}

#[test]
fn a_change_made_while_nothing_is_attached_is_live_afterwards() -> anyhow::Result<()> {
    let (mut bed, _servers) = bed("meanwhile")?;
    bed.node.cgroup().remove();
    wait_for(&bed, "unready", |_, ready| !ready)?;
    let moved = SocketAddrV4::new(backend(7), PORT);
    let _moved = Backends::start(&Place::in_netns(&bed.netns), Mode::Greet, &[("moved", moved)])?;
    let manifest =
        mesh_tests::manifest::Manifest::new().endpoint("web", "web-v1", "v1", backend(7));
    let file = bed.meshctl.file(&manifest)?;
    let said = bed.meshctl.run(&["apply", "-f", &file])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    bed.node.cgroup_mut().restore()?;
    wait_healthy(&bed)?;
    eventually(|| match probe(&bed.node.place(), VIP, Mode::Greet) {
        Ok(seen) if seen["name"] == "moved" => Ok(()),
        seen => Err(format!("{seen:?}")),
    })?;
    // And the control plane hears of it, a moment later.
    eventually(|| match bed.meshctl.apply(&manifest) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error}{}", bed.node.tail())),
    })
}

#[test]
fn a_link_that_is_detached_or_unpinned_comes_back() -> anyhow::Result<()> {
    let (bed, _servers) = bed("detached")?;
    let link = |program: &str| bed.node.pins().join("links").join(program);
    let before = bpftool::program_of_link(&link(names::CONNECT4))?;
    bpftool::call(&["link", "detach", "pinned", &link(names::CONNECT4).to_string_lossy()])?;
    wait_healthy_after(&bed, names::CONNECT4)?;
    assert_eq!(bpftool::program_of_link(&link(names::CONNECT4))?, before, "another program");
    served(&bed)?;

    for program in [names::SOCKOPS, names::SENDMSG6] {
        std::fs::remove_file(link(program))?;
    }
    eventually(|| {
        let back = [names::SOCKOPS, names::SENDMSG6].iter().all(|program| link(program).exists());
        if back { Ok(()) } else { Err("not pinned again".to_owned()) }
    })?;
    wait_healthy(&bed)?;
    served(&bed)?;
    // Once each, not twice.
    let shown = bpftool::call(&["cgroup", "show", &bed.node.cgroup().path().to_string_lossy()])?;
    assert_eq!(shown.matches("mesh_").count(), names::PROGRAMS.len(), "{shown}");
    Ok(())
}

/// Waits until a link that has just been lost is there again.
fn wait_healthy_after(bed: &Testbed, program: &str) -> anyhow::Result<()> {
    let pin = bed.node.pins().join("links").join(program);
    eventually(|| {
        let link = bpftool::json(&["link", "show", "pinned", &pin.to_string_lossy()]);
        match link {
            Ok(link) if link["cgroup_id"].as_u64().unwrap_or(0) != 0 => Ok(()),
            other => Err(format!("still detached: {other:?}")),
        }
    })?;
    wait_healthy(bed)
}

/// Whether the status lists a foreign program at this place.
fn lists(status: &Value, name: &str, position: &str) -> bool {
    let foreign = status["foreign"].as_array().map_or(&[][..], Vec::as_slice);
    foreign
        .iter()
        .any(|it| it["name"] == name && it["position"] == position && it["hook"] == "connect4")
}

#[test]
fn a_program_of_others_that_refuses_is_named_and_fails_the_canary() -> anyhow::Result<()> {
    let (bed, _servers) = bed("refuses")?;
    let cgroup = bed.node.cgroup().path().to_owned();
    let refuser = Foreign::load("t_refuse", Act::Refuse)?;
    refuser.attach(&cgroup, &["multi"])?;
    wait_for(&bed, "unready with a program that refuses", |status, ready| {
        let fires = &row(status, names::CONNECT4)["fires"];
        let reason = fires["reason"].as_str().unwrap_or_default();
        !ready
            && lists(status, "t_refuse", "after")
            && fires["state"] == "no"
            && reason.contains("Operation not permitted")
            && row(status, names::CONNECT4)["effective"] == true
            && row(status, names::CONNECT6)["fires"]["state"] == "yes"
    })?;
    let labels = [("program", "t_refuse"), ("hook", "connect4")];
    assert!(bed.node.metrics()?.sum("mesh_bpf_foreign_programs", &labels) > 0.5);
    assert_eq!(probe(&bed.node.place(), VIP, Mode::Greet)?["errno"], 1);

    refuser.detach(&cgroup)?;
    wait_healthy(&bed)?;
    wait_for(&bed, "free of others", |status, _| status["foreign"] == serde_json::json!([]))?;
    served(&bed)
}

#[test]
fn a_program_of_others_that_rewrites_has_the_last_word_and_is_named() -> anyhow::Result<()> {
    let (bed, _servers) = bed("rewrites")?;
    let cgroup = bed.node.cgroup().path().to_owned();
    let elsewhere = SocketAddrV4::new(backend(9), PORT);
    let _elsewhere =
        Backends::start(&Place::in_netns(&bed.netns), Mode::Greet, &[("elsewhere", elsewhere)])?;
    // It runs after ours, in the same cgroup: it sees the backend, and takes it elsewhere.
    let thief = Foreign::load("t_rewrite", Act::Rewrite(backend(0), elsewhere))?;
    thief.attach(&cgroup, &["multi"])?;
    wait_for(&bed, "aware", |status, ready| ready && lists(status, "t_rewrite", "after"))?;
    assert_eq!(probe(&bed.node.place(), VIP, Mode::Greet)?["name"], "elsewhere");
    thief.detach(&cgroup)?;
    wait_for(&bed, "free of others", |status, _| status["foreign"] == serde_json::json!([]))?;
    served(&bed)?;

    // One that takes what every connection needs fails the canary.
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    let thief = Foreign::load("t_loopback", Act::Rewrite(loopback, elsewhere))?;
    thief.attach(&cgroup, &["multi"])?;
    wait_for(&bed, "unready", |status, ready| {
        !ready && row(status, names::CONNECT4)["fires"]["state"] == "no"
    })?;
    thief.detach(&cgroup)?;
    wait_healthy(&bed)?;
    served(&bed)
}

#[test]
fn a_program_below_ours_does_not_replace_it_whatever_its_flags() -> anyhow::Result<()> {
    let (bed, _servers) = bed("below")?;
    let child = bed.node.cgroup().child("child")?;
    let place = Place::in_netns(&bed.netns).and_cgroup(&child);
    let elsewhere = SocketAddrV4::new(backend(9), PORT);
    let _elsewhere =
        Backends::start(&Place::in_netns(&bed.netns), Mode::Greet, &[("elsewhere", elsewhere)])?;
    for flags in [&["multi"][..], &["override"], &[]] {
        // It runs before ours: what it leaves alone we redirect, also in its cgroup …
        let innocent = Foreign::load("t_innocent", Act::Rewrite(backend(3), elsewhere))?;
        innocent.attach(child.path(), flags)?;
        wait_for(&bed, "aware", |status, ready| ready && lists(status, "t_innocent", "before"))?;
        let seen = probe(&place, VIP, Mode::Greet)?;
        assert_eq!(seen["name"], "v1", "{flags:?}: {seen}");
        innocent.detach(child.path())?;

        // … what it sends elsewhere we never see as ours, only in its cgroup …
        let thief = Foreign::load("t_hides", Act::Rewrite(*VIP.ip(), elsewhere))?;
        thief.attach(child.path(), flags)?;
        wait_for(&bed, "aware", |status, ready| ready && lists(status, "t_hides", "before"))?;
        assert_eq!(probe(&place, VIP, Mode::Greet)?["name"], "elsewhere", "{flags:?}");
        served(&bed)?;
        thief.detach(child.path())?;

        // … and what it refuses stays refused.
        let refuser = Foreign::load("t_refuse", Act::Refuse)?;
        refuser.attach(child.path(), flags)?;
        assert_eq!(probe(&place, VIP, Mode::Greet)?["errno"], 1, "{flags:?}");
        served(&bed)?;
        refuser.detach(child.path())?;
    }
    Ok(())
}

#[test]
fn one_cgroup_takes_others_beside_a_link_only_with_multi() -> anyhow::Result<()> {
    let (bed, _servers) = bed("flags")?;
    let refuser = Foreign::load("t_refuse", Act::Refuse)?;
    for flags in [&["override"][..], &[]] {
        let outcome = refuser.attach(bed.node.cgroup().path(), flags);
        assert!(outcome.is_err(), "{flags:?} was let in beside a link");
        served(&bed)?;
    }
    Ok(())
}

#[test]
fn uninstalling_ends_a_running_agent_and_nothing_comes_back() -> anyhow::Result<()> {
    let (mut bed, _servers) = bed("gone")?;
    let said = bed.node.uninstall()?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(!bed.node.pins().exists());
    assert!(bed.node.wait_end()?, "an agent that was uninstalled ends well");
    assert!(!bed.node.pins().exists(), "put back");
    let shown = bpftool::call(&["cgroup", "show", &bed.node.cgroup().path().to_string_lossy()])?;
    assert!(!shown.contains("mesh_"), "{shown}");

    bed.node.run_outside()?;
    bed.node.wait_ready()?;
    wait_healthy(&bed)?;
    served(&bed)
}

#[test]
fn a_canary_leaves_nothing_also_when_its_agent_is_killed() -> anyhow::Result<()> {
    let (mut bed, _servers) = bed("traceless")?;
    let cgroup = bed.node.cgroup().path().to_owned();
    let left = || -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&cgroup)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("mesh-canary-") {
                names.push(name);
            }
        }
        Ok(names)
    };
    for _ in 0..5 {
        // At some moment of some trial.
        bed.node.run_outside()?;
        eventually(|| match left() {
            Ok(names) if names.is_empty() => Err("no trial".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })?;
        bed.node.kill()?;
        eventually(|| match left() {
            Ok(names) if names.is_empty() => Ok(()),
            names => Err(format!("left: {names:?}")),
        })?;
    }
    // Both killed: the next agent takes the cgroup away.
    std::fs::create_dir(cgroup.join("mesh-canary-4194305"))?;
    bed.node.run_outside()?;
    bed.node.wait_ready()?;
    assert_eq!(left()?, Vec::<String>::new());
    served(&bed)
}
