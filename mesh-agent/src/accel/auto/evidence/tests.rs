//! What connections say, alone and together.

use mesh_common::backend::BackendIndex;
use proptest::prelude::*;

use super::*;
use crate::accel::auto::Settings;
use crate::accel::auto::judge::{Judge, Step};
use crate::accel::auto::traffic::Flow;

const SERVICE: ServiceIndex = ServiceIndex { index: 1 };
const KEY: AutoKey = AutoKey { cgroup: 7, service: SERVICE, pad: 0 };
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
        maker: None,
        age: LONG,
        client: End::EventDriven,
        server: End::EventDriven,
        upper_layer: false,
        traffic: messages(100),
        redirected: false,
        left: false,
    }
}

/// A look at some; others are open as well.
fn seen(connections: &[Connection], others: std::ops::Range<u64>) -> Seen {
    let looked: BTreeSet<u64> = connections.iter().map(|it| it.cookie).collect();
    let open = looked.iter().copied().chain(others).collect();
    Seen {
        services: [SERVICE].into(),
        connections: connections.to_vec(),
        looked,
        open: [(SERVICE, open)].into(),
        ..Seen::default()
    }
}

fn verdicts(records: &mut Records, connections: &[Connection]) -> Vec<(u64, Verdict)> {
    let weighed = records.weigh(&seen(connections, 0..0), LONG);
    weighed.clients.iter().map(|(key, found)| (key.cgroup, found.verdict())).collect()
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
fn a_service_of_which_no_client_is_found_is_told_of() {
    let unclaimed =
        |records: &mut Records, seen: &Seen| !records.weigh(seen, LONG).unclaimed.is_empty();
    let nobodys = Connection { client: End::Missing, cgroup: None, ..good(3) };
    let mut records = Records::default();
    assert!(!unclaimed(&mut records, &seen(&[nobodys], 0..0)), "it may just have ended");
    assert!(unclaimed(&mut records, &seen(&[nobodys], 0..0)));
    assert!(!unclaimed(&mut records, &seen(&[nobodys, good(4)], 0..0)), "one is known");
    // Its socket is nowhere.
    let lost = Seen { lost: [SERVICE].into(), ..seen(&[], 5..6) };
    assert!(unclaimed(&mut Records::default(), &lost));
}

#[test]
fn a_service_that_keeps_one_backend_is_the_same() {
    let mut records = Records::default();
    let mut renewed = |backends: &[(u32, u32)]| {
        let incarnation = |(index, generation): &(u32, u32)| {
            let index = BackendIndex { index: *index };
            Incarnation { index, generation: *generation }
        };
        let backends = [(SERVICE, backends.iter().map(incarnation).collect())].into();
        !records.weigh(&Seen { backends, ..Seen::default() }, LONG).renewed.is_empty()
    };
    assert!(!renewed(&[(1, 3), (2, 3)]), "it is seen for the first time");
    assert!(!renewed(&[(2, 3), (3, 4)]));
    assert!(renewed(&[(2, 5)]), "another one at the index");
    assert!(!renewed(&[(2, 5)]));
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
    let rest = records.weigh(&seen(&[good(2)], 1..2), LONG);
    assert_eq!(rest.clients[&KEY].verdict(), against[0].1);
    // What is no news is not held against it any more.
    assert_eq!(verdicts(&mut records, &[left]), [(7, Verdict::For)]);
    records.weigh(&seen(&[], 0..0), LONG);
    assert_eq!(verdicts(&mut records, &[left]), against);
}

#[test]
fn who_made_it_counts_as_well_as_who_holds_it() {
    let handed_over = Connection { maker: Some(8), client: End::Blocking, ..good(1) };
    let against = Verdict::Against(Cause::BlockingClient);
    let mut records = Records::default();
    assert_eq!(verdicts(&mut records, &[handed_over]), [(7, against), (8, against)]);
    let held = Connection { maker: Some(7), ..good(1) };
    assert_eq!(verdicts(&mut records, &[held]), [(7, Verdict::For)]);
    assert_eq!(records.weigh(&seen(&[held], 0..0), LONG).clients[&KEY].chatty, 1);
    let lost = Connection { cgroup: None, maker: Some(8), client: End::Missing, ..good(1) };
    assert_eq!(verdicts(&mut records, &[lost]), [(8, Verdict::Neither)]);
    assert_eq!(verdicts(&mut records, &[lost]), [(8, Verdict::Against(Cause::Unknown))]);
}

/// Looks at connections in turns, and judges.
struct Turns {
    records: Records,
    judge: Judge,
    last: u64,
    now: Duration,
}

impl Turns {
    fn new() -> Self {
        let judge = Judge::new(Settings::every(LONG));
        Self { records: Records::default(), judge, last: 0, now: Duration::ZERO }
    }

    fn look(&mut self, all: &BTreeMap<u64, Connection>) -> Vec<Step> {
        self.now += LONG;
        let cookies = all.keys().copied().collect();
        let turn = turn(&cookies, self.last, MOST_SOCKETS);
        self.last = turn.last().copied().unwrap_or(0);
        let connections: Vec<_> = turn.iter().map(|cookie| all[cookie]).collect();
        let mut seen = seen(&connections, 0..0);
        seen.open = [(SERVICE, cookies)].into();
        let weighed = self.records.weigh(&seen, LONG);
        self.judge.look(self.now, &seen.services, &weighed)
    }
}

/// Connections of client 7, the first few of client 8.
fn many(few: u64, all: u64) -> BTreeMap<u64, Connection> {
    let of = |cookie| if cookie <= few { 8 } else { 7 };
    (1..=all).map(|it| (it, Connection { cgroup: Some(of(it)), ..good(it) })).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever there is: both clients come to be accelerated, nobody before all were looked at, and
    /// nobody loses it while nothing changes, though most connections are not looked at.
    #[test]
    fn many_connections_of_one_leave_the_few_of_another_alone(few in 1..20u64, all in 257..4000u64) {
        let (mut turns, all) = (Turns::new(), many(few, all));
        let rotation = all.len().div_ceil(MOST_SOCKETS);
        let mut granted = BTreeMap::new();
        for number in 1..=4 * rotation {
            for step in turns.look(&all) {
                let Step::Grant(key) = step else { panic!("{step:?}") };
                prop_assert!(granted.insert(key.cgroup, number).is_none());
            }
        }
        prop_assert!(granted[&7] >= rotation && granted[&8] >= rotation, "{granted:?}");
    }

    /// One that blocks keeps its client from it, wherever its turn comes.
    #[test]
    fn one_that_blocks_among_many_is_never_overlooked(all in 257..4000u64, at in any::<prop::sample::Index>()) {
        let (mut turns, mut all) = (Turns::new(), many(1, all));
        let cookie = 2 + u64::try_from(at.index(all.len() - 1)).unwrap();
        all.get_mut(&cookie).unwrap().client = End::Blocking;
        let mut granted = BTreeSet::new();
        for _ in 0..3 * all.len().div_ceil(MOST_SOCKETS) {
            granted.extend(turns.look(&all).into_iter().map(|step| format!("{step:?}")));
        }
        let key = AutoKey { cgroup: 8, ..KEY };
        prop_assert_eq!(granted, [format!("{:?}", Step::Grant(key))].into());
        // And whoever turns to it loses it within one turn of all.
        all.get_mut(&1).unwrap().client = End::Blocking;
        let looks = 0..all.len().div_ceil(MOST_SOCKETS);
        let steps: Vec<_> = looks.flat_map(|_| turns.look(&all)).collect();
        prop_assert_eq!(steps, [Step::Withdraw(key, Cause::BlockingClient)]);
    }
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
        let evidence = Records::default().weigh(&seen(&connections, 0..0), LONG).clients;
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
