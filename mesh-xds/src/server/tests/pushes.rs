//! When and in which order: one push at a time, pinned, cut, ended by the commit type.

use super::*;
use prost::Message as _;

#[test]
fn a_burst_of_first_requests_is_answered_from_one_snapshot() {
    let one = snapshot(1, &[(A, "x", "1"), (B, "x", "1")]);
    let two = snapshot(2, &[(A, "x", "2"), (B, "x", "2")]);
    let mut stream = DeltaStream::new(config());
    let mut sent = stream.on_request(request(B, &[WILDCARD], &[]), &one).unwrap();
    assert!(stream.on_snapshot(&two).is_empty());
    for type_url in [A, COMMIT] {
        let first = request(type_url, &[WILDCARD], &[]);
        sent.extend(stream.on_request(first, &two).unwrap());
    }
    assert_eq!(show(&sent), ["b +x", "a +x", "commit +revision"]);
    assert!(sent.iter().all(|response| response.system_version_info == "1"));
    assert_eq!(stream.progress().sent_revision, 1);

    let next = ack_all(&mut stream, &sent, &two);
    assert_eq!(show(&next), ["b +x", "a +x", "commit +revision"]);
    assert!(next.iter().all(|response| response.system_version_info == "2"));
    let progress = stream.progress();
    assert_eq!((progress.sent_revision, progress.live_revision), (2, Some(1)));
}

#[test]
fn a_late_subscription_brings_the_commit_again_and_only_the_newest_counts() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let early = stream.on_request(request(COMMIT, &[WILDCARD], &[]), &one).unwrap();
    assert_eq!(show(&early), ["commit +revision"]);
    let late = stream.on_request(request(A, &[WILDCARD], &[]), &one).unwrap();
    assert_eq!(show(&late), ["a +x", "commit +revision"]);
    ack_all(&mut stream, &early, &one);
    assert_eq!(stream.progress().live_revision, None, "not all of it yet");
    ack_all(&mut stream, &late, &one);
    assert_eq!(stream.progress().live_revision, Some(1));
}

#[test]
fn a_reconnected_client_with_everything_gets_only_the_commit() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let mut sent = Vec::new();
    for type_url in [A, COMMIT] {
        let mut first = request(type_url, &[WILDCARD], &[]);
        let known = one.resources(type_url).unwrap().iter();
        first.initial_resource_versions =
            known.map(|(name, r)| (name.to_owned(), r.version.clone())).collect();
        sent.extend(stream.on_request(first, &one).unwrap());
    }
    assert_eq!(show(&sent), ["a", "commit +revision"]);
    ack_all(&mut stream, &sent, &one);
    assert_eq!(stream.progress().live_revision, Some(1));
}

#[test]
fn snapshots_merge_while_a_push_is_outstanding() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let sent = stream.on_request(request(A, &[WILDCARD], &[]), &one).unwrap();
    for (revision, body) in [(2, "2"), (3, "3")] {
        assert!(stream.on_snapshot(&snapshot(revision, &[(A, "x", body)])).is_empty());
    }
    let four = snapshot(4, &[(A, "x", "1"), (A, "y", "1")]);
    let next = ack_all(&mut stream, &sent, &four);
    assert_eq!(show(&next), ["a +y"], "x is back where the client has it");
    assert_eq!(next[0].system_version_info, "4");
}

#[test]
fn what_has_not_changed_is_not_sent() {
    let one = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = settled(&one);
    let two = Arc::new(Snapshot::edit(&one, 2).build());
    assert!(stream.on_snapshot(&two).is_empty());
    let progress = stream.progress();
    assert_eq!((progress.sent_revision, progress.live_revision), (2, Some(2)));
    let three = snapshot(3, &[(A, "x", "1"), (A, "y", "3")]);
    assert_eq!(show(&stream.on_snapshot(&three)), ["a +y"]);
}

#[test]
fn without_a_commit_type_a_revision_is_live_when_all_of_it_is_accepted() {
    let one = snapshot(1, &[(A, "x", "1"), (B, "x", "1")]);
    let mut stream = settled(&one);
    assert_eq!(stream.progress().live_revision, Some(1));
    let two = snapshot(2, &[(A, "x", "2")]);
    let sent = stream.on_snapshot(&two);
    stream.on_request(nack(&sent[0], "x", "no"), &two).unwrap();
    assert_eq!(stream.progress().live_revision, Some(1));
    let three = Arc::new(Snapshot::edit(&two, 3).build());
    assert!(stream.on_snapshot(&three).is_empty());
    assert_eq!(stream.progress().live_revision, Some(1), "x is still refused");
}

#[test]
fn additions_in_push_order_then_removals_in_reverse_then_the_commit() {
    let one = snapshot(1, &[(A, "old", "1"), (B, "old", "1"), ("type/z", "old", "1")]);
    let mut stream = DeltaStream::new(config());
    let mut sent = Vec::new();
    for type_url in ["type/z", A, B, COMMIT] {
        let first = request(type_url, &[WILDCARD], &[]);
        sent.extend(stream.on_request(first, &one).unwrap());
    }
    let two = snapshot(2, &[(A, "new", "1"), (B, "new", "1"), ("type/z", "new", "1")]);
    let next = ack_all(&mut stream, &sent, &two);
    let expected = ["b +new", "a +new", "z +new", "z -old", "a -old", "b -old", "commit +revision"];
    assert_eq!(show(&next), expected);
}

#[test]
fn equal_revisions_with_different_content_end_with_the_commit_too() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let mut sent = Vec::new();
    for type_url in [A, COMMIT] {
        let first = request(type_url, &[WILDCARD], &[]);
        sent.extend(stream.on_request(first, &one).unwrap());
    }
    let healthier = snapshot(1, &[(A, "x", "2")]);
    let next = ack_all(&mut stream, &sent, &healthier);
    assert_eq!(show(&next), ["a +x", "commit +revision"]);
}

#[test]
fn responses_stay_below_the_limit_and_together_hold_everything() {
    let body = "b".repeat(90);
    let names: Vec<String> = (0..100).map(|i| format!("name-{i:03}")).collect();
    let all: Vec<(&str, &str, &str)> =
        names.iter().map(|n| (A, n.as_str(), body.as_str())).collect();
    let (one, two) = (snapshot(1, &all), snapshot(2, &[(A, "huge", &"h".repeat(5000))]));
    let mut stream = DeltaStream::new(StreamConfig { max_response_bytes: 1000, ..config() });
    let sent = stream.on_request(request(A, &[WILDCARD], &[]), &one).unwrap();
    assert!(sent.len() > 10);
    assert!(sent.iter().all(|response| response.encoded_len() <= 1000));
    let received = sent.iter().flat_map(|response| &response.resources);
    assert!(received.map(|resource| &resource.name).eq(&names));

    let next = ack_all(&mut stream, &sent, &two);
    assert_eq!(show(&next[..1]), ["a +huge"], "one large resource goes alone");
    assert!(next[1..].iter().all(|response| response.encoded_len() <= 1000));
    assert!(next[1..].iter().flat_map(|r| &r.removed_resources).eq(&names));
}

#[test]
fn empty_stale_and_repeated_nonces_mean_nothing() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let two = snapshot(2, &[(A, "x", "2")]);
    let mut stream = DeltaStream::new(config());
    let sent = stream.on_request(request(A, &[WILDCARD], &[]), &one).unwrap();
    for nonce in ["", "99", "01", "-1"] {
        let mut answer = ack(&sent[0]);
        answer.response_nonce = nonce.to_owned();
        answer.error_detail = Some(Status::default());
        assert!(stream.on_request(answer, &two).unwrap().is_empty());
    }
    assert!(stream.progress().rejections.is_empty());
    let next = ack_all(&mut stream, &sent, &two);
    assert_eq!(show(&next), ["a +x"]);
    let repeated = stream.on_request(ack(&sent[0]), &two).unwrap();
    assert!(repeated.is_empty(), "and does not answer the next push");
    assert!(stream.on_snapshot(&snapshot(3, &[])).is_empty());
}

#[test]
fn a_subscription_with_a_stale_nonce_counts() {
    let one = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = DeltaStream::new(config());
    stream.on_request(request(A, &["x"], &[]), &one).unwrap();
    let mut late = request(A, &["y"], &[]);
    late.response_nonce = "77".to_owned();
    assert_eq!(show(&stream.on_request(late, &one).unwrap()), ["a +y"]);
}
