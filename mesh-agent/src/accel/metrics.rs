//! What the self-test found and what goes past TCP, as metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Prepared;
use super::case::Outcome;
use super::judge::Acceleration;
use super::live::{Live, PATHS};
use crate::figure::signed;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CaseLabels {
    case: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    direction: &'static str,
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

/// Adds them. `on` where a service asks for acceleration and has it.
pub fn register(registry: &mut Registry, prepared: &Prepared, on: bool, live: &Live) {
    tried(registry, prepared);
    let active: Gauge = Gauge::default();
    active.set(i64::from(on));
    registry.register(
        "mesh_agent_acceleration_active",
        "1 while same-node acceleration is on, because a service asks for it",
        active,
    );
    let connections = Family::<PathLabels, Gauge>::default();
    let bytes = Family::<DirectionLabels, Gauge>::default();
    for (direction, figures) in [("sent", &live.sent), ("received", &live.received)] {
        for ((_, path), count) in PATHS.iter().zip(figures.paths) {
            connections.get_or_create(&PathLabels { direction, path }).set(signed(count));
        }
        bytes.get_or_create(&DirectionLabels { direction }).set(signed(figures.bytes));
    }
    registry.register(
        "mesh_agent_accelerated_connections",
        "Open connections whose ends have found each other, once for each direction by its way",
        connections,
    );
    registry.register(
        "mesh_agent_accelerated_open_bytes",
        "Payload bytes that went past TCP on connections that are open",
        bytes,
    );
}

fn tried(registry: &mut Registry, prepared: &Prepared) {
    let states = Family::<StateLabels, Gauge>::default();
    for state in Acceleration::STATES {
        let is = state == prepared.judgement.state();
        states.get_or_create(&StateLabels { state }).set(i64::from(is));
    }
    registry.register(
        "mesh_agent_acceleration",
        "1 for what this machine may do: same-node acceleration is usable, unusable or off",
        states,
    );
    let cases = Family::<CaseLabels, Gauge>::default();
    for verdict in &prepared.verdicts {
        let passed = match verdict.outcome {
            Outcome::Passed => 1,
            Outcome::Failed(_) => 0,
            Outcome::NotRun(_) => continue,
        };
        cases.get_or_create(&CaseLabels { case: verdict.case.name() }).set(passed);
    }
    registry.register(
        "mesh_agent_acceleration_selftest",
        "1 where a case of the self-test of same-node acceleration passed, 0 where it failed",
        cases,
    );
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;
    use crate::accel::case::{Case, Verdict};
    use crate::accel::live::Figures;

    #[test]
    fn cases_that_were_not_run_are_absent() {
        let verdict = |case, outcome| Verdict { case, outcome };
        let prepared = Prepared {
            layout: None,
            judgement: Acceleration::Unusable { because: "x".into() },
            verdicts: vec![
                verdict(Case::Redirect, Outcome::Passed),
                verdict(Case::HalfClose, Outcome::Failed("x".into())),
                verdict(Case::Peek, Outcome::NotRun("y".into())),
            ],
        };
        let mut registry = Registry::default();
        let sent = Figures { paths: [0, 2, 0, 1], bytes: 64 };
        let live = Live { connections: 3, sent, received: Figures::default() };
        register(&mut registry, &prepared, true, &live);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        for line in [
            "mesh_agent_acceleration_selftest{case=\"redirect\"} 1",
            "mesh_agent_acceleration_selftest{case=\"half_close\"} 0",
            "mesh_agent_acceleration{state=\"unusable\"} 1",
            "mesh_agent_acceleration{state=\"usable\"} 0",
            "mesh_agent_acceleration_active 1",
            "mesh_agent_accelerated_connections{direction=\"sent\",path=\"redirected\"} 2",
            "mesh_agent_accelerated_connections{direction=\"sent\",path=\"left\"} 1",
            "mesh_agent_accelerated_connections{direction=\"received\",path=\"none\"} 0",
            "mesh_agent_accelerated_open_bytes{direction=\"sent\"} 64",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in {text}");
        }
        assert!(!text.contains("peek"), "{text}");
    }
}
