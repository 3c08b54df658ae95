//! Batches under test: what is wrong is rejected by name, the rest is applied, and the revision
//! is acknowledged only when all of it is live.

use mesh_api::model::Object;
use mesh_api::wire;
use mesh_xds::ads::{Any, DeltaDiscoveryResponse, Resource};
use mesh_xds::server::NodeInfo;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::testing::{endpoint, service};

fn client() -> DeltaClient {
    let node = NodeInfo { id: "n1".into(), version: "0".into() };
    let mut client = DeltaClient::new(node, &resource::AGENT_TYPES);
    client.connect();
    client
}

fn response(type_url: &str, nonce: &str, resources: &[(&str, Vec<u8>)]) -> DeltaDiscoveryResponse {
    let resource = |(name, value): &(&str, Vec<u8>)| Resource {
        name: (*name).to_owned(),
        version: resource::version_of(value),
        resource: Some(Any { type_url: type_url.to_owned(), value: value.clone() }),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        system_version_info: "7".to_owned(),
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        resources: resources.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn revision() -> DeltaDiscoveryResponse {
    let body = wire::Revision { revision: 7, traceparent: String::new() }.encode_to_vec();
    response(resource::REVISION, "r", &[(resource::REVISION_NAME, body)])
}

fn body(object: &Object) -> Vec<u8> {
    match wire::Object::from(object).spec {
        Some(wire::object::Spec::Service(spec)) => spec.encode_to_vec(),
        Some(wire::object::Spec::Endpoint(spec)) => spec.encode_to_vec(),
        Some(wire::object::Spec::ServiceConfig(spec)) => spec.encode_to_vec(),
        None => Vec::new(),
    }
}

fn good_service() -> (&'static str, Vec<u8>) {
    ("default/a", body(&Object::Service(service("a", &[1], &[80]))))
}

fn collect(client: &mut DeltaClient, responses: Vec<DeltaDiscoveryResponse>) -> Batch {
    let mut batch = Batch::default();
    let last = responses.len() - 1;
    for (at, response) in responses.into_iter().enumerate() {
        let push = client.on_response(response).unwrap();
        assert_eq!(batch.add(push), (at == last).then_some(7));
    }
    batch
}

/// The text of each NACK; empty for an ACK.
fn nacks(answers: &Answers) -> Vec<String> {
    let text = |request: &DeltaDiscoveryRequest| {
        request.error_detail.as_ref().map(|status| status.message.clone()).unwrap_or_default()
    };
    answers.requests.iter().map(text).collect()
}

#[test]
fn what_is_invalid_is_rejected_by_name_and_the_rest_is_applied() {
    let mut client = client();
    let bad = ("default/bad", b"\xff\xff\xff".to_vec());
    let good = ("default/a-v1-1", body(&Object::Endpoint(endpoint("a", "v1", 1, 1))));
    let mut batch = collect(
        &mut client,
        vec![
            response(resource::ENDPOINT, "e", &[bad, good]),
            response(resource::SERVICE, "s", &[good_service()]),
            revision(),
        ],
    );
    assert_eq!(batch.take_changes().len(), 2);
    let answers = batch.answer(&mut client, &Outcome::default());
    let nacks = nacks(&answers);
    assert!(nacks[0].contains("default/bad"), "{nacks:?}");
    assert_eq!(nacks[1], "");
    assert!(nacks[2].contains("default/bad"), "the revision is not fully live: {nacks:?}");
    let accepted: Vec<&str> = answers.accepted.iter().map(|(_, r)| r.name.as_str()).collect();
    assert_eq!(accepted, ["default/a-v1-1", "default/a"]);
}

#[test]
fn what_does_not_fit_is_rejected_whenever_it_arrived() {
    let mut client = client();
    let mut batch = collect(&mut client, vec![revision()]);
    assert_eq!(batch.take_changes(), Vec::new());
    let name = "default/earlier".parse().unwrap();
    let outcome = Outcome {
        rejections: vec![Rejection {
            object: ObjectRef { kind: Kind::Service, name },
            message: "slots are used up".to_owned(),
        }],
        error: None,
    };
    let nacks = nacks(&batch.answer(&mut client, &outcome));
    assert!(nacks[0].contains("default/earlier: slots are used up"), "{nacks:?}");
}

#[test]
fn when_the_maps_cannot_be_written_the_facts_are_kept_and_the_revision_is_not_live() {
    let mut client = client();
    let responses = vec![response(resource::SERVICE, "s", &[good_service()]), revision()];
    let batch = collect(&mut client, responses);
    let outcome = Outcome { error: Some("the map is full".to_owned()), ..Outcome::default() };
    let answers = batch.answer(&mut client, &outcome);
    assert_eq!(answers.accepted.len(), 1);
    let nacks = nacks(&answers);
    assert_eq!(nacks[0], "");
    assert!(nacks[1].contains("the map is full"), "{nacks:?}");
    let known: Vec<&str> = client.known().map(|(_, name, _)| name).collect();
    assert_eq!(known, ["default/a"]);
}

#[test]
fn of_what_became_invalid_the_valid_form_is_claimed() {
    let mut client = client();
    let (name, body) = good_service();
    let valid = resource::version_of(&body);
    let first =
        collect(&mut client, vec![response(resource::SERVICE, "1", &[(name, body)]), revision()]);
    let _accepted = first.answer(&mut client, &Outcome::default());
    let broken = response(resource::SERVICE, "2", &[(name, b"\xff".to_vec())]);
    let second = collect(&mut client, vec![broken, revision()]);
    let answers = second.answer(&mut client, &Outcome::default());
    assert!(nacks(&answers)[0].contains(name));
    let claimed = client.known().find(|(_, known, _)| *known == name).map(|(_, _, v)| v.to_owned());
    assert_eq!(claimed, Some(valid));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        bodies in prop::collection::vec((".{0,12}", any::<Vec<u8>>()), 0..4),
        at in 0..4usize,
    ) {
        let mut client = client();
        let resources: Vec<(&str, Vec<u8>)> =
            bodies.iter().map(|(name, body)| (name.as_str(), body.clone())).collect();
        let hostile = response(resource::AGENT_TYPES[at], "h", &resources);
        let mut batch = Batch::default();
        if let Ok(push) = client.on_response(hostile) {
            batch.add(push);
            let answers = batch.answer(&mut client, &Outcome::default());
            prop_assert_eq!(answers.requests.len(), 1);
        }
    }
}
