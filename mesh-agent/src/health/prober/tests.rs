//! Who decides about health, as the line to the control plane comes and goes; real checks.

use std::net::TcpListener;

use mesh_health::checker::{Checker, Settings};
use mesh_health::metrics::Metrics;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::health::testing::target;

const DEADLINE: Duration = Duration::from_secs(30);

struct Probing {
    handle: Handle,
    line: watch::Sender<Line>,
    changed: watch::Receiver<u64>,
    applied: UnboundedReceiver<Found>,
    _tasks: JoinSet<()>,
}

fn start() -> Probing {
    let settings =
        Settings { most: 8, prepare: None, metrics: Metrics::default(), random01: || 0.0 };
    let (handle, checker, events) = Checker::new(settings);
    let (line, line_watch) = watch::channel(Line::default());
    let (sender, applied) = unbounded_channel();
    let apply = move |found| sender.send(found).unwrap();
    let (changed, changed_watch) = watch::channel(0);
    let prober = Prober { events, handle: handle.clone(), line: line_watch, apply, changed };
    let mut tasks = JoinSet::new();
    tasks.spawn(checker.run());
    tasks.spawn(async move { drop(prober.run().await) });
    Probing { handle, line, changed: changed_watch, applied, _tasks: tasks }
}

impl Probing {
    fn line(&self, connected: bool, health: bool) {
        self.line.send_modify(|line| (line.connected, line.health) = (connected, health));
    }

    async fn next(&mut self) -> Found {
        timeout(DEADLINE, self.applied.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn own_findings_hold_until_the_control_plane_speaks_of_health() {
    let mut probing = start();
    let endpoint: ObjectName = "default/a".parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    probing.handle.change(vec![(endpoint.clone(), Some(target(address)))]);
    assert_eq!(probing.next().await, [(endpoint.clone(), Health::Healthy)]);
    // A stream is open, and nothing has been said on it.
    probing.line(true, false);
    drop(listener);
    assert_eq!(probing.next().await, [(endpoint.clone(), Health::Unhealthy)]);
    // From here on the control plane decides.
    probing.line(true, true);
    probing.changed.mark_unchanged();
    let listener = TcpListener::bind(address).unwrap();
    timeout(DEADLINE, probing.changed.changed()).await.unwrap().unwrap();
    // The next stream has not said anything yet: all that is known here holds, once.
    probing.line(true, false);
    assert_eq!(probing.next().await, [(endpoint.clone(), Health::Healthy)]);
    drop(listener);
    probing.line(false, false);
    assert_eq!(probing.next().await, [(endpoint, Health::Unhealthy)]);
}
