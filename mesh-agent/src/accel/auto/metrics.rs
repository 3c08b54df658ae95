//! What `acceleration: Auto` has decided, as metrics.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::judge::Cause;
use super::why::Why;
use crate::figure::signed;

/// Figures since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Looks at the connections of these services, where there were such services.
    pub looks: u64,
    /// Pairs of a client and a service that are granted now.
    pub granted: u64,
    /// Those with connections that are not, by reason.
    pub not_granted: BTreeMap<Why, u64>,
    /// How often one was.
    pub grants: u64,
    /// How often that ended.
    pub withdrawals: BTreeMap<Cause, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Adds them.
pub fn register(registry: &mut Registry, figures: &Figures) {
    let granted: Gauge = Gauge::default();
    granted.set(signed(figures.granted));
    registry.register(
        "mesh_agent_acceleration_auto_granted",
        "Pairs of a client's cgroup and a service with acceleration Auto that are accelerated",
        granted,
    );
    let not_granted = Family::<ReasonLabels, Gauge>::default();
    for why in Why::all() {
        let count = figures.not_granted.get(&why).copied().unwrap_or(0);
        not_granted.get_or_create(&ReasonLabels { reason: why.name() }).set(signed(count));
    }
    registry.register(
        "mesh_agent_acceleration_auto_not_granted",
        "Such pairs with connections that are not accelerated, by reason",
        not_granted,
    );
    let looks: Counter = Counter::default();
    looks.inc_by(figures.looks);
    registry.register(
        "mesh_agent_acceleration_auto_looks",
        "Looks at connections of services with acceleration Auto",
        looks,
    );
    let grants: Counter = Counter::default();
    grants.inc_by(figures.grants);
    registry.register(
        "mesh_agent_acceleration_auto_grants",
        "Times that such a pair was found fit for acceleration",
        grants,
    );
    let withdrawals = Family::<CauseLabels, Counter>::default();
    for (cause, name) in Cause::ALL {
        let count = figures.withdrawals.get(&cause).copied().unwrap_or(0);
        withdrawals.get_or_create(&CauseLabels { cause: name }).inc_by(count);
    }
    registry.register(
        "mesh_agent_acceleration_auto_withdrawals",
        "Times that this ended, by cause",
        withdrawals,
    );
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    fn rendered(figures: &Figures) -> String {
        let mut registry = Registry::default();
        register(&mut registry, figures);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn every_metric_and_every_reason_is_documented() {
        let page = include_str!("../../../../docs/metrics.md");
        let text = rendered(&Figures::default());
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let name = sample.split(['{', ' ']).next().unwrap();
            assert!(page.contains(&format!("`{name}")), "{name} is not in docs/metrics.md");
        }
        for why in Why::all() {
            let name = why.name();
            assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        }
    }

    #[test]
    fn every_cause_has_a_line() {
        let text = rendered(&Figures {
            looks: 9,
            granted: 2,
            not_granted: [(Why::Paused, 4), (Why::Sign(Cause::Bulk), 5)].into(),
            grants: 3,
            withdrawals: [(Cause::Window, 1)].into(),
        });
        for line in [
            "mesh_agent_acceleration_auto_looks_total 9",
            "mesh_agent_acceleration_auto_granted 2",
            "mesh_agent_acceleration_auto_grants_total 3",
            "mesh_agent_acceleration_auto_not_granted{reason=\"paused\"} 4",
            "mesh_agent_acceleration_auto_not_granted{reason=\"bulk\"} 5",
            "mesh_agent_acceleration_auto_not_granted{reason=\"not_chatty\"} 0",
            "mesh_agent_acceleration_auto_withdrawals_total{cause=\"window\"} 1",
            "mesh_agent_acceleration_auto_withdrawals_total{cause=\"blocking_client\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in {text}");
        }
    }
}
