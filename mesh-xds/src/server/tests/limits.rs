//! Broken and hostile requests end the stream with an error, and nothing else.

use super::*;

fn error(request: DeltaDiscoveryRequest) -> ProtocolError {
    let mut stream = DeltaStream::new(config());
    stream.on_request(request, &snapshot(1, &[])).unwrap_err()
}

#[test]
fn the_first_request_carries_the_node() {
    let mut anonymous = request(A, &[], &[]);
    anonymous.node = None;
    assert_eq!(error(anonymous.clone()), ProtocolError::NoNode);
    anonymous.node = Some(Node::default());
    assert_eq!(error(anonymous.clone()), ProtocolError::NoNode);
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    anonymous.node = Some(Node { id: long, ..Node::default() });
    assert!(matches!(error(anonymous), ProtocolError::TooLong { field: "node.id", .. }));
}

#[test]
fn later_requests_need_no_node_and_cannot_change_it() {
    let one = snapshot(1, &[]);
    let mut stream = DeltaStream::new(config());
    stream.on_request(request(A, &[], &[]), &one).unwrap();
    let mut other = request(B, &[], &[]);
    other.node = None;
    stream.on_request(other.clone(), &one).unwrap();
    other.node = Some(Node { id: "another".to_owned(), ..Node::default() });
    stream.on_request(other, &one).unwrap();
    let expected = NodeInfo { id: "node-1".to_owned(), version: "1.2".to_owned() };
    assert_eq!(stream.progress().node.as_ref(), Some(&expected));
}

#[test]
fn names_and_types_are_checked() {
    assert_eq!(error(request("", &[], &[])), ProtocolError::NoType);
    assert_eq!(error(request(A, &[""], &[])), ProtocolError::EmptyName);
    assert_eq!(error(request(A, &[], &[""])), ProtocolError::EmptyName);
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    let too_long = |error| matches!(error, ProtocolError::TooLong { len, .. } if len == long.len());
    assert!(too_long(error(request(&long, &[], &[]))));
    assert!(too_long(error(request(A, &[&long], &[]))));
    let mut claims = request(A, &[], &[]);
    claims.initial_resource_versions = [("x".to_owned(), long.clone())].into();
    assert!(too_long(error(claims)));
}

#[test]
fn huge_lists_are_refused() {
    let names: Vec<String> = (0..=MAX_NAMES).map(|i| i.to_string()).collect();
    let mut huge = request(A, &[], &[]);
    huge.resource_names_subscribe = names.clone();
    assert!(
        matches!(error(huge), ProtocolError::TooManyNames { count, .. } if count == MAX_NAMES + 1)
    );

    // In several requests as well.
    let one = snapshot(1, &[]);
    let mut stream = DeltaStream::new(config());
    let (left, right) = names.split_at(MAX_NAMES / 2);
    let mut part = request(A, &[], &[]);
    part.resource_names_subscribe = left.to_vec();
    stream.on_request(part, &one).unwrap();
    let mut part = request(B, &[], &[]);
    part.resource_names_subscribe = right.to_vec();
    let error = stream.on_request(part, &one).unwrap_err();
    assert!(matches!(error, ProtocolError::TooManyNames { field: "subscriptions", .. }));
}

#[test]
fn types_are_bounded() {
    let one = snapshot(1, &[]);
    let mut stream = DeltaStream::new(config());
    for i in 0..MAX_TYPES {
        stream.on_request(request(&format!("type/{i}"), &[], &[]), &one).unwrap();
    }
    let error = stream.on_request(request(A, &[], &[]), &one).unwrap_err();
    assert_eq!(error, ProtocolError::TooManyTypes);
}

#[test]
fn an_answer_under_another_type_is_an_error() {
    let one = snapshot(1, &[]);
    let mut stream = DeltaStream::new(config());
    let sent = stream.on_request(request(A, &[], &[]), &one).unwrap();
    let mut answer = ack(&sent[0]);
    answer.type_url = B.to_owned();
    let error = stream.on_request(answer, &one).unwrap_err();
    assert!(matches!(error, ProtocolError::WrongType { .. }));
}
