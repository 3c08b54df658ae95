//! What a NACK does, and does not do.

use super::*;

fn refused(stream: &SotwStream) -> Vec<(u64, &str, &str)> {
    let rejections = stream.progress().rejections.iter();
    rejections.map(|r| (r.revision, r.name.as_str(), r.message.as_str())).collect()
}

#[test]
fn a_nack_names_its_resource_and_lasts_until_that_is_mended() {
    let one = snapshot(1, &[(CLUSTER, "a", "1"), (CLUSTER, "b", "1")]);
    let mut stream = SotwStream::new(config());
    let sent = stream.on_request(request(CLUSTER, &[]), &one).unwrap();
    let message = "Error adding/updating cluster(s) b: no such policy";
    assert!(stream.on_request(nack(&sent[0], &[], message), &one).unwrap().is_empty());
    assert_eq!(refused(&stream), [(1, "b", message)]);
    assert_eq!(stream.progress().live_revision, None);
    let types = &stream.progress().types;
    assert_eq!((types[CLUSTER].sent, types[CLUSTER].acked), (Some(1), None));

    let two = snapshot(2, &[(CLUSTER, "a", "2"), (CLUSTER, "b", "1")]);
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["Cluster a=2 b=1"], "absence would delete it");
    stream.on_request(nack(&sent[0], &[], "b: still"), &two).unwrap();
    assert_eq!(refused(&stream), [(2, "b", "b: still")]);

    let three = snapshot(3, &[(CLUSTER, "a", "2")]);
    let sent = stream.on_snapshot(&three);
    stream.on_request(ack(&sent[0], &[]), &three).unwrap();
    assert_eq!(refused(&stream), []);
    assert_eq!(stream.progress().live_revision, Some(3));
}

#[test]
fn the_good_ones_of_a_refused_partial_response_are_sent_again_alone() {
    let one = snapshot(1, &[(ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1"), (ENDPOINTS, "c", "1")]);
    let names = ["a", "b", "c"];
    let mut stream = SotwStream::new(config());
    let sent = stream.on_request(request(ENDPOINTS, &names), &one).unwrap();
    let again = stream.on_request(nack(&sent[0], &names, "b: bad address"), &one).unwrap();
    assert_eq!(show(&again), ["ClusterLoadAssignment a=1 c=1"]);
    assert_ne!(again[0].version_info, sent[0].version_info, "b is not part of it");
    stream.on_request(ack(&again[0], &names), &one).unwrap();
    assert_eq!(refused(&stream), [(1, "b", "b: bad address")]);

    let two = snapshot(2, &[(ENDPOINTS, "a", "2"), (ENDPOINTS, "b", "1"), (ENDPOINTS, "c", "1")]);
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["ClusterLoadAssignment a=2"]);
    stream.on_request(ack(&sent[0], &names), &two).unwrap();
    assert_eq!(refused(&stream).len(), 1, "still refused");
    assert_eq!(stream.progress().live_revision, None);
    stream.on_request(request(ENDPOINTS, &["a", "c"]), &two).unwrap();
    assert_eq!(refused(&stream), [], "given up");
}

#[test]
fn without_a_name_all_are_in_doubt_until_the_next_change() {
    let one = snapshot(1, &[(ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1")]);
    let names = ["a", "b"];
    let mut stream = SotwStream::new(config());
    let sent = stream.on_request(request(ENDPOINTS, &names), &one).unwrap();
    assert!(stream.on_request(nack(&sent[0], &names, "no"), &one).unwrap().is_empty());
    assert_eq!(refused(&stream), [(1, "", "no")]);
    let two = snapshot(2, &[(ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "2")]);
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["ClusterLoadAssignment a=1 b=2"]);
    stream.on_request(ack(&sent[0], &names), &two).unwrap();
    assert_eq!(refused(&stream), []);
    assert_eq!(stream.progress().live_revision, Some(2));
}

#[test]
fn the_only_resource_of_a_response_is_the_one_refused() {
    let one = snapshot(1, &[(ROUTE, "web", "1")]);
    let mut stream = SotwStream::new(config());
    let sent = stream.on_request(request(ROUTE, &["web"]), &one).unwrap();
    stream.on_request(nack(&sent[0], &["web"], "unknown matcher"), &one).unwrap();
    assert_eq!(refused(&stream), [(1, "web", "unknown matcher")]);
}
