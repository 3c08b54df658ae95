//! What is sent before what, and what waits for an answer.

use super::*;

/// A client of Envoy's kind that has a listener, a route and a cluster with endpoints.
const SUBSCRIPTIONS: [(&str, &[&str]); 4] =
    [(CLUSTER, &[]), (ENDPOINTS, &["old"]), (LISTENER, &[]), (ROUTE, &["web"])];

fn before() -> Arc<Snapshot> {
    let all = [
        (CLUSTER, "old", "1"),
        (ENDPOINTS, "old", "1"),
        (LISTENER, "web", "1"),
        (ROUTE, "web", "old"),
    ];
    snapshot(1, &all)
}

fn after() -> Arc<Snapshot> {
    let all = [
        (CLUSTER, "new", "1"),
        (ENDPOINTS, "new", "1"),
        (LISTENER, "web", "1"),
        (ROUTE, "web", "new"),
    ];
    snapshot(2, &all)
}

#[test]
fn a_route_moves_when_the_new_cluster_is_warm_and_then_the_old_one_goes() {
    let two = after();
    let mut stream = settled(&SUBSCRIPTIONS, &before());
    let first = stream.on_snapshot(&two);
    // Endpoints cannot say what is gone: only the version changes.
    assert_eq!(show(&first), ["Cluster new=1 old=1", "ClusterLoadAssignment"]);
    assert!(stream.on_request(ack(&first[1], &["old"]), &two).unwrap().is_empty());
    // Envoy asks for endpoints of the cluster, and acknowledges it when it is warm.
    let warm = stream.on_request(request(ENDPOINTS, &["new", "old"]), &two).unwrap();
    assert_eq!(show(&warm), ["ClusterLoadAssignment new=1"]);
    assert!(stream.on_request(ack(&warm[0], &["new", "old"]), &two).unwrap().is_empty());
    let moved = stream.on_request(ack(&first[0], &[]), &two).unwrap();
    assert_eq!(show(&moved), ["RouteConfiguration web=new"]);
    assert_eq!(stream.progress().live_revision, Some(1));
    let last = stream.on_request(ack(&moved[0], &["web"]), &two).unwrap();
    assert_eq!(show(&last), ["Cluster new=1"]);
    assert!(stream.on_request(ack(&last[0], &[]), &two).unwrap().is_empty());
    let progress = stream.progress();
    assert_eq!((progress.sent_revision, progress.live_revision), (2, Some(2)));
}

#[test]
fn a_cluster_stays_while_a_refused_route_may_refer_to_it() {
    let two = after();
    let mut stream = settled(&SUBSCRIPTIONS, &before());
    let first = stream.on_snapshot(&two);
    stream.on_request(ack(&first[1], &["old"]), &two).unwrap();
    let moved = stream.on_request(ack(&first[0], &[]), &two).unwrap();
    let after = stream.on_request(nack(&moved[0], &["web"], "bad match"), &two).unwrap();
    assert_eq!(show(&after), [""; 0], "the route from before is served");
    assert_eq!(stream.progress().live_revision, Some(1));

    let mended = Snapshot::edit(&two, 3);
    let mended = mended.insert(ROUTE, "web", Resource::from_body(b"web=newer".as_slice()));
    let three = Arc::new(mended.build());
    let moved = stream.on_snapshot(&three);
    assert_eq!(show(&moved), ["RouteConfiguration web=newer"]);
    let last = stream.on_request(ack(&moved[0], &["web"]), &three).unwrap();
    assert_eq!(show(&last), ["Cluster new=1"]);
    stream.on_request(ack(&last[0], &[]), &three).unwrap();
    assert_eq!(stream.progress().live_revision, Some(3));
}

#[test]
fn a_cluster_that_comes_back_before_it_went_is_not_sent_again() {
    let (one, two) = (before(), after());
    let mut stream = settled(&SUBSCRIPTIONS, &one);
    let first = stream.on_snapshot(&two);
    stream.on_request(ack(&first[1], &["old"]), &two).unwrap();
    let moved = stream.on_request(ack(&first[0], &[]), &two).unwrap();
    stream.on_request(nack(&moved[0], &["web"], "bad"), &two).unwrap();
    let back = Snapshot::edit(&two, 3)
        .insert(CLUSTER, "old", Resource::from_body(b"old=1".as_slice()))
        .insert(ROUTE, "web", Resource::from_body(b"web=old".as_slice()));
    let three = Arc::new(back.build());
    let sent = stream.on_snapshot(&three);
    assert_eq!(show(&sent), ["RouteConfiguration web=old"]);
    assert!(stream.on_request(ack(&sent[0], &["web"]), &three).unwrap().is_empty());
    assert_eq!(stream.progress().live_revision, Some(3));
}

#[test]
fn without_anything_that_refers_a_cluster_goes_at_once() {
    let one = snapshot(1, &[(CLUSTER, "a", "1"), (CLUSTER, "b", "1")]);
    let mut stream = settled(&[(CLUSTER, &[])], &one);
    assert_eq!(show(&stream.on_snapshot(&snapshot(2, &[(CLUSTER, "b", "1")]))), ["Cluster b=1"]);
}

#[test]
fn snapshots_merge_while_anything_is_unanswered() {
    let mut stream = settled(&SUBSCRIPTIONS, &before());
    let two = snapshot(2, &[(CLUSTER, "old", "2"), (LISTENER, "web", "1"), (ROUTE, "web", "old")]);
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["Cluster old=2", "ClusterLoadAssignment"]);
    for revision in 3..6 {
        let body = revision.to_string();
        let other = snapshot(revision, &[(CLUSTER, "old", &body), (ROUTE, "web", &body)]);
        assert!(stream.on_snapshot(&other).is_empty());
    }
    let six = snapshot(6, &[(CLUSTER, "old", "6"), (LISTENER, "web", "1"), (ROUTE, "web", "6")]);
    assert!(stream.on_request(ack(&sent[1], &["old"]), &six).unwrap().is_empty());
    let next = stream.on_request(ack(&sent[0], &[]), &six).unwrap();
    assert_eq!(show(&next), ["Cluster old=6"]);
    let next = stream.on_request(ack(&next[0], &[]), &six).unwrap();
    assert_eq!(show(&next), ["RouteConfiguration web=6"]);
}

#[test]
fn what_is_asked_for_anew_waits_for_no_other_type() {
    let mut stream = settled(&[(CLUSTER, &[]), (LISTENER, &[])], &before());
    let two = after();
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["Cluster new=1"]);
    let route = stream.on_request(request(ROUTE, &["web"]), &two).unwrap();
    assert_eq!(show(&route), ["RouteConfiguration web=new"]);
}

#[test]
fn a_changed_cluster_is_followed_by_its_endpoints() {
    let all = |a: &str| {
        [(CLUSTER, "a", a), (CLUSTER, "b", "1"), (ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1")]
            .map(|(type_url, name, body)| (type_url, name.to_owned(), body.to_owned()))
    };
    let at = |revision, a| {
        let all = all(a);
        let all = all.each_ref().map(|(t, name, body)| (*t, name.as_str(), body.as_str()));
        snapshot(revision, &all)
    };
    let (one, two) = (at(1, "1"), at(2, "2"));
    let warmed = Some((CLUSTER, ENDPOINTS));
    let mut stream = SotwStream::new(StreamConfig { warmed, ..config() });
    for (type_url, names) in [(CLUSTER, &[][..]), (ENDPOINTS, &["a", "b"][..])] {
        let sent = stream.on_request(request(type_url, names), &one).unwrap();
        assert_eq!((sent.len(), sent[0].resources.len()), (1, 2));
        assert!(stream.on_request(ack(&sent[0], names), &one).unwrap().is_empty());
    }
    let sent = stream.on_snapshot(&two);
    let types: Vec<_> = sent.iter().map(|it| (it.type_url.as_str(), it.resources.len())).collect();
    assert_eq!(types, [(CLUSTER, 2), (ENDPOINTS, 1)]);
    assert_eq!(body(&sent[1].resources[0]), "a=1");
}
