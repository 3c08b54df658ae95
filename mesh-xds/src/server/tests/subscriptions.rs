//! Who gets what: wildcard, names, and their mixtures.

use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

use super::*;

#[test]
fn an_empty_first_request_subscribes_to_everything() {
    let all = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = DeltaStream::new(config());
    let responses = stream.on_request(request(A, &[], &[]), &all).unwrap();
    assert_eq!(show(&responses), ["a +x +y"]);
    assert_eq!(responses[0].system_version_info, "1");
    let any = responses[0].resources[0].resource.as_ref().unwrap();
    assert_eq!((any.type_url.as_str(), any.value.as_slice()), (A, &b"1"[..]));
}

#[test]
fn a_first_request_that_only_unsubscribes_subscribes_to_nothing() {
    let all = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    for unsubscribe in ["x", WILDCARD] {
        let responses = stream.on_request(request(A, &[], &[unsubscribe]), &all);
        assert!(responses.unwrap().is_empty());
    }
    // Nor does an empty list later on.
    let responses = stream.on_request(request(A, &[], &[]), &all).unwrap();
    assert!(responses.is_empty());
}

#[test]
fn an_empty_list_in_an_ack_changes_nothing() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = settled(&one);
    let two = snapshot(2, &[(A, "x", "2")]);
    assert_eq!(show(&stream.on_snapshot(&two)), ["a +x"]);
}

#[test]
fn an_answer_of_an_earlier_stream_subscribes_to_nothing() {
    let all = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let mut stale = request(A, &[], &[]);
    stale.response_nonce = "7".to_owned();
    assert!(stream.on_request(stale, &all).unwrap().is_empty());
    let first = stream.on_request(request(A, &[], &[]), &all).unwrap();
    assert_eq!(show(&first), ["a +x"], "the real first request still counts");
}

#[test]
fn the_first_request_is_answered_even_with_nothing_to_say() {
    let empty = snapshot(1, &[]);
    let mut stream = DeltaStream::new(config());
    for type_url in [A, "type/unknown"] {
        let responses = stream.on_request(request(type_url, &[], &[]), &empty);
        assert_eq!(show(&responses.unwrap()), [type_url.trim_start_matches("type/")]);
    }
}

#[test]
fn a_claimed_version_is_not_sent_again_and_a_stale_claim_is_removed() {
    let all = snapshot(1, &[(A, "same", "1"), (A, "changed", "2"), (A, "new", "1")]);
    let version = |body: &str| Resource::from_body(body.as_bytes()).version;
    let claims = [("same", "1"), ("changed", "1"), ("gone", "1")];
    for subscribe in [&[][..], &[WILDCARD], &["same", "changed", "gone", "new", "absent"]] {
        let mut first = request(A, subscribe, &[]);
        first.initial_resource_versions =
            claims.iter().map(|(name, body)| ((*name).to_owned(), version(body))).collect();
        let mut stream = DeltaStream::new(config());
        let responses = stream.on_request(first, &all).unwrap();
        let removed = match subscribe.len() {
            5 => "a -absent -gone",
            _ => "a -gone",
        };
        assert_eq!(show(&responses), ["a +changed +new", removed]);
    }
}

#[test]
fn claims_outside_the_subscription_and_in_later_requests_are_ignored() {
    let all = snapshot(1, &[(A, "x", "1")]);
    let mut first = request(A, &["x"], &[]);
    first.initial_resource_versions = [("other".to_owned(), "1".to_owned())].into();
    let mut stream = DeltaStream::new(config());
    let responses = stream.on_request(first, &all).unwrap();
    assert_eq!(show(&responses), ["a +x"]);
    let mut later = request(A, &["y"], &[]);
    later.initial_resource_versions = [("y".to_owned(), "1".to_owned())].into();
    assert_eq!(show(&stream.on_request(later, &all).unwrap()), ["a -y"]);
}

#[test]
fn a_subscribed_name_is_sent_even_if_the_client_has_it() {
    let all = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = settled(&all);
    let again = stream.on_request(request(A, &["x", WILDCARD], &[]), &all);
    assert_eq!(show(&again.unwrap()), ["a +x"]);
}

#[test]
fn a_repeated_wildcard_is_no_reason_to_answer() {
    let all = snapshot(1, &[(A, "x", "1")]);
    let mut stream = settled(&all);
    let again = stream.on_request(request(A, &[WILDCARD], &[]), &all);
    assert!(again.unwrap().is_empty());
}

#[test]
fn an_absent_name_is_named_as_removed_and_sent_when_it_appears() {
    let mut stream = DeltaStream::new(config());
    let one = snapshot(1, &[(A, "y", "1")]);
    let responses = stream.on_request(request(A, &["x"], &[]), &one).unwrap();
    assert_eq!(show(&responses), ["a -x"]);
    let two = snapshot(2, &[(A, "x", "1"), (A, "y", "2")]);
    assert_eq!(show(&ack_all(&mut stream, &responses, &two)), ["a +x"]);
}

#[test]
fn unsubscribing_is_not_answered_unless_the_wildcard_may_cover_the_name() {
    let all = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = DeltaStream::new(config());
    let mut send = |subscribe: &[&str], unsubscribe: &[&str]| {
        let responses = stream.on_request(request(A, subscribe, unsubscribe), &all);
        show(&responses.unwrap())
    };
    assert_eq!(send(&["x", "absent"], &[]), ["a +x", "a -absent"]);
    assert_eq!(send(&[], &["x", "never"]), [""; 0]);
    assert_eq!(send(&["x"], &[]), ["a +x"], "it may have been dropped");
    assert_eq!(send(&[WILDCARD], &[]), ["a +y"]);
    assert_eq!(send(&[], &["x", "absent", "y"]), ["a +x", "a -absent"]);
    assert_eq!(send(&[], &[WILDCARD]), [""; 0]);
    assert_eq!(send(&[WILDCARD], &[]), ["a +x +y"], "all may have been dropped");
}

#[test]
fn leaving_the_wildcard_keeps_the_names() {
    let one = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = settled(&one);
    let responses = stream.on_request(request(A, &["x"], &[WILDCARD]), &one).unwrap();
    assert_eq!(show(&responses), ["a +x"]);
    ack_all(&mut stream, &responses, &one);
    let two = snapshot(2, &[(A, "x", "2")]);
    assert_eq!(show(&stream.on_snapshot(&two)), ["a +x"], "y is nobody's business");
}

#[test]
fn a_name_in_both_lists_ends_unsubscribed() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let responses = stream.on_request(request(A, &["x"], &["x"]), &one).unwrap();
    assert!(responses.is_empty());
    assert!(stream.on_snapshot(&snapshot(2, &[(A, "x", "2")])).is_empty());
}

#[test]
fn what_the_client_holds_is_told() {
    let snapshot = |n: &str| snapshot(1, &[(A, "x", n), (A, "y", n), (B, "z", n)]);
    let mut stream = DeltaStream::new(StreamConfig { commit_type: None, ..config() });
    let first = snapshot("1");
    let mut hello = request(A, &["x", "absent"], &[]);
    let text = Kind::StringValue("n1".to_owned());
    let metadata = Struct { fields: [("node".to_owned(), Value { kind: Some(text) })].into() };
    hello.node = Some(Node { metadata: Some(metadata), ..node() });
    stream.on_request(hello, &first).unwrap();
    stream.on_request(request(B, &[WILDCARD], &[]), &first).unwrap();
    let held = |stream: &DeltaStream, type_url: &str| -> Vec<String> {
        let held = stream.progress().held.get(type_url).unwrap();
        assert_eq!(held.resources().count(), held.count());
        held.resources().map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(stream.progress().runs_on, "n1");
    assert_eq!((held(&stream, A), held(&stream, B)), (strings(&["x"]), strings(&["z"])));
    stream.on_request(request(A, &["y"], &["x"]), &first).unwrap();
    assert_eq!(held(&stream, A), ["y"]);
}
