//! Two lanes on one stream: what is pushed on its own waits for nothing and moves no revision.

use super::*;

const ASIDE: &str = "type/aside";

fn lanes() -> Lanes {
    Lanes::new(config(), &[ASIDE])
}

fn aside(serial: u64, resources: &[(&str, &str)]) -> Arc<Snapshot> {
    let builder = Snapshot::builder(serial);
    let insert = |builder: crate::snapshot::Builder, (name, body): &(&str, &str)| {
        builder.insert(ASIDE, *name, Resource::from_body(body.as_bytes()))
    };
    Arc::new(resources.iter().fold(builder, insert).build())
}

/// Subscribed to everything of all types; the pushes are returned unanswered.
fn subscribed(
    lanes: &mut Lanes,
    main: &Arc<Snapshot>,
    side: Option<&Arc<Snapshot>>,
) -> Vec<DeltaDiscoveryResponse> {
    let ask = |type_url| lanes.on_request(request(type_url, &[WILDCARD], &[]), main, side);
    [A, COMMIT, ASIDE].into_iter().map(ask).flat_map(Result::unwrap).collect()
}

fn answer(
    lanes: &mut Lanes,
    responses: &[DeltaDiscoveryResponse],
    main: &Arc<Snapshot>,
    side: &Arc<Snapshot>,
) -> Vec<DeltaDiscoveryResponse> {
    let ack = |response| lanes.on_request(ack(response), main, Some(side)).unwrap();
    responses.iter().flat_map(ack).collect()
}

#[test]
fn a_change_aside_is_one_resource_and_no_revision() {
    let main = snapshot(7, &[(A, "a", "1")]);
    let first = aside(1, &[("x", "up"), ("y", "up")]);
    let mut lanes = lanes();
    let responses = subscribed(&mut lanes, &main, Some(&first));
    assert_eq!(show(&responses), ["a +a", "commit +revision", "aside +x +y"]);
    assert!(answer(&mut lanes, &responses, &main, &first).is_empty());
    let before = lanes.progress().clone();
    assert_eq!((before.sent_revision, before.live_revision), (7, Some(7)));

    let second = aside(2, &[("x", "down"), ("y", "up")]);
    let responses = lanes.on_aside(&second);
    assert_eq!(show(&responses), ["aside +x"]);
    assert_eq!(lanes.progress(), &before);
    assert!(answer(&mut lanes, &responses, &main, &second).is_empty());
    assert_eq!(lanes.progress(), &before);
}

#[test]
fn neither_lane_waits_for_the_other() {
    let main = snapshot(7, &[(A, "a", "1")]);
    let first = aside(1, &[("x", "up")]);
    let mut lanes = lanes();
    let unanswered = subscribed(&mut lanes, &main, Some(&first));
    let (side, config) = unanswered.split_last().unwrap();
    // The configuration is not answered yet; what is aside goes on.
    answer(&mut lanes, std::slice::from_ref(side), &main, &first);
    assert_eq!(lanes.progress().live_revision, None);
    let second = aside(2, &[("x", "down")]);
    assert_eq!(show(&lanes.on_aside(&second)), ["aside +x"]);
    // And the other way round.
    answer(&mut lanes, config, &main, &second);
    assert_eq!(lanes.progress().live_revision, Some(7));
    let next = snapshot(8, &[(A, "a", "2")]);
    assert_eq!(show(&lanes.on_snapshot(&next)), ["a +a", "commit +revision"]);
}

#[test]
fn before_there_is_anything_aside_its_subscription_waits() {
    let main = snapshot(7, &[(A, "a", "1")]);
    let mut lanes = lanes();
    let claim = DeltaDiscoveryRequest {
        initial_resource_versions: [("x".to_owned(), "old".to_owned())].into(),
        ..request(ASIDE, &[WILDCARD], &[])
    };
    // Also where it is the first request, which names the node.
    assert!(lanes.on_request(claim, &main, None).unwrap().is_empty());
    assert_eq!(lanes.progress().node.as_ref().map(|node| node.id.as_str()), Some("node-1"));
    let later = DeltaDiscoveryRequest { node: None, ..request(A, &[WILDCARD], &[]) };
    assert_eq!(show(&lanes.on_request(later, &main, None).unwrap()), ["a +a"]);
    assert_eq!(show(&lanes.on_aside(&aside(1, &[("y", "up")]))), ["aside +y", "aside -x"]);
}

#[test]
fn who_does_not_subscribe_is_not_told() {
    let main = snapshot(7, &[(A, "a", "1")]);
    let first = aside(1, &[("x", "up")]);
    let mut lanes = lanes();
    lanes.on_request(request(A, &[WILDCARD], &[]), &main, Some(&first)).unwrap();
    assert!(lanes.on_aside(&aside(2, &[("x", "down")])).is_empty());
}

#[test]
fn a_stream_without_node_ends_on_either_lane() {
    let main = snapshot(7, &[]);
    for type_url in [A, ASIDE] {
        let nameless = DeltaDiscoveryRequest { node: None, ..request(type_url, &[WILDCARD], &[]) };
        let error = lanes().on_request(nameless, &main, None).unwrap_err();
        assert!(matches!(error, ProtocolError::NoNode), "{error}");
    }
}
