//! A node that a test plays holds something else than what is stored.

use mesh_api::resource::{ENDPOINT, SERVICE};
use tempfile::TempDir;

use super::super::tests::{Agent, people};
use super::*;
use crate::store::redb::{Limits, RedbStore};
use crate::testing::{Running, at, model, wire_endpoint, wire_service};

/// Nothing is stored.
pub(in super::super) fn stored() -> (Stored, TempDir) {
    let data = TempDir::new().unwrap();
    let store = RedbStore::open(data.path(), Limits::default()).unwrap();
    let snapshots = tokio::sync::watch::channel(Arc::default()).1;
    (Stored { snapshots, store: Arc::new(store) }, data)
}

fn held(url: &str, name: &str, version: &str) -> wire::HeldObject {
    let [type_url, name, version] = [url, name, version].map(str::to_owned);
    wire::HeldObject { type_url, name, version }
}

fn version(object: &wire::Object) -> String {
    snapshot::resource(&model(object.clone())).version
}

fn address(object: Option<&wire::Object>) -> String {
    match object.and_then(|it| it.spec.as_ref()) {
        Some(wire::object::Spec::Endpoint(spec)) => spec.address.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_node_holds_is_compared_with_what_is_stored() {
    let mut control = Running::start().await;
    let web = wire_service("prod/web", "10.96.0.1", 80);
    let old = at(wire_endpoint("prod/one", "web", "v1"), "10.0.0.1");
    let new = at(old.clone(), "10.0.0.2");
    let two = wire_endpoint("prod/two", "web", "v1");
    control.apply(vec![web.clone(), old.clone()]).await.unwrap();
    let revision = control.apply(vec![new, two]).await.unwrap().revision;

    let mut agent = Agent::named(&control, "n1").await.unwrap();
    let mut asking = people(&control).await;
    let request = || wire::DiffNodeRequest { node: "n1".to_owned() };
    let difference = wire::Difference {
        subject: "service/prod/web:80/TCP/IPv4".to_owned(),
        field: "load balancer".to_owned(),
        intended: Some("random".to_owned()),
        programmed: None,
    };
    let answered = async {
        let id = agent.next().await.id;
        let first = wire::Programmed {
            revision: 1,
            held: vec![
                held(SERVICE, "prod/web", &version(&web)),
                held(ENDPOINT, "prod/one", &version(&old)),
            ],
            differences: vec![difference.clone()],
            services: 1,
            more: true,
        };
        let gone = vec![held(ENDPOINT, "prod/gone", "0123")];
        let last =
            wire::Programmed { held: gone, differences: Vec::new(), more: false, ..first.clone() };
        agent.answer(id, Answer::Programmed(first)).await;
        agent.answer(id, Answer::Programmed(last)).await;
    };
    let (parts, ()) = tokio::join!(asking.diff_node(request()), answered);
    let mut parts = parts.unwrap().into_inner();
    let diff = parts.message().await.unwrap().unwrap();
    assert!(!diff.more && parts.message().await.unwrap().is_none());
    assert_eq!((diff.intended_revision, diff.programmed_revision), (revision, 1));
    assert_eq!((diff.differences, diff.services), (vec![difference], 1));
    let [one, two, gone] = diff.objects.as_slice() else { panic!("{:?}", diff.objects) };
    let name = |it: &wire::ObjectDiff| it.object.as_ref().unwrap().name.clone();
    assert_eq!(name(one), "one");
    assert_eq!(address(one.intended.as_ref()), "10.0.0.2");
    assert_eq!(address(one.programmed.as_ref()), "10.0.0.1", "found by its hash");
    assert_eq!((name(two), two.programmed.is_none(), two.unknown), ("two".into(), true, false));
    assert!(two.intended.is_some());
    assert_eq!((name(gone), gone.intended.is_none(), gone.unknown), ("gone".into(), true, true));

    let refused = wire::DiffNodeRequest { node: super::super::OWN.to_owned() };
    let refused = asking.diff_node(refused).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    control.stop().await;
}

#[test]
fn a_long_comparison_comes_in_parts() {
    let differences = vec![wire::Difference::default(); PART + 1];
    let whole = wire::NodeDiff {
        differences,
        intended_revision: 7,
        rejections: vec![wire::Rejection::default()],
        ..wire::NodeDiff::default()
    };
    let parts = parts(whole);
    let shape: Vec<_> =
        parts.iter().map(|it| (it.differences.len(), it.rejections.len(), it.more)).collect();
    assert_eq!(shape, [(PART, 1, true), (1, 0, false)]);
    assert!(parts.iter().all(|it| it.intended_revision == 7));
}
