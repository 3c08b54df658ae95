//! Health from the check to the connection: found by the agent or by the control plane, shared
//! out, and obeyed by the kernel's maps.

use std::thread;
use std::time::{Duration, Instant};

use mesh_tests::farm::{Farm, HEALTH, HEALTH_PORT};
use mesh_tests::guards::Guards;
use mesh_tests::load::{Mode, monotonic_ns};
use mesh_tests::testbed::VIP;
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

/// Checks of the second port, so that the first is only used by clients.
fn check(more: &str) -> String {
    format!(
        "  healthCheck: {{http: {{path: /}}, port: {HEALTH_PORT}, interval: 100ms, timeout: 90ms, \
         unhealthyThreshold: 2, healthyThreshold: 2}}\n{more}"
    )
}

/// What `meshctl health` says of an endpoint.
fn health(farm: &Farm, endpoint: &str) -> anyhow::Result<Value> {
    let said = farm.bed.meshctl.ok(&["health", "web", "-o", "json"])?;
    let found: Value = serde_json::from_str(&said.stdout)?;
    let endpoints = found["endpoints"].as_array().cloned().unwrap_or_default();
    Ok(endpoints.into_iter().find(|it| it["name"] == endpoint).unwrap_or_default())
}

/// Waits until `meshctl health` says so; `patience` is for what takes long on purpose.
fn wait_health(
    farm: &Farm,
    endpoint: &str,
    (status, source): (&str, &str),
    patience: Duration,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + patience;
    loop {
        let seen = health(farm, endpoint)?;
        if seen["status"] == status && seen["source"] == source {
            return Ok(seen);
        }
        anyhow::ensure!(Instant::now() < deadline, "not {status} by {source}: {seen}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A member's part of the new connections.
fn share(guards: &Guards, farm: &Farm, member: usize) -> anyhow::Result<f64> {
    let ip = farm.members[member].ip.into();
    Ok(guards.shares()?.get(&ip).copied().unwrap_or(0.0))
}

fn wait_share(
    guards: &Guards,
    farm: &Farm,
    member: usize,
    is: impl Fn(f64) -> bool,
) -> anyhow::Result<()> {
    eventually(|| match share(guards, farm, member) {
        Ok(share) if is(share) => Ok(()),
        other => Err(format!("member {member} has {other:?}")),
    })
}

fn fail(farm: &Farm, member: usize) -> anyhow::Result<()> {
    farm.members[member].tell(&format!("status {HEALTH} 503"))
}

fn mend(farm: &Farm, member: usize) -> anyhow::Result<()> {
    farm.members[member].tell(&format!("status {HEALTH} 200"))
}

const PATIENCE: Duration = Duration::from_secs(15);

/// One endpoint turns unhealthy and healthy again, under load, as `source` finds.
fn follows(farm: &Farm, guards: &Guards, source: &str) -> anyhow::Result<()> {
    let plan = Plan { pause: Duration::from_millis(1), ..Plan::to(VIP, Mode::Http) };
    let traffic = Traffic::start(&farm.bed.node.place(), plan)?;
    eventually(|| match traffic.answered_since("b0", 0) {
        0 => Err("b0 answers nobody".to_owned()),
        _ => Ok(()),
    })?;
    fail(farm, 0)?;
    wait_share(guards, farm, 0, |share| share <= 0.0)?;
    let gone = monotonic_ns();
    let seen = wait_health(farm, "b0", ("Unhealthy", source), PATIENCE)?;
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains("503")), "{seen}");
    wait_health(farm, "b1", ("Healthy", source), PATIENCE)?;
    traffic.wait_for(300, PATIENCE)?;
    assert_eq!(traffic.answered_since("b0", gone), 0);
    mend(farm, 0)?;
    let mended = monotonic_ns();
    eventually(|| match traffic.answered_since("b0", mended) {
        0..20 => Err("b0 is not back".to_owned()),
        _ => Ok(()),
    })?;
    wait_health(farm, "b0", ("Healthy", source), PATIENCE)?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    Ok(())
}

#[test]
fn agents_findings_are_obeyed_survive_the_control_plane_and_are_taken_over_from_a_dead_agent()
-> anyhow::Result<()> {
    let mut farm = Farm::start("health", 2, Mode::Http)?;
    farm.apply_checked(&check(""))?;
    let guards = farm.guards()?;
    follows(&farm, &guards, "agent health")?;

    // A control plane that starts anew makes nobody forget.
    fail(&farm, 0)?;
    wait_share(&guards, &farm, 0, |share| share <= 0.0)?;
    farm.bed.control.kill()?;
    farm.bed.control.restart()?;
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        assert!(share(&guards, &farm, 0)? <= 0.0, "forgotten");
        thread::sleep(Duration::from_millis(20));
    }
    wait_health(&farm, "b0", ("Unhealthy", "agent health"), PATIENCE)?;

    // Without an agent, after the time that it is given, the control plane looks itself.
    farm.bed.node.kill()?;
    wait_health(&farm, "b0", ("Unhealthy", "control-plane"), PATIENCE * 3)?;
    mend(&farm, 0)?;
    wait_health(&farm, "b0", ("Healthy", "control-plane"), PATIENCE)?;
    farm.bed.node.run()?;
    farm.bed.node.wait_ready()?;
    wait_health(&farm, "b0", ("Healthy", "agent health"), PATIENCE)?;
    wait_share(&guards, &farm, 0, |share| share > 0.4)
}

#[test]
fn control_plane_checks_endpoints_that_are_on_no_node() -> anyhow::Result<()> {
    let farm = Farm::start("health-none", 2, Mode::Http)?;
    farm.apply(&check(""))?;
    follows(&farm, &farm.guards()?, "control-plane")
}

#[test]
fn endpoint_that_turns_healthy_gets_its_share_step_by_step() -> anyhow::Result<()> {
    let farm = Farm::start("slow", 2, Mode::Http)?;
    // Random has slots as exact as the weights.
    farm.apply_checked(&check("  loadBalancer: {policy: Random, slowStart: 2s}\n"))?;
    let guards = farm.guards()?;
    wait_share(&guards, &farm, 0, |share| share > 0.4)?;
    fail(&farm, 0)?;
    wait_share(&guards, &farm, 0, |share| share <= 0.0)?;
    mend(&farm, 0)?;
    let mut steps: Vec<(Instant, f64)> = Vec::new();
    eventually(|| {
        let share = share(&guards, &farm, 0).map_err(|error| error.to_string())?;
        if share > 0.0 && steps.last().is_none_or(|(_, last)| (share - last).abs() > 1e-6) {
            steps.push((Instant::now(), share));
        }
        if share > 0.49 { Ok(()) } else { Err(format!("{steps:?}")) }
    })?;
    let shares: Vec<f64> = steps.iter().map(|(_, share)| *share).collect();
    println!("{shares:.3?}");
    assert!(shares.windows(2).all(|two| two[0] < two[1]), "{shares:?}");
    // A tenth against a whole one: 1/11. Some steps may be too short to be seen.
    assert!(shares[0] < 0.2, "{shares:?}");
    assert!(shares.len() >= 5, "{shares:?}");
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { unreachable!() };
    let took = last.0 - first.0;
    assert!(took >= Duration::from_secs(1), "{took:?}");
    Ok(())
}

#[test]
fn health_is_ignored_where_too_few_are_healthy() -> anyhow::Result<()> {
    let farm = Farm::start("panic", 3, Mode::Http)?;
    farm.apply_checked(&check("  loadBalancer: {policy: Random, panicThreshold: 50}\n"))?;
    let guards = farm.guards()?;
    fail(&farm, 0)?;
    // Two of three are above the threshold.
    wait_share(&guards, &farm, 0, |share| share <= 0.0)?;
    fail(&farm, 1)?;
    for member in 0..3 {
        wait_share(&guards, &farm, member, |share| share > 0.3)?;
    }
    for member in [0, 1] {
        let name = format!("b{member}");
        wait_health(&farm, &name, ("Unhealthy", "agent panic"), PATIENCE)?;
    }
    mend(&farm, 1)?;
    wait_share(&guards, &farm, 0, |share| share <= 0.0)?;
    wait_share(&guards, &farm, 1, |share| share > 0.4)
}
