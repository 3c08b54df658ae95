//! A push in stages, as Envoy is served: routes wait for warm clusters, clusters for routes.

use super::*;
use crate::types::{CLUSTER, ENDPOINTS, LISTENER, PUSH_ORDER, ROUTE, STAGED};

fn show(responses: &[DeltaDiscoveryResponse]) -> Vec<String> {
    let shown = super::show(responses).into_iter();
    shown.map(|line| line.rsplit('.').next().unwrap().to_owned()).collect()
}

fn envoy() -> StreamConfig {
    StreamConfig {
        max_response_bytes: 1 << 20,
        push_order: &PUSH_ORDER,
        commit_type: None,
        staged: &STAGED,
        warmed: Some((CLUSTER, ENDPOINTS)),
    }
}

/// A client that has a listener, a route and a cluster, everything acknowledged.
fn connected(snapshot: &Arc<Snapshot>) -> DeltaStream {
    let mut stream = DeltaStream::new(envoy());
    let subscriptions: [(&str, &[&str]); 4] =
        [(CLUSTER, &[]), (ENDPOINTS, &["old"]), (LISTENER, &[]), (ROUTE, &["web"])];
    for (type_url, names) in subscriptions {
        let sent = stream.on_request(request(type_url, names, &[]), snapshot).unwrap();
        assert_eq!(sent.len(), 1);
        assert!(ack_all(&mut stream, &sent, snapshot).is_empty());
    }
    assert_eq!(stream.progress().live_revision, Some(snapshot.revision()));
    stream
}

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
    let mut stream = connected(&before());
    let first = stream.on_snapshot(&two);
    assert_eq!(show(&first), ["Cluster +new"]);
    // Envoy acknowledges a cluster when it is warm, so after its endpoints.
    let warm = stream.on_request(request(ENDPOINTS, &["new"], &[]), &two).unwrap();
    assert_eq!(show(&warm), ["ClusterLoadAssignment +new"]);
    assert!(stream.on_request(ack(&warm[0]), &two).unwrap().is_empty());
    assert_eq!(stream.progress().sent_revision, 1);
    let moved = stream.on_request(ack(&first[0]), &two).unwrap();
    assert_eq!(show(&moved), ["RouteConfiguration +web"]);
    let last = stream.on_request(ack(&moved[0]), &two).unwrap();
    assert_eq!(show(&last), ["ClusterLoadAssignment -old", "Cluster -old"]);
    assert_eq!(stream.progress().live_revision, Some(1));
    assert!(ack_all(&mut stream, &last, &two).is_empty());
    let progress = stream.progress();
    assert_eq!((progress.sent_revision, progress.live_revision), (2, Some(2)));
    let cluster = progress.types[CLUSTER];
    assert_eq!((cluster.sent, cluster.acked), (Some(2), Some(2)));
}

#[test]
fn a_cluster_stays_while_a_refused_route_may_refer_to_it() {
    let two = after();
    let mut stream = connected(&before());
    let first = stream.on_snapshot(&two);
    let moved = stream.on_request(ack(&first[0]), &two).unwrap();
    let nothing = stream.on_request(nack(&moved[0], "web", "bad match"), &two).unwrap();
    assert_eq!(show(&nothing), [""; 0], "the route from before is served");
    let progress = stream.progress();
    assert_eq!((progress.types[ROUTE].sent, progress.types[ROUTE].acked), (Some(2), Some(1)));
    let mended = Snapshot::edit(&two, 3);
    let mended = mended.insert(ROUTE, "web", Resource::from_body(b"newer".as_slice()));
    let three = Arc::new(mended.build());
    let moved = stream.on_snapshot(&three);
    assert_eq!(show(&moved), ["RouteConfiguration +web"]);
    let last = stream.on_request(ack(&moved[0]), &three).unwrap();
    assert_eq!(show(&last), ["ClusterLoadAssignment -old", "Cluster -old"]);
    ack_all(&mut stream, &last, &three);
    assert_eq!(stream.progress().live_revision, Some(3));
}

#[test]
fn what_comes_back_before_it_went_is_not_removed() {
    let two = after();
    let mut stream = connected(&before());
    let first = stream.on_snapshot(&two);
    let moved = stream.on_request(ack(&first[0]), &two).unwrap();
    stream.on_request(nack(&moved[0], "web", "bad match"), &two).unwrap();
    let back = snapshot(3, &[(CLUSTER, "old", "3"), (LISTENER, "web", "1"), (ROUTE, "web", "old")]);
    let sent = stream.on_snapshot(&back);
    assert_eq!(show(&sent), ["Cluster +old"]);
    let moved = stream.on_request(ack(&sent[0]), &back).unwrap();
    assert_eq!(show(&moved), ["RouteConfiguration +web"]);
    let last = stream.on_request(ack(&moved[0]), &back).unwrap();
    assert_eq!(show(&last), ["ClusterLoadAssignment -old", "Cluster -new"]);
}

#[test]
fn what_is_asked_for_waits_for_no_stage_also_if_it_is_absent() {
    let two = after();
    let mut stream = connected(&before());
    assert_eq!(show(&stream.on_snapshot(&two)), ["Cluster +new"]);
    let sent = stream.on_request(request(ROUTE, &["none"], &[]), &two).unwrap();
    assert_eq!(show(&sent), ["RouteConfiguration +web -none"]);
}

#[test]
fn only_what_can_be_had_without_a_name_is_had_without_a_name() {
    let one = before();
    let mut stream = DeltaStream::new(envoy());
    for (type_url, expected) in [(CLUSTER, 1), (LISTENER, 1), (ENDPOINTS, 0), (ROUTE, 0)] {
        let sent = stream.on_request(request(type_url, &[], &[]), &one).unwrap();
        let count: usize = sent.iter().map(|response| response.resources.len()).sum();
        assert_eq!(count, expected, "{type_url}");
    }
}

#[test]
fn who_comes_back_with_everything_is_sent_no_resource() {
    let one = before();
    let mut stream = DeltaStream::new(envoy());
    for (type_url, names) in
        [(CLUSTER, vec![]), (ENDPOINTS, vec!["old"]), (LISTENER, vec![]), (ROUTE, vec!["web"])]
    {
        let mut first = request(type_url, &names, &[]);
        let known = one.resources(type_url).unwrap().iter();
        first.initial_resource_versions =
            known.map(|(name, it)| (name.to_owned(), it.version.clone())).collect();
        let sent = stream.on_request(first, &one).unwrap();
        assert!(sent.iter().all(|it| it.resources.is_empty() && it.removed_resources.is_empty()));
        ack_all(&mut stream, &sent, &one);
    }
    assert_eq!(stream.progress().live_revision, Some(1));
}

#[test]
fn what_is_refused_can_be_taken_away() {
    let one = before();
    let mut stream = connected(&one);
    // One with a name that the answer gives, one without.
    for (revision, refused) in [(2, "bad"), (4, "")] {
        let all = [(CLUSTER, "c"), (LISTENER, "bad"), (LISTENER, "fine")];
        let add = |builder: crate::snapshot::Builder, (type_url, name)| {
            builder.insert(type_url, name, Resource::from_body(revision.to_string().as_bytes()))
        };
        let all = all.into_iter().fold(Snapshot::edit(&one, revision), add);
        let two = Arc::new(all.build());
        let first = stream.on_snapshot(&two);
        assert_eq!(show(&first), ["Cluster +c"]);
        let then = stream.on_request(ack(&first[0]), &two).unwrap();
        assert_eq!(show(&then), ["Listener +bad +fine"]);
        let none = stream.on_request(nack(&then[0], refused, "no room"), &two).unwrap();
        assert_eq!(show(&none), [""; 0]);
        let three = Arc::new(Snapshot::edit(&one, revision + 1).build());
        let gone = stream.on_snapshot(&three);
        let lines: &[&str] = match refused {
            // Some listener may still refer to the cluster.
            "" => &["Listener -bad -fine"],
            _ => &["Listener -bad -fine", "Cluster -c"],
        };
        assert_eq!(show(&gone), lines);
        let last = ack_all(&mut stream, &gone, &three);
        assert_eq!(show(&last).is_empty(), lines.len() == 2);
        ack_all(&mut stream, &last, &three);
        assert_eq!(stream.progress().rejections, []);
        assert_eq!(stream.progress().live_revision, Some(revision + 1));
    }
}

#[test]
fn a_changed_cluster_is_followed_by_its_endpoints() {
    let one = before();
    let changed = |revision| {
        Snapshot::edit(&one, revision).insert(CLUSTER, "old", Resource::from_body(*b"2"))
    };
    let two = Arc::new(changed(2).build());
    let mut stream = connected(&one);
    let sent = stream.on_snapshot(&two);
    assert_eq!(show(&sent), ["Cluster +old", "ClusterLoadAssignment +old"]);
    assert!(ack_all(&mut stream, &sent, &two).is_empty());
    let three = Arc::new(changed(3).remove(LISTENER, "web").build());
    assert_eq!(show(&stream.on_snapshot(&three)), ["Listener -web"]);

    // The same for one that comes back.
    let mut stream = DeltaStream::new(envoy());
    let claim = |type_url, names: &[&str]| {
        let known = one.resources(type_url).unwrap().iter();
        let versions = known.map(|(name, it)| (name.to_owned(), it.version.clone()));
        DeltaDiscoveryRequest {
            initial_resource_versions: versions.collect(),
            ..request(type_url, names, &[])
        }
    };
    let sent = stream.on_request(claim(CLUSTER, &[]), &two).unwrap();
    assert_eq!(show(&sent), ["Cluster +old"]);
    let sent = stream.on_request(claim(ENDPOINTS, &["old"]), &two).unwrap();
    assert_eq!(show(&sent), ["ClusterLoadAssignment +old"]);
}
