//! The engine with real listeners that come and go.

use mesh_api::model::Probe;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

struct Checking {
    handle: Handle,
    events: UnboundedReceiver<Event>,
    metrics: Metrics,
    _work: tokio::task::JoinSet<()>,
}

fn start(most: usize, prepare: Option<Prepare>) -> Checking {
    let metrics = Metrics::default();
    let random01 = || 0.01;
    let settings = Settings { most, prepare, metrics: metrics.clone(), random01 };
    let (handle, checker, events) = Checker::new(settings);
    let mut work = tokio::task::JoinSet::new();
    work.spawn(checker.run());
    Checking { handle, events, metrics, _work: work }
}

impl Checking {
    async fn next(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv()).await.unwrap().unwrap()
    }

    async fn next_transition(&mut self) -> (Option<Health>, Health, String) {
        match self.next().await {
            Event::Changed(it) => (it.from, it.to, it.reason),
            Event::Gone(name) => panic!("{name} is gone"),
        }
    }

    async fn until(&self, is_so: impl Fn(&[(ObjectName, Status)]) -> bool) {
        let wait = async {
            while !is_so(&self.handle.statuses().await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, wait).await.unwrap();
    }

    /// Waits until so many checks could not be done.
    async fn until_local(&self, least: u32) {
        let is_local = |line: &&str| line.contains("result=\"local\"}");
        let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
        let wait = async {
            while self.counted().lines().filter(is_local).map(count).sum::<u32>() < least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, wait).await.unwrap();
    }

    fn counted(&self) -> String {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry, "t");
        let mut counted = String::new();
        text::encode(&mut counted, &registry).unwrap();
        counted
    }
}

fn name(text: &str) -> ObjectName {
    format!("default/{text}").parse().unwrap()
}

fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(50),
        healthy_threshold: 2,
        unhealthy_threshold: 2,
        initial: Health::Healthy,
        port: None,
        jitter_percent: 10,
    }
}

fn target(address: SocketAddr, check: HealthCheck) -> Target {
    Target { address, check: Arc::new(check), prepared: false }
}

async fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_listener_that_goes_and_comes_back_is_followed() {
    let mut checking = start(16, None);
    let (listener, address) = listen("127.0.0.1:0").await;
    checking.handle.set_targets([(name("a"), target(address, check()))].into());
    assert_eq!(checking.next_transition().await, (None, Health::Healthy, String::new()));
    drop(listener);
    let refused = "connect: Connection refused".to_owned();
    let gone = (Some(Health::Healthy), Health::Unhealthy, refused.clone());
    assert_eq!(checking.next_transition().await, gone);
    let (name_of, status) = checking.handle.statuses().await.remove(0);
    assert_eq!((name_of, status.health), (name("a"), Some(Health::Unhealthy)));
    assert_eq!(status.reason, refused);
    assert!(status.latency.is_some() && status.checked.is_some());
    let _listener = listen(&address.to_string()).await;
    let back = (Some(Health::Unhealthy), Health::Healthy, String::new());
    assert_eq!(checking.next_transition().await, back);
    let counted = checking.counted();
    for line in [
        "t_probes_total{protocol=\"tcp\",result=\"success\"}",
        "t_probes_total{protocol=\"tcp\",result=\"connect\"}",
        "t_probe_duration_seconds_bucket",
        "t_probe_lateness_seconds_bucket",
        "t_probe_targets 1",
    ] {
        assert!(counted.contains(line), "{counted}");
    }
}

#[tokio::test]
async fn what_stays_keeps_its_status() {
    let mut checking = start(16, None);
    let (_listener, address) = listen("127.0.0.1:0").await;
    let (_other, elsewhere) = listen("127.0.0.1:0").await;
    checking.handle.set_targets([(name("a"), target(address, check()))].into());
    checking.next_transition().await;
    let since = checking.handle.statuses().await[0].1.since;
    // Another check, and another endpoint: no event for this one.
    let slower = HealthCheck { interval: Duration::from_millis(60), ..check() };
    let both =
        [(name("a"), target(address, slower.clone())), (name("b"), target(elsewhere, check()))];
    checking.handle.set_targets(both.into());
    let Event::Changed(second) = checking.next().await else { panic!("gone") };
    assert_eq!(second.endpoint, name("b"));
    let statuses = checking.handle.statuses().await;
    let (_, first) = statuses.iter().find(|(found, _)| *found == name("a")).unwrap();
    assert_eq!((first.health, first.since), (Some(Health::Healthy), since));
    // At another address it is another endpoint.
    checking.handle.change(vec![(name("a"), Some(target(elsewhere, slower))), (name("b"), None)]);
    assert_eq!(checking.next().await, Event::Gone(name("a")));
    assert_eq!(checking.next().await, Event::Gone(name("b")));
    assert_eq!(checking.next_transition().await, (None, Health::Healthy, String::new()));
    assert_eq!(checking.handle.statuses().await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_checked_keeps_its_status() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let broken = Arc::new(AtomicBool::new(false));
    let hook = {
        let broken = Arc::clone(&broken);
        move |_: std::os::fd::BorrowedFd<'_>| {
            if broken.load(Ordering::Relaxed) {
                Err(std::io::Error::from_raw_os_error(12))
            } else {
                Ok(())
            }
        }
    };
    let mut checking = start(16, Some(Prepare::new(hook)));
    let (listener, address) = listen("127.0.0.1:0").await;
    let prepared = Target { prepared: true, ..target(address, check()) };
    checking.handle.set_targets([(name("a"), prepared)].into());
    checking.next_transition().await;
    broken.store(true, Ordering::Relaxed);
    drop(listener);
    checking.until_local(4).await;
    assert_eq!(checking.handle.statuses().await[0].1.health, Some(Health::Healthy));
}

#[tokio::test]
async fn what_cannot_be_prepared_is_neither_good_nor_bad() {
    let fail = |_: std::os::fd::BorrowedFd<'_>| Err(std::io::Error::other("the map is missing"));
    for prepare in [None, Some(Prepare::new(fail))] {
        let checking = start(16, prepare);
        let (_listener, address) = listen("127.0.0.1:0").await;
        let prepared = Target { prepared: true, ..target(address, check()) };
        checking.handle.set_targets([(name("a"), prepared)].into());
        checking.until_local(4).await;
        assert_eq!(checking.handle.statuses().await[0].1.health, None);
    }
}

#[tokio::test]
async fn many_are_checked_with_few_sockets() {
    let mut checking = start(4, None);
    let (_listener, address) = listen("0.0.0.0:0").await;
    let at = |number: u8| SocketAddr::from(([127, 1, 0, number], address.port()));
    let target = |number| (name(&format!("e{number}")), target(at(number), check()));
    checking.handle.set_targets((0..200).map(target).collect());
    for _ in 0..200 {
        assert_eq!(checking.next_transition().await.1, Health::Healthy);
    }
    checking.until(|all| all.len() == 200 && all.iter().all(|(_, s)| s.checked.is_some())).await;
}
