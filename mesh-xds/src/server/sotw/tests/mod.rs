//! One test per rule against a stream driven by hand; random histories in `model`.

mod model;
mod order;
mod rejections;

use super::*;
use crate::{
    ads::{Node, Status},
    snapshot::Resource,
    types::{CLUSTER, ENDPOINTS, LISTENER, PUSH_ORDER, ROUTE, STAGED},
};

fn config() -> StreamConfig {
    StreamConfig {
        max_response_bytes: 1 << 20,
        push_order: &PUSH_ORDER,
        commit_type: None,
        staged: &STAGED,
        warmed: None,
    }
}

/// Resources as `(type, name, body)`; bodies begin with the name, to be recognised.
fn snapshot(revision: u64, resources: &[(&str, &str, &str)]) -> Arc<Snapshot> {
    let mut builder = Snapshot::builder(revision);
    for (type_url, name, body) in resources {
        let body = format!("{name}={body}");
        builder = builder.insert(type_url, *name, Resource::from_body(body.as_bytes()));
    }
    Arc::new(builder.build())
}

fn request(type_url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(Node { id: "node-1".to_owned(), ..Node::default() }),
        type_url: type_url.to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DiscoveryRequest::default()
    }
}

fn ack(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..request(&response.type_url, names)
    }
}

fn nack(response: &DiscoveryResponse, names: &[&str], message: &str) -> DiscoveryRequest {
    let error = Status { message: message.to_owned(), ..Status::default() };
    DiscoveryRequest {
        version_info: String::new(),
        error_detail: Some(error),
        ..ack(response, names)
    }
}

fn body(any: &Any) -> &str {
    std::str::from_utf8(&any.value).unwrap()
}

/// Responses as `type name=body …`.
fn show(responses: &[DiscoveryResponse]) -> Vec<String> {
    let line = |response: &DiscoveryResponse| {
        let type_url = response.type_url.rsplit('.').next().unwrap();
        let bodies = response.resources.iter().map(body);
        std::iter::once(type_url).chain(bodies).collect::<Vec<_>>().join(" ")
    };
    responses.iter().map(line).collect()
}

/// A stream that has these subscriptions and everything of a snapshot, acknowledged.
fn settled(subscriptions: &[(&str, &[&str])], snapshot: &Arc<Snapshot>) -> SotwStream {
    let mut stream = SotwStream::new(config());
    for (type_url, names) in subscriptions {
        let sent = stream.on_request(request(type_url, names), snapshot).unwrap();
        let more = stream.on_request(ack(&sent[0], names), snapshot).unwrap();
        assert_eq!((sent.len(), more.len()), (1, 0));
    }
    stream
}

#[test]
fn no_names_first_is_everything_and_later_nothing() {
    let one = snapshot(1, &[(CLUSTER, "a", "1"), (CLUSTER, "b", "1"), (ENDPOINTS, "a", "1")]);
    let mut stream = SotwStream::new(config());
    let sent = stream.on_request(request(CLUSTER, &[]), &one).unwrap();
    assert_eq!(show(&sent), ["Cluster a=1 b=1"]);
    assert!(stream.on_request(ack(&sent[0], &[]), &one).unwrap().is_empty());
    assert!(stream.on_request(request(CLUSTER, &[]), &one).unwrap().is_empty(), "still");
    let two = snapshot(2, &[(CLUSTER, "a", "2")]);
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["Cluster a=2"], "what is absent is gone");
    assert!(stream.on_request(ack(&sent[0], &["a"]), &two).unwrap().len() == 1, "asked by name");
    let mut stream = settled(&[(CLUSTER, &["a"])], &two);
    assert!(stream.on_request(request(CLUSTER, &[]), &two).unwrap().is_empty());
    assert!(stream.on_snapshot(&snapshot(3, &[(CLUSTER, "a", "3")])).is_empty());
    assert!(stream.on_request(request(ENDPOINTS, &[]), &one).unwrap().is_empty());
}

#[test]
fn a_star_is_everything_also_among_names() {
    let one = snapshot(1, &[(LISTENER, "a", "1"), (LISTENER, "b", "1")]);
    let mut stream = settled(&[(LISTENER, &["a"])], &one);
    let sent = stream.on_request(request(LISTENER, &["a", "*"]), &one).unwrap();
    assert_eq!(show(&sent), ["Listener a=1 b=1"]);
    assert!(stream.on_request(ack(&sent[0], &["a"]), &one).unwrap().is_empty());
    let two = snapshot(2, &[(LISTENER, "a", "1"), (LISTENER, "b", "2")]);
    assert!(stream.on_snapshot(&two).is_empty(), "no longer");
}

#[test]
fn what_is_asked_for_anew_is_answered_even_if_absent_or_known() {
    let one = snapshot(1, &[(ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1")]);
    let mut stream = settled(&[(ENDPOINTS, &["a"])], &one);
    let sent = stream.on_request(request(ENDPOINTS, &["a", "b"]), &one).unwrap();
    assert_eq!(show(&sent), ["ClusterLoadAssignment b=1"]);
    stream.on_request(ack(&sent[0], &["a", "b"]), &one).unwrap();
    let sent = stream.on_request(request(ENDPOINTS, &["a"]), &one).unwrap();
    assert_eq!(show(&sent), ["ClusterLoadAssignment"], "a version without b");
    stream.on_request(ack(&sent[0], &["a"]), &one).unwrap();
    let sent = stream.on_request(request(ENDPOINTS, &["a", "b", "c"]), &one).unwrap();
    assert_eq!(show(&sent), ["ClusterLoadAssignment b=1"], "it has forgotten it");
    stream.on_request(ack(&sent[0], &["a", "b", "c"]), &one).unwrap();
    let sent = stream.on_request(request(ENDPOINTS, &["a", "b", "c", "d"]), &one).unwrap();
    assert_eq!(show(&sent), ["ClusterLoadAssignment"], "there is no d");
}

#[test]
fn a_second_request_before_the_first_answer_as_grpc_sends_it() {
    let one = snapshot(1, &[(CLUSTER, "a", "1"), (CLUSTER, "b", "1")]);
    let mut stream = SotwStream::new(config());
    let first = stream.on_request(request(CLUSTER, &["a"]), &one).unwrap();
    assert_eq!(show(&first), ["Cluster a=1"]);
    // Its nonce is empty, and it does not acknowledge anything.
    assert!(stream.on_request(request(CLUSTER, &["a", "b"]), &one).unwrap().is_empty());
    assert_eq!(stream.progress().types[CLUSTER].acked, None);
    let second = stream.on_request(ack(&first[0], &["a", "b"]), &one).unwrap();
    assert_eq!(show(&second), ["Cluster a=1 b=1"]);
    assert_eq!(stream.progress().types[CLUSTER].acked, Some(1));
    // The answer to the first comes again: stale, also its error, but its names count.
    let stale = nack(&first[0], &["b"], "late");
    assert!(stream.on_request(stale, &one).unwrap().is_empty());
    assert!(stream.progress().rejections.is_empty());
    stream.on_request(ack(&second[0], &["b"]), &one).unwrap();
    assert_eq!(stream.progress().live_revision, Some(1));
    let two = snapshot(2, &[(CLUSTER, "a", "2"), (CLUSTER, "b", "1")]);
    assert!(stream.on_snapshot(&two).is_empty(), "a was given up");
}

#[test]
fn who_comes_back_with_everything_is_sent_nothing() {
    let all = [(CLUSTER, "a", "1"), (ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1")];
    let one = snapshot(1, &all);
    let subscriptions: [(&str, &[&str]); 2] = [(CLUSTER, &[]), (ENDPOINTS, &["a", "b", "none"])];
    let mut versions = Vec::new();
    let mut stream = SotwStream::new(config());
    for (type_url, names) in subscriptions {
        let sent = stream.on_request(request(type_url, names), &one).unwrap();
        versions.push(sent[0].version_info.clone());
        stream.on_request(ack(&sent[0], names), &one).unwrap();
    }
    // Another replica, later revision, equal content.
    let same = snapshot(7, &all);
    let mut stream = SotwStream::new(config());
    let again = |(type_url, names): (&str, &[&str]), version: &String| DiscoveryRequest {
        version_info: version.clone(),
        ..request(type_url, names)
    };
    for (subscription, version) in subscriptions.into_iter().zip(&versions) {
        let sent = stream.on_request(again(subscription, version), &same).unwrap();
        assert_eq!(show(&sent), [""; 0]);
    }
    assert_eq!(stream.progress().live_revision, Some(7));
    assert_eq!(stream.progress().types[ENDPOINTS].acked, Some(7));
    // More names than it had, or other content: that is answered.
    let mut stream = SotwStream::new(config());
    let more = again((ENDPOINTS, &["a", "b", "none", "nor this"]), &versions[1]);
    assert_eq!(stream.on_request(more, &same).unwrap().len(), 1);
    let other = snapshot(8, &[(CLUSTER, "a", "2")]);
    let mut stream = SotwStream::new(config());
    let sent = stream.on_request(again(subscriptions[0], &versions[0]), &other).unwrap();
    assert_eq!(show(&sent), ["Cluster a=2"]);
}

#[test]
fn who_wants_nothing_of_a_type_owes_no_answer() {
    let one = snapshot(1, &[(ENDPOINTS, "a", "1"), (CLUSTER, "a", "1")]);
    let mut stream = settled(&[(CLUSTER, &[])], &one);
    let sent = stream.on_request(request(ENDPOINTS, &["a"]), &one).unwrap();
    assert_eq!(sent.len(), 1);
    stream.on_request(request(ENDPOINTS, &[]), &one).unwrap();
    let two = snapshot(2, &[(CLUSTER, "a", "2")]);
    assert_eq!(show(&stream.on_snapshot(&two)), ["Cluster a=2"]);
}

#[test]
fn partial_types_are_cut_and_complete_ones_are_not() {
    let body = "b".repeat(400);
    let all: Vec<(&str, &str, &str)> = ["a", "b", "c", "d", "e"]
        .into_iter()
        .flat_map(|name| [(ENDPOINTS, name, body.as_str()), (CLUSTER, name, body.as_str())])
        .collect();
    let one = snapshot(1, &all);
    let mut stream = SotwStream::new(StreamConfig { max_response_bytes: 1100, ..config() });
    let clusters = stream.on_request(request(CLUSTER, &[]), &one).unwrap();
    assert_eq!(clusters[0].resources.len(), 5);
    stream.on_request(ack(&clusters[0], &[]), &one).unwrap();
    let names = ["a", "b", "c", "d", "e"];
    let mut sent = stream.on_request(request(ENDPOINTS, &names), &one).unwrap();
    let (mut counts, mut versions) = (Vec::new(), Vec::new());
    while let [response] = sent.as_slice() {
        counts.push(response.resources.len());
        versions.push(response.version_info.clone());
        sent = stream.on_request(ack(response, &names), &one).unwrap();
    }
    assert_eq!(counts, [2, 2, 1]);
    // A part of it does not pass for all of it.
    let come_back = |version: &str| {
        let version_info = version.to_owned();
        let first = DiscoveryRequest { version_info, ..request(ENDPOINTS, &names) };
        SotwStream::new(config()).on_request(first, &one).unwrap().len()
    };
    assert_eq!(versions.iter().map(|it| come_back(it)).collect::<Vec<_>>(), [1, 1, 0]);
}

#[test]
fn broken_requests_end_the_stream() {
    let one = snapshot(1, &[(CLUSTER, "a", "1"), (LISTENER, "a", "1")]);
    let mut stream = SotwStream::new(config());
    let anonymous = DiscoveryRequest { node: None, ..request(CLUSTER, &[]) };
    assert_eq!(stream.on_request(anonymous, &one), Err(ProtocolError::NoNode));
    let mut stream = SotwStream::new(config());
    let untyped = request("", &[]);
    assert_eq!(stream.on_request(untyped, &one), Err(ProtocolError::NoType));
    let nameless = request(ENDPOINTS, &[""]);
    assert_eq!(stream.on_request(nameless, &one), Err(ProtocolError::EmptyName));
    let sent = stream.on_request(request(CLUSTER, &[]), &one).unwrap();
    let crossed = DiscoveryRequest { type_url: LISTENER.to_owned(), ..ack(&sent[0], &[]) };
    let error = stream.on_request(crossed, &one).unwrap_err();
    assert!(matches!(error, ProtocolError::WrongType { .. }), "{error}");
    for at in 0..MAX_TYPES {
        let sent = stream.on_request(request(&format!("type/{at}"), &["x"]), &one);
        assert_eq!(sent.is_err(), at == MAX_TYPES - 1, "{at}");
    }
}
