//! A day of 200 services, in simulated time: what is remembered of it stays within the memory that
//! was said, by the account of the control plane and by the kernel's, and reaches back as far as it
//! should.
#![cfg(test)]

use std::time::{Duration, Instant};

use mesh_control::telemetry::book::TrafficBook;
use mesh_control::telemetry::collector::Report;
use mesh_control::telemetry::config::TrafficConfig;
use mesh_control::telemetry::counts::Counts;
use mesh_control::telemetry::edge::{By, Edge, Reporter, Select, Transport};
use mesh_control::telemetry::metrics::TelemetryMetrics;

const SERVICES: usize = 200;
const EDGES: usize = 5;
const NODES: usize = 3;
/// Whether the endpoints' nodes report as well. A debug build would take minutes.
const BOTH_ENDS: bool = !cfg!(debug_assertions);
const DAY: u64 = 86_400;
const SECOND: Duration = Duration::from_secs(1);

/// A node with what it has counted.
struct Node {
    name: String,
    sequence: u64,
    edges: Vec<(Edge, Counts)>,
}

impl Node {
    /// Every service has its edges from every node.
    fn new(index: usize) -> Self {
        let name = format!("node-{index}.eu-central.example.com");
        let mut edges = Vec::new();
        for service in 0..SERVICES {
            for edge in 0..EDGES {
                let mut it = Edge {
                    reporter: Reporter::Source,
                    transport: Transport::Tcp,
                    source_workload: format!("kubepods-burstable-pod{service:08}-{edge:04}"),
                    source_node: name.clone(),
                    namespace: "production".to_owned(),
                    service: format!("service-{service:03}"),
                    version: format!("v{}", edge % 2),
                    workload: format!("service-{service:03}-{edge}"),
                };
                edges.push((it.clone(), Counts::default()));
                if BOTH_ENDS {
                    it.reporter = Reporter::Destination;
                    edges.push((it, Counts::default()));
                }
            }
        }
        Self { name, sequence: 0, edges }
    }

    /// Has edges count for some seconds, more of them by day than by night, and returns what has
    /// changed.
    fn count(&mut self, second: u64, length: u64, random: &mut u64) -> Vec<(Edge, Counts)> {
        let hour = second / 3_600;
        let busy = 2 + if (7..20).contains(&hour) { 6 } else { hour % 3 };
        // In ten seconds there is some everywhere.
        let busy = if length == 1 { busy } else { 10 };
        let mut changed = Vec::new();
        for (edge, total) in &mut self.edges {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let chance = *random >> 33;
            if chance % 10 >= busy {
                continue;
            }
            let opened = length * (1 + chance % 50);
            let failed = u64::from(chance.is_multiple_of(97));
            let [f0, rest @ ..] = &mut total.failures;
            assert_eq!(rest.len(), 4);
            *f0 += failed;
            total.failed += failed;
            total.attempts += opened + failed;
            total.opened += opened;
            total.closed = total.closed.max(total.opened - chance % 4);
            total.bytes_sent += opened * (300 + chance % 200);
            total.bytes_received += opened * (4_000 + chance % 9_000);
            total.retransmits += u64::from(chance.is_multiple_of(31));
            total.rtt_us += opened * (80 + chance % 400);
            total.duration_us += opened * (2_000 + chance % 90_000);
            changed.push((edge.clone(), *total));
        }
        changed
    }
}

/// Memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

const fn mib(bytes: usize) -> usize {
    bytes >> 20
}

#[test]
fn a_day_of_200_services_stays_within_its_memory() {
    let config = TrafficConfig::default();
    let mut nodes: Vec<Node> = (0..NODES).map(Node::new).collect();
    let before = resident();
    let start = Instant::now();
    let book = TrafficBook::new(config, TelemetryMetrics::default(), start);
    let mut random = 1;
    let mut second = 0;
    let (mut reports, mut changes, mut took) = (0_u64, 0, Duration::ZERO);
    while second < DAY {
        // A second makes a difference for as long as these are kept, and so on.
        let length = match DAY - second {
            0..=900 => 1,
            901..=3_600 => 10,
            _ => 120,
        };
        let now = start + SECOND * u32::try_from(second).unwrap();
        for node in &mut nodes {
            node.sequence += 1;
            let full = node.sequence == 1;
            let edges =
                if full { node.edges.clone() } else { node.count(second, length, &mut random) };
            let report = Report {
                node: node.name.clone(),
                run: "run".to_owned(),
                sequence: node.sequence,
                full,
                edges,
                omitted: 0,
                moves: Vec::new(),
                last_move: 0,
                anew: false,
                interval: SECOND * u32::try_from(length).unwrap(),
            };
            reports += 1;
            changes += report.edges.len();
            let began = Instant::now();
            assert!(!book.heard(report, now).unwrap());
            took += began.elapsed();
        }
        book.tick(now);
        second += length;
    }
    let now = start + SECOND * u32::try_from(DAY).unwrap();
    book.tick(now);
    let (said, account) = (config.most_bytes(), book.bytes());
    let process = resident().saturating_sub(before);
    let series: usize = nodes.iter().map(|node| node.edges.len()).sum();
    println!(
        "{series} series, {reports} reports of {} edges, {:?} each; memory: {} MiB by account, \
         {} MiB by the kernel, {} MiB at the most",
        changes / usize::try_from(reports).unwrap(),
        took / u32::try_from(reports).unwrap(),
        mib(account),
        mib(process),
        mib(said),
    );
    assert!(account <= said && process <= said, "{account} {process} {said}");

    let all = Select::default();
    for (range, points) in [(900, 300), (3_600, 180), (DAY, 240)] {
        let began = Instant::now();
        let plot = book.plot(&all, Duration::from_secs(range), points, now).unwrap();
        println!("the last {range} s of {} services: {:?}", plot.lines.len(), began.elapsed());
        assert_eq!(plot.lines.len(), SERVICES);
        let shortest = plot.lines.iter().map(|line| line.points.len()).min().unwrap();
        let wanted = usize::try_from(range / plot.step.as_secs()).unwrap();
        assert_eq!(shortest, wanted, "of {range} s in steps of {:?}", plot.step);
        assert!(plot.step.as_secs() * u64::from(points) == range);
    }
    let counted: u64 = nodes
        .iter()
        .flat_map(|it| &it.edges)
        .filter(|(edge, _)| edge.reporter == Reporter::Source)
        .map(|(_, it)| it.opened)
        .sum();
    let plot = book.plot(&all, Duration::from_secs(DAY), 240, now).unwrap();
    let plotted: u64 = plot.lines.iter().flat_map(|it| &it.points).map(|it| it.counts.opened).sum();
    assert_eq!(plotted, counted, "the day's growth is what was counted");
    let began = Instant::now();
    let edges = Select { by: By::Edge, ..Select::default() };
    let last = book.stat(&edges, 10 * SECOND, now);
    println!("the last 10 s of {} edges: {:?}", last.rows.len(), began.elapsed());
    let total: u64 = last.rows.iter().map(|row| row.total.opened).sum();
    assert_eq!(total, counted);
}
