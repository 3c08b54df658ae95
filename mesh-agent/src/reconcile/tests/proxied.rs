//! Services with rules for requests: their way to Envoy and back, and what is kept meanwhile.

use std::sync::Arc;

use mesh_api::model::{OnNoProxy, ServiceConfig, Timeouts};
use mesh_common::backend::BackendFlags;

use super::*;
use crate::compile::Family;
use crate::proxy::ProxyState;
use crate::proxy::course::PATIENCE;
use crate::testing::{config, port};

const PORT: u16 = 20_001;
const SECOND: Duration = Duration::from_secs(1);

fn listening() -> ProxyState {
    ProxyState::Ready(Arc::new([((Family::V4, PORT), Family::V4.loopback())].into()))
}

/// What asks for Envoy.
fn asking(otherwise: OnNoProxy) -> Change {
    let timeouts = Timeouts { request: Some(SECOND), ..Timeouts::default() };
    put(ServiceConfig {
        timeouts: Some(Box::new(timeouts)),
        on_no_proxy: otherwise,
        proxy_ports: [("p80".parse().unwrap(), port(PORT))].into(),
        ..quiet()
    })
}

/// What does not, but wants connections to what has gone to be ended.
fn quiet() -> ServiceConfig {
    ServiceConfig { drain_timeout: Some(SECOND), ..config("a", &[]) }
}

fn started() -> Reconciler<MemoryMaps> {
    let mut reconciler = opened_over(MemoryMaps::new(LIMITS));
    let mut service = service("a", &[1], &[80]);
    service.ports[0].app_protocol = Some("http".parse().unwrap());
    reconciler.change([put(service), put(endpoint("a", "v1", 1, 1)), put(quiet())]);
    install(&mut reconciler);
    reconciler
}

fn install(reconciler: &mut Reconciler<MemoryMaps>) {
    reconciler.install(1).unwrap();
    assert_eq!(reconciler.maps().read().unwrap(), *reconciler.actual());
    let intended = reconciler.intended().unwrap();
    assert_eq!(intended.differences(reconciler.actual()).0, []);
}

/// Where new connections go.
fn goes(reconciler: &Reconciler<MemoryMaps>) -> Vec<String> {
    let image = reconciler.actual();
    let serving = image.backends.iter().filter(|(_, backend)| backend.flags.takes_new());
    serving
        .map(|(_, backend)| crate::image::Address(&backend.addr, backend.port).to_string())
        .collect()
}

/// Changes something and brings it into the maps, if there is anything to bring.
fn with(reconciler: &mut Reconciler<MemoryMaps>, proxy: ProxyState) -> Vec<String> {
    reconciler.set_proxy(proxy);
    if reconciler.is_due() {
        install(reconciler);
    }
    goes(reconciler)
}

const ENDPOINT: &str = "10.1.0.1:8080";
const ENVOY: &str = "127.0.0.1:20001";

#[test]
fn connections_go_to_envoy_and_back_and_none_is_ended() {
    let mut reconciler = started();
    let open = BackendCounters { attempts: 1, opened: 1, ..BackendCounters::default() };
    reconciler.maps_mut().count(FIRST, open);
    with(&mut reconciler, listening());
    reconciler.change([asking(OnNoProxy::Refuse)]);
    install(&mut reconciler);
    assert_eq!(goes(&reconciler), [ENVOY]);
    assert_eq!(reconciler.proxied(), [1, 0, 0, 0]);
    assert_eq!(reconciler.removed().count(), 0, "the endpoint is still there");
    let at = |(_, backend): &(BackendIndex, &_)| -> bool {
        let backend: &mesh_common::backend::Backend = backend;
        backend.flags.contains(BackendFlags::PROXY)
    };
    let (index, backend) = reconciler.actual().backends.iter().find(at).unwrap();
    let key = (index, backend.generation);
    assert_eq!(reconciler.names([key])[&key].endpoint.as_str(), "proxy");
    assert!(reconciler.actual().to_string().contains(&format!("{ENVOY} SERVICE=1 LOCAL PROXY\n")));

    reconciler.maps_mut().count(index, open);
    reconciler.change([put(quiet())]);
    install(&mut reconciler);
    assert_eq!(goes(&reconciler), [ENDPOINT]);
    let removed: Vec<_> = reconciler.removed().collect();
    assert_eq!(removed.len(), 1);
    assert_eq!((removed[0].index, removed[0].drain_timeout), (index, None), "it serves on");
    let totals = reconciler.totals(&reconciler.raw().unwrap());
    let workload = |account: &crate::ledger::Account| account.workload.clone();
    let of_proxy = totals.iter().find(|(it, _)| workload(it).is_some()).unwrap();
    assert_eq!((of_proxy.0.version.as_ref(), of_proxy.1.opened), (None, 1));

    reconciler.maps_mut().count(index, BackendCounters { closed: 1, ..open });
    reconciler.retire(NOW).unwrap();
    assert!(!reconciler.actual().backends.contains_key(&index));
}

#[test]
fn an_agent_that_comes_back_does_not_end_them_either() {
    let mut reconciler = started();
    reconciler.change([asking(OnNoProxy::Bypass)]);
    assert_eq!(with(&mut reconciler, listening()), [ENVOY]);
    let maps = reconciler.maps().clone();
    let mut after = opened_over(maps);
    after.change([put(service("a", &[1], &[80])), put(endpoint("a", "v1", 1, 1)), put(quiet())]);
    after.install(2).unwrap();
    assert_eq!(goes(&after), [ENDPOINT]);
    assert_eq!(after.removed().map(|it| it.drain_timeout).collect::<Vec<_>>(), [None]);
}

#[test]
fn without_envoy_the_service_goes_past_it_or_nowhere_and_says_so() {
    for (otherwise, way, word) in
        [(OnNoProxy::Bypass, vec![ENDPOINT], "no effect"), (OnNoProxy::Refuse, vec![], "refused")]
    {
        let mut reconciler = started();
        reconciler.change([asking(otherwise)]);
        assert_eq!(with(&mut reconciler, listening()), [ENVOY]);
        assert_eq!(reconciler.report().warnings, Vec::<String>::new());
        assert_eq!(with(&mut reconciler, ProxyState::Absent), way);
        let warnings = &reconciler.report().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(word), "{warnings:?}");
        assert_eq!(with(&mut reconciler, listening()), [ENVOY]);
        assert_eq!(reconciler.report().warnings, Vec::<String>::new());
    }
}

#[test]
fn a_service_waits_for_its_listener_and_follows_its_endpoints_meanwhile() {
    let mut reconciler = started();
    reconciler.set_time(SECOND);
    with(&mut reconciler, ProxyState::Ready(Arc::default()));
    reconciler.change([asking(OnNoProxy::Refuse)]);
    install(&mut reconciler);
    assert_eq!(
        (goes(&reconciler), reconciler.next_step()),
        (vec![ENDPOINT.to_owned()], Some(PATIENCE))
    );
    reconciler.change([put(endpoint("a", "v1", 2, 1))]);
    install(&mut reconciler);
    assert_eq!(goes(&reconciler).len(), 2);
    reconciler.set_time(PATIENCE);
    assert!(!reconciler.is_due());
    reconciler.set_time(PATIENCE + SECOND);
    assert!(reconciler.is_due());
    install(&mut reconciler);
    assert_eq!((goes(&reconciler), reconciler.next_step()), (vec![], None));
}
