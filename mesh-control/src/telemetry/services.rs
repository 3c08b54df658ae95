//! Traffic by service as metrics of the control plane, for those who scrape only that. What agents
//! say at their own `/metrics` has more labels.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Collect;
use super::collector::{Change, NodeId};
use super::counts::Counts;
use super::edge::{OTHER, Reporter};

/// Most services with labels of their own; the others are one, [`OTHER`].
const MAX_SERVICES: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    namespace: String,
    service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    namespace: String,
    service: String,
    outcome: &'static str,
}

/// What clients' nodes have reported since this control plane has heard of them.
#[derive(Clone, Debug, Default)]
pub struct ServiceMetrics {
    services: Arc<Mutex<HashSet<ServiceLabel>>>,
    connections: Family<OutcomeLabel, Counter>,
    sent: Family<ServiceLabel, Counter>,
    received: Family<ServiceLabel, Counter>,
}

impl ServiceMetrics {
    /// Adds them to a registry.
    pub fn register(&self, to: &mut Registry) {
        let it = self.connections.clone();
        let help = "Connections that clients opened, closed, failed to open, were refused, or made \
                    past the mesh";
        to.register("mesh_control_traffic_connections", help, it);
        let it = self.sent.clone();
        to.register("mesh_control_traffic_sent_bytes", "Payload that clients sent", it);
        let it = self.received.clone();
        to.register("mesh_control_traffic_received_bytes", "Payload that clients received", it);
    }

    /// The label of a service, or of all that are too many.
    fn label(&self, namespace: &str, service: &str) -> ServiceLabel {
        let label = ServiceLabel { namespace: namespace.to_owned(), service: service.to_owned() };
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.contains(&label) {
            return label;
        }
        if services.len() < MAX_SERVICES {
            services.insert(label.clone());
            return label;
        }
        ServiceLabel { namespace: String::new(), service: OTHER.to_owned() }
    }
}

impl Collect for ServiceMetrics {
    fn collect(&self, _: NodeId, changes: &[Change]) {
        for change in changes.iter().filter(|it| it.edge.reporter == Reporter::Source) {
            let service = self.label(&change.edge.namespace, &change.edge.service);
            let Counts {
                opened, closed, failed, bytes_sent, bytes_received, refused, passed, ..
            } = change.growth;
            for (outcome, count) in [
                ("opened", opened),
                ("closed", closed),
                ("failed", failed),
                ("refused", refused),
                ("passed", passed),
            ] {
                if count > 0 {
                    let ServiceLabel { namespace, service } = service.clone();
                    let label = OutcomeLabel { namespace, service, outcome };
                    self.connections.get_or_create_owned(&label).inc_by(count);
                }
            }
            self.sent.get_or_create_owned(&service).inc_by(bytes_sent);
            self.received.get_or_create_owned(&service).inc_by(bytes_received);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::collector::EdgeId;
    use crate::telemetry::edge::Edge;

    fn change(service: &str, reporter: Reporter, opened: u64) -> Change {
        let edge = Edge { service: service.to_owned(), reporter, ..Edge::default() };
        let growth = Counts { opened, bytes_sent: 10 * opened, ..Counts::default() };
        Change { id: EdgeId(1), edge: Arc::new(edge), growth }
    }

    #[test]
    fn too_many_services_are_one_and_connections_count_once() {
        let metrics = ServiceMetrics::default();
        let services = (0..MAX_SERVICES + 5).map(|i| format!("s{i}"));
        let mut changes: Vec<Change> =
            services.map(|name| change(&name, Reporter::Source, 3)).collect();
        changes.push(change("s0", Reporter::Destination, 100));
        metrics.collect(NodeId(1), &changes);
        let opened = |service: &str| {
            let (namespace, service) = (String::new(), service.to_owned());
            let label = OutcomeLabel { namespace, service, outcome: "opened" };
            metrics.connections.get_or_create_owned(&label).get()
        };
        assert_eq!((opened("s0"), opened("s999"), opened("s1000")), (3, 3, 0));
        assert_eq!(opened(OTHER), 15);
        let label = metrics.label("", "x");
        assert_eq!(metrics.sent.get_or_create_owned(&label).get(), 150);
    }
}
