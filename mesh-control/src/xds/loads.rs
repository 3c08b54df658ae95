//! What Envoy and gRPC clients report of their requests, as metrics by service: of services that
//! there are, and of a bounded number, whatever clients say.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mesh_api::model::ObjectName;
use mesh_xds::lrs::Load;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::kind::ClientKind;

/// Most services that are counted for a kind of client.
const MAX_SERVICES: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    kind: &'static str,
    destination_service_namespace: String,
    destination_service_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    kind: &'static str,
    destination_service_namespace: String,
    destination_service_name: String,
    result: &'static str,
}

/// All of them.
#[derive(Debug, Default)]
pub struct LoadMetrics {
    requests: Family<RequestLabel, Counter>,
    in_progress: Family<ServiceLabel, Gauge>,
    /// Requests under way, of all clients of a kind.
    services: Mutex<BTreeMap<(ClientKind, ObjectName), u64>>,
}

/// What a client has reported last.
pub(super) type Before = BTreeMap<ObjectName, u64>;

impl LoadMetrics {
    /// Adds them to a registry.
    pub fn register(&self, to: &mut Registry) {
        let it = self.requests.clone();
        let help = "Requests that Envoy and gRPC clients report, by result";
        to.register("mesh_xds_upstream_requests", help, it);
        let it = self.in_progress.clone();
        let help = "Requests under way that Envoy and gRPC clients report";
        to.register("mesh_xds_upstream_requests_in_progress", help, it);
    }

    /// Takes a client's report over.
    pub fn reported(
        &self,
        kind: ClientKind,
        loads: &BTreeMap<ObjectName, Load>,
        before: &mut Before,
    ) {
        for (service, load) in loads {
            if !self.has_room(kind, service) {
                continue;
            }
            let results = [("success", load.successful), ("error", load.failed)];
            for (result, number) in results.into_iter().chain([("dropped", load.dropped)]) {
                let label = RequestLabel {
                    kind: kind.as_str(),
                    destination_service_namespace: service.namespace.to_string(),
                    destination_service_name: service.name.to_string(),
                    result,
                };
                self.requests.get_or_create_owned(&label).inc_by(number);
            }
        }
        let now = loads.iter().map(|(service, load)| (service.clone(), load.in_progress));
        self.under_way(kind, now.collect(), before);
    }

    /// A client reports no more.
    pub(super) fn ended(&self, kind: ClientKind, before: &mut Before) {
        self.under_way(kind, Before::new(), before);
    }

    fn has_room(&self, kind: ClientKind, service: &ObjectName) -> bool {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, service.clone());
        if !services.contains_key(&key) {
            if services.len() >= MAX_SERVICES {
                return false;
            }
            services.insert(key, 0);
        }
        true
    }

    fn under_way(&self, kind: ClientKind, now: Before, before: &mut Before) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(before, now.clone());
        let changes = before.into_iter().map(|(service, number)| (service, 0, number));
        let changes = changes.chain(now.into_iter().map(|(service, number)| (service, number, 0)));
        for (service, more, less) in changes {
            let label = ServiceLabel {
                kind: kind.as_str(),
                destination_service_namespace: service.namespace.to_string(),
                destination_service_name: service.name.to_string(),
            };
            let Some(sum) = services.get_mut(&(kind, service)) else { continue };
            *sum = sum.saturating_sub(less).saturating_add(more);
            let value = i64::try_from(*sum).unwrap_or(i64::MAX);
            self.in_progress.get_or_create_owned(&label).set(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_add_up_and_those_under_way_end_with_their_client() {
        let metrics = LoadMetrics::default();
        let load = |in_progress| {
            let load = Load { successful: 5, failed: 2, dropped: 1, in_progress };
            BTreeMap::from([("shop/web".parse::<ObjectName>().unwrap(), load)])
        };
        let label = ServiceLabel {
            kind: "grpc",
            destination_service_namespace: "shop".to_owned(),
            destination_service_name: "web".to_owned(),
        };
        let under_way = || metrics.in_progress.get_or_create_owned(&label).get();
        let (mut one, mut two) = (Before::new(), Before::new());
        metrics.reported(ClientKind::Grpc, &load(3), &mut one);
        metrics.reported(ClientKind::Grpc, &load(4), &mut two);
        assert_eq!(under_way(), 7);
        metrics.reported(ClientKind::Grpc, &load(1), &mut one);
        assert_eq!(under_way(), 5);
        // Nothing about a service is nothing under way.
        metrics.reported(ClientKind::Grpc, &BTreeMap::new(), &mut one);
        assert_eq!(under_way(), 4);
        metrics.ended(ClientKind::Grpc, &mut two);
        assert_eq!(under_way(), 0);
        let label = RequestLabel {
            kind: "grpc",
            destination_service_namespace: "shop".to_owned(),
            destination_service_name: "web".to_owned(),
            result: "error",
        };
        assert_eq!(metrics.requests.get_or_create_owned(&label).get(), 6);
    }

    #[test]
    fn there_is_a_bound() {
        let (metrics, mut before) = (LoadMetrics::default(), Before::new());
        for n in 0..=MAX_SERVICES {
            let load = Load { in_progress: 1, ..Load::default() };
            let loads = [(format!("shop/s-{n}").parse().unwrap(), load)].into();
            metrics.reported(ClientKind::Envoy, &loads, &mut before);
        }
        let services = metrics.services.lock().unwrap();
        assert_eq!(services.len(), MAX_SERVICES);
        assert_eq!(services.values().sum::<u64>(), 0);
    }
}
