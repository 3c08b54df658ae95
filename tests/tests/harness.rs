//! The harness itself, without a mesh: a test that measures with a broken ruler proves nothing.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mesh_tests::backend::Backends;
use mesh_tests::cgroup::Cgroup;
use mesh_tests::load::{Mode, monotonic_ns};
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, VIP, VIP6, backend, backend6, mapped, namespace};
use mesh_tests::traffic::{Flows, Plan, Traffic, probe};
use mesh_tests::wait::eventually;
use mesh_tests::{nginx, stats, ui};

#[test]
fn traffic_reaches_the_backend_it_was_sent_to_and_failures_are_recorded() -> anyhow::Result<()> {
    let netns = namespace("harness")?;
    let place = Place::in_netns(&netns);
    let [one, two] = [0, 1].map(|n| SocketAddrV4::new(backend(n), PORT));
    let servers = Backends::start(&place, Mode::Greet, &[("one", one), ("two", two)])?;

    let plan = Plan { concurrency: NonZeroU32::new(4).unwrap(), ..Plan::to(two, Mode::Greet) };
    let outcome = Traffic::run(&place, plan, 2_000)?;
    assert_eq!(outcome.answered_by("two"), 2_000);
    assert_eq!(outcome.failed(), 0);
    assert_eq!(outcome.sent, 0);
    assert!(outcome.received > 2_000 * 4);

    let seen = probe(&place, one, Mode::Greet)?;
    assert_eq!(seen["name"], "one");
    assert_eq!(seen["peer"], one.to_string());

    let traffic = Traffic::start(&place, Plan::to(one, Mode::Greet))?;
    traffic.wait_for(500, Duration::from_secs(10))?;
    drop(servers);
    traffic.wait_for(10, Duration::from_secs(10))?;
    let outcome = traffic.stop()?;
    let refused = refused_or_reset(&outcome.failures());
    assert!(refused > 0, "{:?}", outcome.failures());
    Ok(())
}

/// ECONNREFUSED (111) or ECONNRESET (104), as the dying server leaves them.
fn refused_or_reset(failures: &std::collections::BTreeMap<&str, u64>) -> u64 {
    ["111", "104"].iter().filter_map(|errno| failures.get(errno)).sum()
}

#[test]
fn processes_start_inside_their_cgroup_and_nothing_remains() -> anyhow::Result<()> {
    let netns = namespace("harness-cg")?;
    let cgroup = Cgroup::create("harness")?;
    let place = Place::in_netns(&netns).and_cgroup(&cgroup);
    let address = SocketAddrV4::new(backend(0), PORT);
    let servers = Backends::start(&place, Mode::Http, &[("one", address)])?;
    let procs = fs::read_to_string(cgroup.path().join("cgroup.procs"))?;
    assert_eq!(procs.trim(), servers.id().to_string());
    let outcome = Traffic::run(&place, Plan::to(address, Mode::Http), 200)?;
    assert_eq!(outcome.answered_by("one"), 200);

    let process = format!("/proc/{}", servers.id());
    let folder = cgroup.path().to_path_buf();
    let name = Path::new("/run/netns").join(netns.name());
    assert!(name.exists());
    drop((place, servers, cgroup, netns));
    for left in [Path::new(&process), &folder, &name] {
        assert!(!left.exists(), "{} remains", left.display());
    }
    Ok(())
}

#[test]
fn nginx_answers_with_its_version_where_it_is_installed() -> anyhow::Result<()> {
    let netns = namespace("harness-ngx")?;
    let Some(program) = nginx::program() else {
        // The demo says so as well, and uses the built-in server: there is nothing to test.
        ui::note("nginx is not installed: nothing to test");
        return Ok(());
    };
    let address = SocketAddrV4::new(backend(0), PORT);
    let _server = nginx::Nginx::start(&program, &netns, "v1", address)?;
    let plan = Plan::to(address, Mode::Http);
    let outcome = Traffic::run(&Place::in_netns(&netns), plan, 500)?;
    assert_eq!(outcome.answered_by("v1"), 500, "{:?}", outcome.failures());
    let figures = outcome.records.iter().map(|r| stats::millis(r.duration_ns));
    println!("p50 {:.3} ms", stats::Figures::new(figures.collect()).median());
    Ok(())
}

#[test]
fn every_mode_and_family_is_exact_without_a_mesh() -> anyhow::Result<()> {
    let netns = namespace("harness-all")?;
    let place = Place::in_netns(&netns);
    for mode in [Mode::Greet, Mode::Ping, Mode::Udp, Mode::UdpSendto] {
        let v4 = SocketAddr::new(backend(0).into(), PORT);
        let v6 = SocketAddr::new(backend6(0).into(), PORT);
        let _servers = Backends::start(&place, mode, &[("four", v4), ("six", v6)])?;
        for (target, name) in [(v4, "four"), (v6, "six"), (mapped(v4), "four")] {
            let outcome = Traffic::run(&place, Plan::to(target, mode), 50)?;
            assert_eq!(outcome.answered_by(name), 50, "{mode:?} {target}: {outcome:?}");
            let seen = probe(&place, target, mode)?;
            assert_eq!(seen["peer"], target.to_string(), "{mode:?}: {seen}");
            assert_eq!(seen["name"], name, "{mode:?}: {seen}");
        }
        // Nobody listens there, and no route leads to the services' addresses.
        let plan = Plan::to(SocketAddr::new(backend(1).into(), PORT), Mode::Greet);
        assert_eq!(Traffic::run(&place, plan, 3)?.failures().get("111"), Some(&3));
        for nowhere in [SocketAddr::from(VIP), VIP6.into(), mapped(VIP.into())] {
            let outcome = Traffic::run(&place, Plan::to(nowhere, mode), 3)?;
            assert_eq!(outcome.failures().get("101"), Some(&3), "{mode:?} {nowhere}: {outcome:?}");
        }
    }
    Ok(())
}

#[test]
fn lasting_sockets_keep_their_peer_and_get_over_its_end() -> anyhow::Result<()> {
    let netns = namespace("harness-flow")?;
    let place = Place::in_netns(&netns);
    let [one, two] = [0, 1].map(|n| SocketAddr::new(backend(n).into(), PORT));
    for mode in [Mode::Ping, Mode::Udp, Mode::UdpSendto] {
        let servers = [("one", one), ("two", two)];
        let running = Backends::start(&place, mode, &servers)?;
        let flows = Flows {
            // In one mode all of them share a socket, which has one family.
            targets: vec![if mode == Mode::UdpSendto { mapped(one) } else { one }, mapped(two)],
            flows: NonZeroU32::new(2).unwrap(),
            patience: Duration::from_millis(200),
            ..Flows::to(one, mode)
        };
        let traffic = Traffic::flows(&place, &flows)?;
        traffic.wait_for(200, Duration::from_secs(10))?;
        let healthy = traffic.peek();
        assert_eq!(healthy.failed(), 0, "{mode:?}: {:?}", healthy.failures());
        for ((flow, target), names) in healthy.names_by_flow() {
            let expected = if target == 0 { "one" } else { "two" };
            assert_eq!(names, [Arc::from(expected)], "{mode:?} flow {flow}");
        }
        drop(running);
        eventually(|| match traffic.peek().failed() {
            0 => Err(format!("{mode:?}: the end of the servers was not seen")),
            _ => Ok(()),
        })?;
        let _running = Backends::start(&place, mode, &servers)?;
        let back = monotonic_ns();
        eventually(|| match traffic.peek().between(back, u64::MAX).answered_by("two") {
            0 => Err(format!("{mode:?}: no answer from the new server")),
            _ => Ok(()),
        })?;
        traffic.stop()?;
    }
    Ok(())
}
