//! The table of nodes, with a clock of the test's own.

use std::time::{Duration, Instant};

use mesh_xds::server::{NodeInfo, Progress, Rejection};

use crate::xds::{NodeTable, Settled};

const MS: Duration = Duration::from_millis(1);

fn progress(node: &str, sent: u64, live: Option<u64>, rejected: &[u64]) -> Progress {
    let rejection = |revision: &u64| Rejection {
        revision: *revision,
        type_url: String::new(),
        name: "shop/web".to_owned(),
        message: "no".to_owned(),
    };
    Progress {
        node: Some(NodeInfo { id: node.to_owned(), version: "1".to_owned() }),
        sent_revision: sent,
        live_revision: live,
        rejections: rejected.iter().map(rejection).collect(),
        ..Progress::default()
    }
}

#[test]
fn convergence_is_measured_per_commit_and_only_for_who_was_there() {
    let start = Instant::now();
    let mut table = NodeTable::default();
    table.committed(1, start);
    let (new, took) = table.observe(0, &progress("n", 1, None, &[]), start + MS);
    assert!(new && took.is_empty());
    let (_, took) = table.observe(0, &progress("n", 1, Some(1), &[]), start + 2 * MS);
    assert!(took.is_empty(), "committed before it connected");
    table.committed(2, start + 10 * MS);
    table.committed(3, start + 11 * MS);
    let (_, took) = table.observe(0, &progress("n", 3, Some(3), &[]), start + 15 * MS);
    assert_eq!(took, [4 * MS, 5 * MS]);
    let (new, took) = table.observe(0, &progress("n", 3, Some(3), &[]), start + 20 * MS);
    assert!(!new && took.is_empty(), "nothing new");
    let (_, state) = table.nodes().next().unwrap();
    assert_eq!(state.live, Some((3, start + 15 * MS)));
}

#[test]
fn a_leftover_stream_does_not_disturb_the_newer_one() {
    let start = Instant::now();
    let mut table = NodeTable::default();
    table.observe(0, &progress("n", 5, Some(5), &[]), start);
    table.observe(1, &progress("n", 0, None, &[]), start + MS);
    let live = |table: &NodeTable| table.nodes().next().unwrap().1.live.unwrap().0;
    assert_eq!(live(&table), 5, "the kernel goes on with it");
    let (new, _) = table.observe(0, &progress("n", 6, Some(6), &[]), start + MS);
    assert!(!new);
    assert!(!table.ended(0, "n", start + 2 * MS));
    assert_eq!(table.connected(), 1);
    assert!(table.ended(1, "n", start + 3 * MS));
    assert_eq!((table.connected(), live(&table)), (0, 5));
}

#[test]
fn settled_asks_the_connected_only() {
    let now = Instant::now();
    let mut table = NodeTable::default();
    assert_eq!(table.settled(1), Settled::Pending, "nobody serves it");
    table.observe(0, &progress("a", 2, Some(2), &[]), now);
    table.observe(1, &progress("b", 2, Some(1), &[]), now);
    assert_eq!(table.settled(1), Settled::Live);
    assert_eq!(table.settled(2), Settled::Pending);
    table.observe(1, &progress("b", 2, Some(1), &[1]), now);
    assert_eq!(table.settled(2), Settled::Pending, "an older complaint");
    table.observe(1, &progress("b", 2, Some(1), &[1, 2]), now);
    assert_eq!(table.settled(2), Settled::Rejected);
    table.ended(1, "b", now);
    assert_eq!(table.settled(2), Settled::Live);
    table.ended(0, "a", now);
    assert_eq!(table.settled(2), Settled::Pending, "nobody can be asked");
}

#[test]
fn nodes_that_are_away_are_forgotten_in_the_end() {
    let start = Instant::now();
    let mut table = NodeTable::default();
    for at in 0..1100_u32 {
        let name = format!("n-{at}");
        let stream = u64::from(at);
        table.observe(stream, &progress(&name, 0, None, &[]), start);
        table.ended(stream, &name, start + at * MS);
    }
    assert_eq!(table.nodes().count(), 1024);
    assert!(table.nodes().all(|(name, _)| name != "n-0"));
}
