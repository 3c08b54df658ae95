//! One test per rule of the client's end.

use super::*;
use crate::ads::{Any, Resource};

const A: &str = "type/a";
const B: &str = "type/b";

fn client() -> DeltaClient {
    let node = NodeInfo { id: "node-1".to_owned(), version: "1.2".to_owned() };
    DeltaClient::new(node, &[A, B])
}

fn resource(name: &str, version: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(Any { type_url: A.to_owned(), value: vec![1] }),
        ..Resource::default()
    }
}

fn response(added: &[(&str, &str)], removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: A.to_owned(),
        nonce: "1".to_owned(),
        system_version_info: "7".to_owned(),
        resources: added.iter().map(|(name, version)| resource(name, version)).collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn known(client: &DeltaClient) -> Vec<String> {
    client.known().map(|(_, name, version)| format!("{name}={version}")).collect()
}

fn rejected(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "no".to_owned())).collect()
}

#[test]
fn first_requests_claim_what_is_known_and_only_one_carries_the_node() {
    let mut client = client();
    client.restore([(A, "x", "v1"), ("type/other", "y", "v1")]);
    let requests = client.connect();
    let types: Vec<&str> = requests.iter().map(|r| r.type_url.as_str()).collect();
    assert_eq!(types, [A, B]);
    let node = requests[0].node.as_ref().unwrap();
    assert_eq!(node.id, "node-1");
    let version = UserAgentVersionType::UserAgentVersion("1.2".to_owned());
    assert_eq!(node.user_agent_version_type, Some(version));
    assert!(requests[1].node.is_none());
    assert!(requests.iter().all(|r| r.resource_names_subscribe == [WILDCARD]));
    assert_eq!(requests[0].initial_resource_versions["x"], "v1");
    assert!(requests[1].initial_resource_versions.is_empty());
}

#[test]
fn an_ack_records_and_echoes() {
    let mut client = client();
    client.restore([(A, "old", "v1")]);
    client.connect();
    let push = client.on_response(response(&[("x", "v1")], &["old"])).unwrap();
    assert_eq!((push.revision, push.added[0].body.as_slice()), (7, &[1][..]));
    assert_eq!(known(&client), ["old=v1"], "nothing before the answer");
    for _ in 0..2 {
        let answer = client.ack(&push);
        assert_eq!((answer.type_url.as_str(), answer.response_nonce.as_str()), (A, "1"));
        assert!(answer.error_detail.is_none() && answer.node.is_none());
        assert!(answer.resource_names_subscribe.is_empty());
        assert_eq!(known(&client), ["x=v1"]);
    }
}

#[test]
fn a_nack_names_the_refused_and_records_the_rest() {
    let mut client = client();
    client.restore([(A, "bad", "v1"), (A, "stays", "v1")]);
    client.connect();
    let push = client.on_response(response(&[("bad", "v2"), ("good", "v2")], &["stays"])).unwrap();
    let answer = client.nack(&push, &rejected(&["bad", "stays"]));
    assert_eq!(answer.error_detail.unwrap().message, "bad: no\nstays: no");
    assert_eq!(known(&client), ["bad=v1", "good=v2", "stays=v1"]);
    assert!(client.nack(&push, &[]).error_detail.is_some(), "a NACK is a NACK");
}

#[test]
fn a_broken_resource_is_refused_alone() {
    let mut client = client();
    client.connect();
    let mut broken = response(&[("x", "1"), ("type", "1"), ("body", "1"), ("", "1")], &[]);
    broken.resources[1].resource.as_mut().unwrap().type_url = B.to_owned();
    broken.resources[2].resource = None;
    let push = client.on_response(broken).unwrap();
    assert_eq!(push.added.len(), 1);
    let expected =
        "type: its body is of type \"type/b\"\nbody: it has no body\na resource has no name";
    assert_eq!(client.ack(&push).error_detail.unwrap().message, expected);
    let with_more = client.nack(&push, &rejected(&["x"])).error_detail.unwrap();
    assert_eq!(with_more.message, format!("x: no\n{expected}"));
    assert_eq!(known(&client), ["x=1"]);
}

#[test]
fn a_broken_response_is_refused_as_a_whole() {
    let mut client = client();
    client.connect();
    let refuse = |change: &dyn Fn(&mut DeltaDiscoveryResponse)| {
        let mut broken = response(&[("x", "1")], &["y"]);
        change(&mut broken);
        let Rejected { request, reason } = client.on_response(broken.clone()).unwrap_err();
        assert_eq!((&request.type_url, &request.response_nonce), (&broken.type_url, &broken.nonce));
        assert_eq!(request.error_detail.unwrap().message, reason.to_string());
        reason
    };
    let other = "type/other".to_owned();
    assert_eq!(refuse(&|r| r.type_url.clone_from(&other)), Malformed::UnknownType(other.clone()));
    assert_eq!(refuse(&|r| r.nonce.clear()), Malformed::NoNonce);
    let word = "v7".to_owned();
    let revision = refuse(&|r| r.system_version_info.clone_from(&word));
    assert_eq!(revision, Malformed::Revision(word.clone()));
    let twice = Malformed::Duplicate("x".to_owned());
    assert_eq!(refuse(&|r| r.resources.push(resource("x", "2"))), twice);
    assert_eq!(refuse(&|r| r.removed_resources.push("x".to_owned())), twice);
}

#[test]
fn an_answer_after_a_reconnect_says_nothing_and_records_nothing() {
    let mut client = client();
    client.connect();
    let push = client.on_response(response(&[("x", "v1")], &[])).unwrap();
    client.connect();
    for answer in [client.ack(&push), client.nack(&push, &rejected(&["x"]))] {
        assert!(answer.response_nonce.is_empty() && answer.error_detail.is_none());
    }
    assert_eq!(known(&client), [""; 0]);
    // Nor may it look like a first request for everything.
    client.unsubscribe(A, &[WILDCARD]).unwrap();
    let answer = client.ack(&push);
    assert_eq!(answer.resource_names_unsubscribe, [WILDCARD]);
    assert!(answer.node.is_none(), "the type B was requested first");
    client.unsubscribe(B, &[WILDCARD]).unwrap();
    client.connect();
    assert!(client.ack(&push).node.is_some(), "this is the first request");
}

#[test]
fn what_is_given_up_is_forgotten_and_ignored() {
    let mut client = client();
    client.restore([(A, "x", "v1"), (A, "y", "v1")]);
    client.connect();
    client.subscribe(A, &["x"]).unwrap();
    client.unsubscribe(A, &[WILDCARD]).unwrap();
    assert_eq!(known(&client), ["x=v1"]);
    let push = client.on_response(response(&[("y", "v2")], &[])).unwrap();
    assert_eq!(client.ack(&push).response_nonce, "1");
    assert_eq!(known(&client), ["x=v1"]);
    assert_eq!(client.connect()[0].resource_names_subscribe, ["x"]);
}

#[test]
fn a_type_without_subscription_is_not_requested() {
    let mut client = client();
    for type_url in [A, B] {
        client.unsubscribe(type_url, &[WILDCARD]).unwrap();
    }
    assert!(client.connect().is_empty());
    assert!(client.subscribe(A, &["x"]).unwrap().node.is_some(), "the first on the stream");
    assert!(client.subscribe(B, &["x"]).unwrap().node.is_none());
    assert!(client.subscribe(A, &[]).is_none(), "it would mean everything");
    assert!(client.unsubscribe(A, &[]).is_none());
    assert!(client.subscribe("type/other", &["x"]).is_none());
}
