//! What `mesh-agent check` tries of same-node acceleration, on this kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use mesh_tests::meshctl::{Said, run_command};
use mesh_tests::netns::NetNs;
use mesh_tests::node::Node;
use mesh_tests::testbed::{Testbed, namespace};

/// What concerns every program. These pass from Linux 6.13 on, where it is known how much a socket
/// has not read.
const NEEDED: [&str; 11] = [
    "redirect",
    "epoll_reader",
    "large_body",
    "half_close",
    "abrupt_close",
    "many_small_writes",
    "peek",
    "fionread",
    "zero_copy",
    "bounded",
    "switch_off",
];
/// What a kernel may or may not do.
const LIMITS: [&str; 3] = ["blocking_reader_after_half_close", "rcvlowat", "splice_reader"];

fn prepare(what: &str, flags: &[&str]) -> anyhow::Result<(Arc<NetNs>, Node)> {
    let netns = namespace(what)?;
    let node = Node::prepare(&netns, what, flags)?;
    Ok((netns, node))
}

/// The judgement, and what became of each case. A machine where it does not work can still run the
/// agent, and nothing stays of the attempt.
fn report(node: &Node) -> anyhow::Result<(String, BTreeMap<String, String>)> {
    let said = run_command(node.command("check")?, &node.place())?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!node.pins().exists(), "{said:?}");
    let judgement = said.stdout.lines().find_map(|line| line.strip_prefix("acceleration: "));
    let judgement = judgement.with_context(|| format!("no judgement: {said:?}"))?;
    Ok((judgement.to_owned(), cases(&said)))
}

fn cases(said: &Said) -> BTreeMap<String, String> {
    let lines = said.stdout.lines().filter_map(|line| line.strip_prefix("  "));
    let cases = lines.filter_map(|line| line.split_once(' '));
    cases.map(|(case, outcome)| (case.to_owned(), outcome.trim().to_owned())).collect()
}

#[test]
fn each_case_has_a_verdict() -> anyhow::Result<()> {
    let (_netns, node) = prepare("selftest", &[])?;
    let (judgement, cases) = report(&node)?;
    assert_eq!(cases.len(), NEEDED.len() + LIMITS.len(), "{cases:?}");
    for case in NEEDED {
        assert_eq!(cases.get(case).map(String::as_str), Some("passed"), "{case}: {cases:?}");
    }
    let mut failed = Vec::new();
    for case in LIMITS {
        let outcome = cases.get(case).unwrap_or_else(|| panic!("no {case}: {cases:?}"));
        if outcome != "passed" {
            assert!(outcome.starts_with("failed: "), "{case} {outcome}");
            failed.push(case);
        }
    }
    let expected = if failed.is_empty() {
        "usable".to_owned()
    } else {
        format!("usable, but for {}", failed.join(", "))
    };
    assert_eq!(judgement, expected);
    Ok(())
}

#[test]
fn without_loopback_it_stays_off() -> anyhow::Result<()> {
    let (netns, node) = prepare("nolo", &[])?;
    netns.ip(&["link set lo down"])?;
    let (judgement, cases) = report(&node)?;
    assert!(judgement.starts_with("not usable here: redirect not run: connect: "), "{judgement}");
    assert_eq!(cases.len(), NEEDED.len() + LIMITS.len(), "{cases:?}");
    assert!(cases.values().all(|outcome| outcome.starts_with("not run: ")), "{cases:?}");
    Ok(())
}

#[test]
fn switched_off_nothing_is_tried() -> anyhow::Result<()> {
    let (_netns, node) = prepare("accoff", &["--acceleration", "off"])?;
    let (judgement, cases) = report(&node)?;
    assert_eq!(judgement, "off (--acceleration off)");
    assert_eq!(cases, BTreeMap::new());
    Ok(())
}

#[test]
fn the_agent_says_so_in_its_metrics() -> anyhow::Result<()> {
    let bed = Testbed::start("accmet")?;
    let metrics = bed.node.metrics()?;
    let values = |name: &str, label: &str| -> BTreeMap<String, bool> {
        let samples = metrics.samples().iter().filter(|sample| sample.name == name);
        samples.map(|sample| (sample.labels[label].clone(), sample.value > 0.5)).collect()
    };
    let states = values("mesh_agent_acceleration", "state");
    let expected = [("usable", true), ("unusable", false), ("off", false)];
    assert_eq!(states, expected.map(|(state, is)| (state.to_owned(), is)).into());
    let cases = values("mesh_agent_acceleration_selftest", "case");
    assert_eq!(cases.len(), NEEDED.len() + LIMITS.len(), "{cases:?}");
    assert!(NEEDED.iter().all(|case| cases.get(*case) == Some(&true)), "{cases:?}");
    Ok(())
}
