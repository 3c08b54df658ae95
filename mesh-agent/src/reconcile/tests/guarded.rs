//! Whose the guards are: the same as if everything were looked at again, but only what was touched
//! is.

use mesh_api::model::{Health, LoadBalancer, Policy, ServiceConfig};
use proptest::test_runner::TestCaseError;

use super::guards::detecting;
use super::scale::{ENDPOINTS, LARGE, nth_endpoint, nth_service};
use super::*;
use crate::reconcile::guarded::Guarded;
use crate::testing::{config, health_check};

const SERVICES: u32 = 1_000;

/// Looks at everything again and compares.
pub(super) fn check<M: MapStore>(reconciler: &mut Reconciler<M>) -> Result<(), TestCaseError> {
    let kept = Arc::clone(reconciler.guarded());
    reconciler.state.guarded = Guarded::default();
    reconciler.state.touch_all_guarded();
    reconciler.state.settle_guarded();
    prop_assert_eq!(&kept, reconciler.guarded());
    Ok(())
}

fn nth_config(n: u32) -> ServiceConfig {
    ServiceConfig {
        health_check: Some(Box::new(health_check(Health::Healthy))),
        outlier_detection: detecting().outlier_detection,
        ..config(&format!("service-{n}"), &[])
    }
}

/// Services looked at, and directories made, by a change.
fn work<M: MapStore>(reconciler: &mut Reconciler<M>, change: Change) -> (usize, usize) {
    reconciler.state.guarded.work = (0, 0);
    reconciler.change([change]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler.state.guarded.work
}

#[test]
fn one_change_has_one_service_looked_at() {
    let mut reconciler = opened_over(MemoryMaps::new(LARGE));
    for at in 0..SERVICES {
        reconciler.change([put(nth_service(at)), put(nth_config(at))]);
        reconciler.change((0..ENDPOINTS).map(|n| put(nth_endpoint(at, n, 1))));
    }
    reconciler.install(1).unwrap();
    assert_eq!(reconciler.state.guarded.work, (SERVICES as usize, 1));
    let services = &reconciler.guarded().services;
    assert_eq!(services.len(), SERVICES as usize);
    assert!(services.iter().all(|entry| entry.backends.len() == ENDPOINTS as usize));

    let flapping = nth_endpoint(500, 3, 1).name;
    let said = |health| Change::Health(flapping.clone(), Some(health));
    assert_eq!(work(&mut reconciler, said(Health::Unhealthy)), (1, 0));
    assert_eq!(work(&mut reconciler, said(Health::Healthy)), (1, 0));
    assert_eq!(work(&mut reconciler, said(Health::Healthy)), (0, 0));
    // What says something else makes another directory.
    let before = Arc::clone(reconciler.guarded());
    let gone = Change::Remove(ObjectRef { kind: Kind::Endpoint, name: flapping.clone() });
    let (looked, made) = work(&mut reconciler, gone);
    assert!(looked <= 2 && made == 1, "{looked} {made}");
    assert!(!Arc::ptr_eq(&before, reconciler.guarded()));
    let without = ServiceConfig { outlier_detection: None, ..nth_config(7) };
    assert_eq!(work(&mut reconciler, put(without)), (0, 1));
    assert_eq!(reconciler.guarded().services.len(), SERVICES as usize - 1);
    check(&mut reconciler).unwrap();
    // Maps that are read again say the same.
    let before = Arc::clone(reconciler.guarded());
    reconciler.unsure = true;
    reconciler.install(3).unwrap();
    assert_eq!(before, *reconciler.guarded());
}

#[test]
fn who_counts_by_backend_is_known_until_it_is_cleared() {
    let mut reconciler = opened_over(MemoryMaps::new(LIMITS));
    let least = ServiceConfig {
        load_balancer: LoadBalancer { policy: Policy::LeastConnections, ..LoadBalancer::default() },
        ..config("a", &[])
    };
    reconciler.change([put(service("a", &[1], &[80])), put(endpoint("a", "v1", 1, 1)), put(least)]);
    reconciler.install(1).unwrap();
    assert!(reconciler.guarded().counts_active && reconciler.guarded().services.is_empty());
    reconciler.change([remove(Kind::Service, "a")]);
    reconciler.install(2).unwrap();
    assert!(reconciler.guarded().counts_active);
    reconciler.retire(NOW).unwrap();
    assert!(!reconciler.guarded().counts_active);
}
