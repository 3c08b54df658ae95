//! What connections say, alone and together.

use proptest::prelude::*;

use super::*;
use crate::accel::auto::traffic::Flow;

const SERVICE: ServiceIndex = ServiceIndex { index: 1 };
const LONG: Duration = Duration::from_secs(10);

fn messages(count: u64) -> Traffic {
    let flow = Flow { bytes: count * 100, messages: count };
    Traffic { sent: flow, received: flow }
}

/// Ten seconds old and chatty, with both ends driven by events.
fn good(cookie: u64) -> Connection {
    Connection {
        cookie,
        service: SERVICE,
        cgroup: Some(7),
        age: LONG,
        client: End::EventDriven,
        server: End::EventDriven,
        upper_layer: false,
        traffic: messages(100),
        redirected: false,
        left: false,
    }
}

fn verdicts(records: &mut Records, connections: &[Connection]) -> Vec<(u64, Verdict)> {
    let open = (0..100).collect();
    let evidence = records.weigh(connections, LONG, &BTreeSet::new(), &open);
    evidence.iter().map(|(key, evidence)| (key.cgroup, evidence.verdict())).collect()
}

fn verdict(connections: &[Connection]) -> Verdict {
    let verdicts = verdicts(&mut Records::default(), connections);
    let [(7, verdict)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    *verdict
}

#[test]
fn one_good_connection_is_enough_and_one_that_blocks_too_many() {
    assert_eq!(verdict(&[good(1)]), Verdict::For);
    assert_eq!(verdict(&[Connection { age: LONG / 2, ..good(1) }]), Verdict::Neither);
    assert_eq!(verdict(&[Connection { traffic: messages(10), ..good(1) }]), Verdict::Neither);
    let client = Connection { client: End::Blocking, ..good(2) };
    assert_eq!(verdict(&[good(1), client]), Verdict::Against(Cause::BlockingClient));
    let server = Connection { server: End::Blocking, ..good(2) };
    assert_eq!(verdict(&[good(1), server]), Verdict::Against(Cause::BlockingServer));
    let tls = Connection { upper_layer: true, ..good(2) };
    assert_eq!(verdict(&[good(1), tls]), Verdict::Against(Cause::UpperLayer));
}

#[test]
fn what_is_not_found_twice_speaks_against() {
    let mut records = Records::default();
    let lost = Connection { server: End::Missing, ..good(2) };
    assert_eq!(verdicts(&mut records, &[good(1), lost]), [(7, Verdict::Neither)]);
    let against = Verdict::Against(Cause::Unknown);
    assert_eq!(verdicts(&mut records, &[good(1), lost]), [(7, against)]);
    assert_eq!(verdicts(&mut records, &[good(1)]), [(7, Verdict::For)]);
    // A client that nobody knows is everybody's.
    let nobodys = Connection { client: End::Missing, cgroup: None, ..good(3) };
    let other = Connection { cgroup: Some(8), ..good(4) };
    let all = [good(1), nobodys, other];
    assert_eq!(verdicts(&mut records, &all), [(7, Verdict::For), (8, Verdict::For)]);
    assert_eq!(verdicts(&mut records, &all), [(7, against), (8, against)]);
}

#[test]
fn bulk_and_full_windows_speak_against_when_they_are_many() {
    let mut records = Records::default();
    let old: Vec<_> = (1..=8).map(good).collect();
    assert_eq!(verdicts(&mut records, &old), [(7, Verdict::For)]);
    // What was carried since the last look decides.
    let more = Flow { bytes: 8 << 20, messages: 5000 };
    let mut now = old.clone();
    now[0].traffic.received = more;
    assert_eq!(verdicts(&mut records, &now), [(7, Verdict::For)]);
    now[0].traffic.received.bytes += 8 << 20;
    now[1].traffic.received = more;
    assert_eq!(verdicts(&mut records, &now), [(7, Verdict::Against(Cause::Bulk))]);

    for connection in &mut now {
        connection.redirected = true;
    }
    now[0].left = true;
    assert_eq!(verdicts(&mut records, &now), [(7, Verdict::For)]);
    // Those that have left before are no news.
    now[1].left = true;
    assert_eq!(verdicts(&mut records, &now), [(7, Verdict::For)]);
    (now[2].left, now[3].left) = (true, true);
    assert_eq!(verdicts(&mut records, &now), [(7, Verdict::Against(Cause::Window))]);
}

#[test]
fn those_whose_turn_it_is_not_are_remembered_while_they_are_open() {
    let mut records = Records::default();
    let left = Connection { redirected: true, left: true, ..good(1) };
    let against = [(7, Verdict::Against(Cause::Window))];
    assert_eq!(verdicts(&mut records, &[left]), against);
    assert_eq!(verdicts(&mut records, &[good(2)]), [(7, Verdict::For)]);
    assert_eq!(verdicts(&mut records, &[left]), [(7, Verdict::For)]);
    records.weigh(&[], LONG, &BTreeSet::new(), &BTreeSet::new());
    assert_eq!(verdicts(&mut records, &[left]), against);
}

proptest! {
    #[test]
    fn everybody_gets_a_turn(cookies in prop::collection::btree_set(any::<u64>(), 0..50), most in 1usize..10) {
        let (mut seen, mut last) = (BTreeSet::new(), 0);
        for _ in 0..cookies.len().div_ceil(most) {
            let now = turn(&cookies, last, most);
            prop_assert!(now.len() <= most);
            last = now.last().copied().unwrap_or(0);
            seen.extend(now);
        }
        prop_assert_eq!(seen, cookies);
    }

    /// Whatever else is there, an end that blocks speaks against its client.
    #[test]
    fn an_end_that_blocks_is_never_overlooked(
        ends in prop::collection::vec((0..3u8, 0..3u8, 0..3u64), 1..20),
    ) {
        let end = |number| match number {
            0 => End::Blocking,
            1 => End::Missing,
            _ => End::EventDriven,
        };
        let connection = |(cookie, (client, server, cgroup)): (u64, &(u8, u8, u64))| Connection {
            client: end(*client),
            server: end(*server),
            cgroup: Some(*cgroup),
            ..good(cookie)
        };
        let connections: Vec<_> = (1..).zip(&ends).map(connection).collect();
        let (nobody, open) = (BTreeSet::new(), BTreeSet::new());
        let evidence = Records::default().weigh(&connections, LONG, &nobody, &open);
        for connection in &connections {
            let key = AutoKey { cgroup: connection.cgroup.unwrap(), service: SERVICE, pad: 0 };
            let verdict = evidence[&key].verdict();
            if connection.client == End::Blocking || connection.server == End::Blocking {
                prop_assert!(matches!(verdict, Verdict::Against(_)));
            } else if connection.client == End::Missing || connection.server == End::Missing {
                prop_assert!(verdict != Verdict::For);
            }
        }
    }
}
