//! The agent tells each change of a breaker and each ejection once, and takes ejected endpoints
//! out of the tables until their time is over.

use std::fs;

use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Plan, Traffic, probe};
use mesh_tests::wait::eventually;

const ECONNREFUSED: i64 = 111;
const EHOSTUNREACH: i64 = 113;
const STATE: &str = "mesh_agent_breaker_state";

fn start(what: &str, endpoints: &[&str], config: &str) -> anyhow::Result<Testbed> {
    let bed = Testbed::start(what)?;
    let mut manifest = Manifest::new().service("web", VIP, PORT).config("web", config);
    for (at, name) in (0..).map(backend).zip(endpoints) {
        manifest = manifest.endpoint("web", name, name, at);
    }
    bed.meshctl.apply(&manifest)?;
    Ok(bed)
}

/// The messages of the guards in the agent's log.
fn told(bed: &Testbed) -> anyhow::Result<Vec<String>> {
    let log = fs::read_to_string(bed.node.scratch().join("log"))?;
    Ok(log.lines().filter(|line| line.contains("mesh_agent::guard")).map(str::to_owned).collect())
}

/// How many lines say each of these.
fn count(lines: &[String], messages: &[&str]) -> Vec<usize> {
    let lines_with = |message: &&str| lines.iter().filter(|line| line.contains(*message)).count();
    messages.iter().map(lines_with).collect()
}

#[test]
fn a_breaker_opens_and_closes_and_each_step_is_told_once() -> anyhow::Result<()> {
    let config =
        "  circuitBreaker: {maxFailures: 3, window: 10s, resetTimeout: 1s, trialConnections: 1}\n";
    let bed = start("breaker", &["one"], config)?;
    let place = bed.node.place();
    for _ in 0..3 {
        assert_eq!(probe(&place, VIP, Mode::Greet)?["errno"], ECONNREFUSED);
    }
    assert_eq!(probe(&place, VIP, Mode::Greet)?["errno"], EHOSTUNREACH);
    let whole = [("service", "web"), ("port", "80"), ("endpoint", "service")];
    let metrics = bed.node.metrics()?;
    assert!((metrics.sum(STATE, &whole) - 1.0).abs() < 0.1, "open");
    let refused = metrics.sum("mesh_agent_guard_refused_total", &[("reason", "open")]);
    assert!((refused - 1.0).abs() < 0.1, "{refused}");

    let _servers = bed.serve(Mode::Greet, &["one"])?;
    eventually(|| match probe(&place, VIP, Mode::Greet) {
        Ok(seen) if seen["connected"] == true => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    let messages = [
        "3 failed connects within 10s: breaker open for 1s",
        "half-open: 1 trial",
        "closed: 1 trial succeeded",
    ];
    eventually(|| {
        let counts = count(&told(&bed).map_err(|it| it.to_string())?, &messages);
        if counts == [1, 1, 1] { Ok(()) } else { Err(format!("{counts:?}")) }
    })?;
    let lines = told(&bed)?;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines.iter().all(|it| it.contains("default") && it.contains("web")), "{lines:#?}");
    assert!(bed.node.metrics()?.sum(STATE, &whole).abs() < 0.1, "closed");
    Ok(())
}

#[test]
fn an_ejected_endpoint_gets_nothing_until_its_time_is_over() -> anyhow::Result<()> {
    let config = "  outlierDetection: {consecutiveFailures: 2, baseEjectionTime: 4s, maxEjectionTime: 10s, maxEjectionPercent: 50}\n";
    let bed = start("eject", &["one", "two"], config)?;
    let _one = bed.serve(Mode::Greet, &["one"])?;
    let place = bed.node.place();
    let run = |count| Traffic::run(&place, Plan::to(VIP, Mode::Greet), count);
    // Until it has had two, which are all that it gets.
    assert_eq!(run(100)?.failed(), 2);
    let draining = |bed: &Testbed| -> Result<bool, String> {
        let dump = bed.node.dump().map_err(|error| error.to_string())?;
        Ok(dump.lines().any(|line| line.starts_with("BACKEND ") && line.ends_with(" DRAINING")))
    };
    eventually(|| if draining(&bed)? { Ok(()) } else { Err("not taken out".to_owned()) })?;
    let ejected = bed.node.metrics()?.sum("mesh_agent_ejected_endpoints", &[]);
    assert!((ejected - 1.0).abs() < 0.1, "{ejected}");
    assert_eq!(run(100)?.failed(), 0);
    let dump = bed.node.dump()?;
    let guards: Vec<&str> = dump.lines().filter(|line| line.starts_with("GUARD ")).collect();
    assert_eq!(guards.len(), 3, "{dump}");
    assert!(guards.iter().any(|line| line.ends_with("s-left")), "{dump}");

    let two = [("two", std::net::SocketAddrV4::new(backend(1), PORT))];
    let place_of_two = mesh_tests::process::Place::in_netns(&bed.netns);
    let _two = mesh_tests::backend::Backends::start(&place_of_two, Mode::Greet, &two)?;
    eventually(|| if draining(&bed)? { Err("still out".to_owned()) } else { Ok(()) })?;
    let outcome = run(200)?;
    assert_eq!(outcome.failed(), 0);
    assert!(outcome.answered_by("two") > 50, "{:?}", outcome.by_backend());
    let lines = told(&bed)?;
    let messages = ["ejected for 4s (1. ejection): 2 failed connects in a row", "back"];
    assert_eq!(count(&lines, &messages), [1, 1], "{lines:#?}");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().all(|it| it.contains("two")), "{lines:#?}");
    Ok(())
}
