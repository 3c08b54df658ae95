//! What agent and control plane expose is what docs/metrics.md says, no more and no less.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_agent::accel::Prepared;
use mesh_agent::accel::auto;
use mesh_agent::accel::case::{Case, Outcome, Verdict};
use mesh_agent::accel::judge::Acceleration;
use mesh_agent::bpf::attach::LinkStatus;
use mesh_agent::bpf::effective::{Foreign, HookStatus, Position};
use mesh_agent::canary::verdict::Fires;
use mesh_agent::edges::{Row, Source};
use mesh_agent::guard;
use mesh_agent::guard::states::Phase;
use mesh_agent::guard::tally::{Port, Refused};
use mesh_agent::health::metrics::Figures;
use mesh_agent::http::ProgramStatus;
use mesh_agent::ledger::Account;
use mesh_agent::proxy::follow::Known;
use mesh_agent::report;
use mesh_agent::telemetry;
use mesh_agent::worker::Stats;
use mesh_agent::xds::client::Line;
use mesh_api::model::Health;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::refusal::RefusalCounters;
use mesh_control::health::aggregate::Counts;
use mesh_control::metrics::Metrics as Control;
use mesh_control::telemetry::Collect as _;
use mesh_control::telemetry::collector::{Change, EdgeId, NodeId};
use mesh_control::telemetry::counts::Counts as Growth;
use mesh_control::telemetry::edge::{Edge, Reporter};
use mesh_control::world::World;
use mesh_control::xds::{ClientKind, Load};
use mesh_health::checker::Status;

use super::Metrics;
use super::catalogue::{Catalogue, Metric, Who, breaches, documented, exposed};

#[test]
fn sums_by_labels() {
    let text = "# HELP x y\nx_total{a=\"1\",b=\"2\"} 3\nx_total{a=\"1\",b=\"3\"} 4\nup 1\n# EOF\n";
    let metrics = Metrics::parse(text);
    assert!((metrics.sum("x_total", &[("a", "1")]) - 7.0).abs() < f64::EPSILON);
    assert!((metrics.sum("x_total", &[("b", "3")]) - 4.0).abs() < f64::EPSILON);
    assert!((metrics.sum("up", &[]) - 1.0).abs() < f64::EPSILON);
}

/// Differences, one a line; both catalogues are long.
fn differences(exposed: &Catalogue, documented: &Catalogue) -> String {
    let names: BTreeSet<&String> = exposed.keys().chain(documented.keys()).collect();
    let differs = |name: &&&String| exposed.get(**name) != documented.get(**name);
    let line = |name: &&String| {
        format!(
            "{name}: exposed {:?}, documented {:?}\n",
            exposed.get(*name),
            documented.get(*name)
        )
    };
    names.iter().filter(differs).map(line).collect()
}

fn check(text: &str, who: Who) {
    let (exposed, documented) = (exposed(text), documented(who).unwrap());
    assert!(documented.len() > 20, "{documented:?}");
    assert_eq!(differences(&exposed, &documented), "");
    assert_eq!(breaches(&documented), Vec::<String>::new());
}

/// One of everything that an agent can show.
fn agent() -> String {
    let service: mesh_api::model::ObjectName = "default/web".parse().unwrap();
    let account = Account::of_service(service.clone());
    let row = Row { failures: [1, 0, 0, 0], ..Row::default() };
    let stats = Stats {
        totals: [(account.clone(), BackendCounters::default())].into(),
        edges: [((Source::Unknown, account.clone()), row)].into(),
        without_backend: [(account.clone(), ServiceCounters::default())].into(),
        refusals: [((Source::Unknown, account), RefusalCounters::ZERO)].into(),
        reasons: vec![("torn", 1)],
        usage: vec![("conns", 1, 2)],
        settled: true,
        ..Stats::default()
    };
    let now = tokio::time::Instant::now();
    let web = Status {
        health: Some(Health::Healthy),
        reason: String::new(),
        since: now,
        latency: None,
        checked: None,
    };
    let health =
        Figures::new(mesh_health::metrics::Metrics::default(), vec![(service.clone(), web)]);
    let port: Port = (service, 80);
    let guards = guard::stats::Stats {
        breakers: [((port.clone(), "one".to_owned()), Phase::Open)].into(),
        loads: [(port.clone(), (3, 1))].into(),
        refused: [(port.clone(), Refused::default())].into(),
        skipped: [((port, "one".parse().unwrap()), 5)].into(),
        ..guard::stats::Stats::default()
    };
    let verdict = Verdict { case: Case::Redirect, outcome: Outcome::Passed };
    let prepared = Prepared { layout: None, judgement: Acceleration::Off, verdicts: vec![verdict] };
    let link = LinkStatus {
        program: "mesh_connect4".to_owned(),
        attached: true,
        program_id: 1,
        cgroup_id: 1,
    };
    let hook = HookStatus { link, effective: true, runs: 1 };
    let foreign = Foreign {
        hook: "connect4".to_owned(),
        id: 7,
        name: "other".to_owned(),
        position: Position::Before,
        cgroup: "/".into(),
    };
    let proxy = Known { wanted: true, ..Known::default() };
    telemetry::render(
        &stats,
        &health,
        &guards,
        (&prepared, &auto::metrics::Figures::default()),
        (&Line::default(), &report::metrics::Figures::default(), &proxy),
        &[ProgramStatus { hook, fires: Fires::Yes }],
        &[foreign],
    )
    .unwrap()
}

#[test]
fn the_agent_exposes_what_is_documented_and_nothing_else() {
    check(&agent(), Who::Agent);
}

#[test]
fn the_control_plane_exposes_what_is_documented_and_nothing_else() {
    let metrics = Control::new();
    metrics.observe_world(&World::default());
    metrics.health.observe(Counts::default(), 0);
    let change = Change {
        id: EdgeId(1),
        edge: Arc::new(Edge { reporter: Reporter::Source, ..Edge::default() }),
        growth: Growth { opened: 1, ..Growth::default() },
    };
    metrics.telemetry.services.collect(NodeId(1), &[change]);
    let loads = [("shop/web".parse().unwrap(), Load::default())].into();
    metrics.loads.reported(ClientKind::Envoy, &loads, &mut BTreeMap::new());
    check(&metrics.encode().unwrap(), Who::ControlPlane);
}

#[test]
fn breaches_of_the_rules_are_found() {
    let metric = |kind: &str, labels: &[&str], unit| Metric {
        kind: kind.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        unit,
    };
    for (name, metric) in [
        ("mesh_agent_good", metric("counter", &[], None)),
        ("mesh_agent_good_total", metric("gauge", &[], None)),
        ("mesh_cp_good", metric("gauge", &[], None)),
        ("mesh_agent_late_ms", metric("gauge", &[], None)),
        ("mesh_agent_late", metric("histogram", &[], Some("seconds"))),
        ("mesh_agent_good", metric("gauge", &["client_ip"], None)),
        ("mesh_agent_good", metric("stateset", &[], None)),
    ] {
        let catalogue = Catalogue::from([(name.to_owned(), metric.clone())]);
        assert!(!breaches(&catalogue).is_empty(), "{name} {metric:?}");
    }
    let good = metric("histogram", &["kind"], Some("seconds"));
    let good = Catalogue::from([("mesh_agent_late_seconds".to_owned(), good)]);
    assert_eq!(breaches(&good), Vec::<String>::new());
}
