//! Bad input: a code, all violations in the details, nothing stored.

use prost::Message as _;

use super::*;

fn violations(status: &Status) -> Vec<(u32, String, wire::ViolationReason)> {
    let details = wire::Violations::decode(status.details()).unwrap();
    let violations = details.violations.into_iter();
    violations.map(|it| (it.index, it.field.clone(), it.reason())).collect()
}

#[tokio::test]
async fn everything_wrong_is_said_at_once() {
    let mut control = Running::start().await;
    let mut bad = wire_service("shop/web", "10.96.0.1", 0);
    bad.metadata.as_mut().unwrap().labels.insert("ä".to_owned(), String::new());
    let batch = vec![
        bad,
        wire_config("shop/web", &[("", "v9", 1), ("gone", "", 1)]),
        wire_config("shop/nobody", &[]),
        wire_service("shop/a", "10.96.0.2", 80),
        wire_service("shop/b", "10.96.0.2", 80),
        wire_service("shop/b", "10.96.0.3", 80),
    ];
    let error = control.apply(batch).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    assert!(error.message().starts_with("7 problems"), "{}", error.message());
    let found = violations(&error);
    let expected = [
        (0, "metadata.labels.ä", wire::ViolationReason::Invalid),
        (0, "spec.ports[0].port", wire::ViolationReason::Invalid),
        // The service itself did not decode: that it is missing is not said as well.
        (1, "spec.trafficRules[0].destination.version", wire::ViolationReason::MissingReference),
        (1, "spec.trafficRules[1].destination.service", wire::ViolationReason::MissingReference),
        (2, "metadata.name", wire::ViolationReason::MissingReference),
        (4, "spec.vips[0]", wire::ViolationReason::Duplicate),
        (5, "metadata.name", wire::ViolationReason::Duplicate),
    ];
    let expected = expected.map(|(index, field, reason)| (index, field.to_owned(), reason));
    assert_eq!(found, expected);
    let status = control.api.status(wire::StatusRequest {}).await.unwrap();
    assert_eq!(status.into_inner().revision, 0);
    control.stop().await;
}

#[tokio::test]
async fn conflicts_have_their_own_codes() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();

    let thief = wire_service("shop/thief", "10.96.0.1", 80);
    let error = control.apply(vec![thief]).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::AlreadyExists);
    assert!(error.message().contains("shop/web"), "{}", error.message());

    let mut stale = wire_service("shop/web", "10.96.0.9", 80);
    stale.metadata.as_mut().unwrap().resource_version = 7;
    let error = control.apply(vec![stale]).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Aborted);
    assert_eq!(violations(&error)[0].2, wire::ViolationReason::Stale);

    let delete = |objects| wire::DeleteRequest { objects, dry_run: false };
    let alone = control.api.delete(delete(vec![web(wire::Kind::Service)]));
    let error = alone.await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::AlreadyExists);
    assert!(error.message().contains("ServiceConfig shop/web"), "{}", error.message());
    let absent =
        vec![web(wire::Kind::ServiceConfig), object_ref(wire::Kind::Service, "shop", "gone")];
    let error = control.api.delete(delete(absent)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound);
    let both = vec![web(wire::Kind::Service), web(wire::Kind::ServiceConfig)];
    let deleted = control.api.delete(delete(both)).await.unwrap().into_inner();
    assert_eq!(deleted.revision, 2);
    control.stop().await;
}

#[tokio::test]
async fn limits_are_loud() {
    let mut control = Running::start().await;
    let many = |count: usize| -> Vec<wire::Object> {
        let name = |at| wire_endpoint(&format!("shop/e-{at}"), "web", "v1");
        (0..count).map(name).collect()
    };
    let error = control.apply(many(10_001)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    assert!(error.message().contains("at most 10000"), "{}", error.message());

    // More violations than fit into a header: the answer arrives, and says so.
    let bad = (0..10_000).map(|_| wire_service("shop/x", "nonsense", 0)).collect();
    let error = control.apply(bad).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    assert!(error.message().starts_with("20000 problems"), "{}", error.message());
    let details = wire::Violations::decode(error.details()).unwrap();
    let last = details.violations.last().unwrap();
    assert!(last.message.contains("more problems"), "{}", last.message);

    let mut huge = wire_service("shop/web", "10.96.0.1", 80);
    let labels = &mut huge.metadata.as_mut().unwrap().labels;
    labels.insert("k".to_owned(), "x".repeat(MAX_MESSAGE));
    let error = control.apply(vec![huge]).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::OutOfRange, "{error}");

    assert_eq!(control.apply(many(10_000)).await.unwrap().revision, 1);
    control.stop().await;
}
