//! What a NACK does, and does not do.

use super::*;

fn refused(stream: &DeltaStream) -> Vec<(u64, &str, &str)> {
    let rejections = stream.progress().rejections.iter();
    rejections.map(|r| (r.revision, r.name.as_str(), r.message.as_str())).collect()
}

#[test]
fn a_refused_resource_is_sent_again_only_when_it_changes() {
    let one = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = DeltaStream::new(config());
    let sent = stream.on_request(request(A, &[WILDCARD], &[]), &one).unwrap();
    let after = stream.on_request(nack(&sent[0], "x", "bad port"), &one).unwrap();
    assert!(after.is_empty());
    assert_eq!(refused(&stream), [(1, "x", "bad port")]);

    let two = snapshot(2, &[(A, "x", "1"), (A, "y", "2")]);
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["a +y"]);
    ack_all(&mut stream, &sent, &two);
    assert_eq!(refused(&stream), [(1, "x", "bad port")], "still refused");

    let three = snapshot(3, &[(A, "x", "3"), (A, "y", "2")]);
    let sent = stream.on_snapshot(&three);
    assert_eq!(show(&sent), ["a +x"]);
    assert_eq!(refused(&stream).len(), 1, "until answered");
    stream.on_request(nack(&sent[0], "x", "bad name"), &three).unwrap();
    assert_eq!(refused(&stream), [(3, "x", "bad name")]);

    let sent = stream.on_snapshot(&snapshot(4, &[]));
    assert_eq!(show(&sent), ["a -x -y"], "an older form may still be served");
    ack_all(&mut stream, &sent, &three);
    assert_eq!(refused(&stream), []);
}

#[test]
fn a_refused_commit_does_not_make_the_revision_live() {
    let one = snapshot(1, &[]);
    let mut stream = DeltaStream::new(config());
    let sent = stream.on_request(request(COMMIT, &[WILDCARD], &[]), &one).unwrap();
    ack_all(&mut stream, &sent, &one);
    let two = snapshot(2, &[]);
    let sent = stream.on_snapshot(&two);
    stream.on_request(nack(&sent[0], "default/web", "map full"), &two).unwrap();
    assert_eq!(stream.progress().live_revision, Some(1));
    assert_eq!(stream.progress().sent_revision, 2);
    assert_eq!(refused(&stream), [(2, "default/web", "map full")]);
    let three = snapshot(3, &[]);
    let sent = stream.on_snapshot(&three);
    ack_all(&mut stream, &sent, &three);
    assert_eq!(stream.progress().live_revision, Some(3));
    assert_eq!(refused(&stream), []);
}

#[test]
fn a_nack_that_names_nothing_lasts_until_the_type_is_answered_again() {
    let one = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = settled(&one);
    let two = snapshot(2, &[(A, "x", "2"), (A, "y", "2")]);
    let sent = stream.on_snapshot(&two);
    let mut answer = ack(&sent[0]);
    answer.error_detail =
        Some(Status { message: "as Envoy says it".to_owned(), ..Status::default() });
    stream.on_request(answer, &two).unwrap();
    assert_eq!(refused(&stream), [(2, "", "as Envoy says it")]);
    let three = snapshot(3, &[(A, "x", "3")]);
    let sent = stream.on_snapshot(&three);
    ack_all(&mut stream, &sent, &three);
    assert_eq!(refused(&stream), []);
}

#[test]
fn an_accepted_chunk_does_not_excuse_a_refused_one() {
    let one = snapshot(1, &[(A, "x", "1"), (A, "y", "1")]);
    let mut stream = DeltaStream::new(StreamConfig { max_response_bytes: 1, ..config() });
    let sent = stream.on_request(request(A, &[WILDCARD], &[]), &one).unwrap();
    assert_eq!(show(&sent), ["a +x", "a +y"]);
    stream.on_request(nack(&sent[0], "", "no name"), &one).unwrap();
    stream.on_request(ack(&sent[1]), &one).unwrap();
    assert_eq!(refused(&stream), [(1, "", "no name")]);
}

#[test]
fn giving_a_resource_up_ends_its_refusal() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let sent = stream.on_request(request(A, &["x"], &[]), &one).unwrap();
    stream.on_request(nack(&sent[0], "x", "no"), &one).unwrap();
    stream.on_request(request(A, &[], &["x"]), &one).unwrap();
    assert_eq!(refused(&stream), []);
    // Also when the answer comes after that.
    let sent = stream.on_request(request(A, &["x"], &[]), &one).unwrap();
    stream.on_request(request(A, &[], &["x"]), &one).unwrap();
    stream.on_request(nack(&sent[0], "x", "no"), &one).unwrap();
    assert_eq!(refused(&stream), []);
}

#[test]
fn refusals_are_bounded() {
    let one = snapshot(1, &[(A, "x", "1")]);
    let mut stream = DeltaStream::new(config());
    let sent = stream.on_request(request(A, &[WILDCARD], &[]), &one).unwrap();
    let many: Vec<(String, String)> = (0..super::super::refusals::MAX_REFUSALS + 10)
        .map(|i| (i.to_string(), String::new()))
        .collect();
    let mut answer = ack(&sent[0]);
    answer.error_detail = Some(crate::detail::encode(&many));
    stream.on_request(answer, &one).unwrap();
    assert_eq!(refused(&stream).len(), super::super::refusals::MAX_REFUSALS);
}

#[test]
fn every_part_of_a_commit_counts() {
    let one = snapshot(1, &[]);
    for refuse_first in [false, true] {
        let mut stream = DeltaStream::new(StreamConfig { max_response_bytes: 1, ..config() });
        let first = request(COMMIT, &["revision", "absent"], &[]);
        let sent = stream.on_request(first, &one).unwrap();
        assert_eq!(show(&sent), ["commit +revision", "commit -absent"]);
        let answer = if refuse_first { nack(&sent[0], "revision", "no") } else { ack(&sent[0]) };
        stream.on_request(answer, &one).unwrap();
        assert_eq!(stream.progress().live_revision, None);
        stream.on_request(ack(&sent[1]), &one).unwrap();
        let live = (!refuse_first).then_some(1);
        assert_eq!(stream.progress().live_revision, live);
    }
}
