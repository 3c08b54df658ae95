//! Policies and ejections in the maps: who keeps what, and what the programs forget when.

use mesh_api::model::{Breaker, CircuitBreaker, OutlierDetection, ServiceConfig, Thresholds};
use mesh_common::backend::BackendFlags;
use mesh_common::policy::Policy;
use mesh_common::service::ServiceIndex;

use super::order::Recording;
use super::*;
use crate::diff::Forget;
use crate::testing::config;

const SERVICE: ServiceIndex = ServiceIndex { index: 1 };
const SECOND: BackendIndex = BackendIndex { index: 2 };

fn guarded(backend_breaker: bool) -> ServiceConfig {
    let breaker = Breaker {
        max_failures: 5,
        window: Duration::from_secs(10),
        reset_timeout: Duration::from_secs(3),
        trial_connections: 2,
    };
    let endpoint = Thresholds {
        max_connections: Some(9),
        breaker: backend_breaker.then_some(breaker),
        ..Thresholds::default()
    };
    let breaker = CircuitBreaker { service: Thresholds::default(), endpoint, requests: None };
    ServiceConfig { circuit_breaker: Some(Box::new(breaker)), ..config("a", &[]) }
}

pub(super) fn detecting() -> ServiceConfig {
    let detection = OutlierDetection {
        consecutive_failures: Some(5),
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_mins(5),
        max_ejection_percent: 100,
        failure_percentage: None,
        minimum_connections: 1,
        consecutive_5xx: None,
        consecutive_gateway_errors: None,
    };
    ServiceConfig { outlier_detection: Some(Box::new(detection)), ..config("a", &[]) }
}

/// A service with two endpoints.
fn two(config: ServiceConfig) -> Reconciler<Recording<MemoryMaps>> {
    let mut reconciler = opened_over(Recording::new(MemoryMaps::new(LIMITS)));
    reconciler.change([put(service("a", &[1], &[80])), put(config)]);
    reconciler.change([put(endpoint("a", "v1", 1, 1)), put(endpoint("a", "v1", 2, 1))]);
    reconciler.install(1).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler
}

fn forgotten(reconciler: &Reconciler<Recording<MemoryMaps>>) -> Vec<MapOp> {
    let ops = reconciler.maps().ops.iter().copied();
    ops.filter(|op| matches!(op, MapOp::ForgetService(_) | MapOp::ForgetBackend(..))).collect()
}

fn change(reconciler: &mut Reconciler<Recording<MemoryMaps>>, config: ServiceConfig) {
    reconciler.maps_mut().ops.clear();
    reconciler.change([put(config)]);
    reconciler.install(2).unwrap();
}

#[test]
fn an_ejected_backend_keeps_its_index_and_comes_back() {
    let mut reconciler = two(detecting());
    assert!(!reconciler.is_due());
    reconciler.set_ejected(BTreeSet::from([FIRST, BackendIndex { index: 77 }]));
    assert!(reconciler.is_due());
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    let flags = |reconciler: &Reconciler<_>, at| reconciler.actual().backends.at(at).flags;
    assert_eq!(flags(&reconciler, FIRST), BackendFlags::DRAINING);
    assert_eq!(reconciler.actual().slots.len(), 1);
    // Maps are read again: it stays as it is.
    reconciler.unsure = true;
    reconciler.install(3).unwrap();
    assert_eq!(flags(&reconciler, FIRST), BackendFlags::DRAINING);
    reconciler.set_ejected(BTreeSet::from([SECOND]));
    reconciler.install(4).unwrap();
    assert_eq!(flags(&reconciler, FIRST), BackendFlags::default());
    assert_eq!(flags(&reconciler, SECOND), BackendFlags::DRAINING);
    reconciler.set_ejected(BTreeSet::new());
    reconciler.install(5).unwrap();
    reconciler.retire(NOW).unwrap();
    assert_eq!(reconciler.actual().slots.len(), 2);
    assert_eq!(reconciler.removed().count(), 0);
    reconciler.set_ejected(BTreeSet::new());
    assert!(!reconciler.is_due());
}

#[test]
fn a_freed_backend_is_not_ejected_any_more() {
    let mut reconciler = two(detecting());
    reconciler.set_ejected(BTreeSet::from([FIRST]));
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler.change([put(endpoint("a", "v1", 9, 1))]);
    reconciler.install(3).unwrap();
    assert_eq!(reconciler.actual().backends.at(FIRST).flags, BackendFlags::default());
    assert_eq!(reconciler.actual().slots.len(), 1 + 2);
}

#[test]
fn a_policy_goes_after_a_grace_period_and_breakers_are_forgotten() {
    let mut reconciler = two(guarded(true));
    assert_eq!(forgotten(&reconciler), []);
    let before = reconciler.actual().policies.at(SERVICE);
    assert_eq!(before.backend.max_connections, 9);
    change(&mut reconciler, config("a", &[]));
    assert_eq!(reconciler.actual().policies.at(SERVICE), before);
    assert_eq!(forgotten(&reconciler), []);
    reconciler.retire(NOW).unwrap();
    assert_eq!(reconciler.actual().policies.at(SERVICE), Policy::default());
    let breaker = Forget { breaker: true, outlier: false };
    let both = [FIRST, SECOND].map(|at| MapOp::ForgetBackend(at, breaker));
    assert_eq!(forgotten(&reconciler), both);
    let ops = &reconciler.maps().ops;
    let place = |op: &MapOp| ops.iter().position(|other| other == op).unwrap();
    assert!(place(&MapOp::Grace) < place(&MapOp::PutPolicy(SERVICE, Policy::default())));
    assert!(place(&MapOp::Grace) < place(&both[0]));
}

#[test]
fn a_breaker_that_is_switched_on_knows_nothing() {
    let mut reconciler = two(guarded(false));
    change(&mut reconciler, guarded(true));
    let breaker = Forget { breaker: true, outlier: false };
    let [first, second, MapOp::PutPolicy(..)] = reconciler.maps().ops.as_slice() else {
        panic!("{:?}", reconciler.maps().ops);
    };
    assert_eq!(*first, MapOp::ForgetBackend(FIRST, breaker));
    assert_eq!(*second, MapOp::ForgetBackend(SECOND, breaker));
    // Nor is anything forgotten later, when it knows something.
    reconciler.maps_mut().ops.clear();
    reconciler.retire(NOW).unwrap();
    assert_eq!(forgotten(&reconciler), []);
}

#[test]
fn another_endpoint_at_an_address_begins_anew() {
    let mut reconciler = two(guarded(true));
    reconciler.maps_mut().ops.clear();
    reconciler.change([remove_endpoint(), put(endpoint("a", "v2", 1, 1))]);
    reconciler.install(2).unwrap();
    assert_eq!(forgotten(&reconciler), [MapOp::ForgetBackend(FIRST, Forget::ALL)]);
    // The same one with another weight does not.
    reconciler.maps_mut().ops.clear();
    reconciler.change([put(endpoint("a", "v2", 1, 7))]);
    reconciler.install(3).unwrap();
    assert_eq!(forgotten(&reconciler), []);
}
