//! Traffic from inside a cgroup and a namespace: who answered, what failed, when.

mod plan;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;

use crate::bins;
use crate::load::Mode;
use crate::process::{Place, Process};

pub use self::plan::{Flows, Plan};

/// One connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// When it was started, on the machine's monotonic clock.
    pub start_ns: u64,
    /// How long connect, exchange and close took.
    pub duration_ns: u64,
    /// The backend's name, or the error (an errno where there was one).
    pub outcome: Result<Arc<str>, String>,
    /// Number of the client's thread, which is also that of its lasting socket.
    pub flow: u32,
    /// Number of the address among those of `Flows`.
    pub target: u32,
}

/// All connections of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In the order in which they ended.
    pub records: Vec<Record>,
    /// Payload bytes of the clients.
    pub sent: u64,
    pub received: u64,
    /// Number of connections by backend or `!error`, where they are only counted.
    pub tally: BTreeMap<String, u64>,
}

impl Outcome {
    /// Connections by backend.
    #[must_use]
    pub fn by_backend(&self) -> BTreeMap<Arc<str>, u64> {
        let mut counts = BTreeMap::new();
        for name in self.records.iter().filter_map(|r| r.outcome.as_ref().ok()) {
            *counts.entry(Arc::clone(name)).or_default() += 1;
        }
        counts
    }

    /// Failures by error.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for error in self.records.iter().filter_map(|r| r.outcome.as_ref().err()) {
            *counts.entry(error.as_str()).or_default() += 1;
        }
        counts
    }

    /// Connections answered by `name`.
    #[must_use]
    pub fn answered_by(&self, name: &str) -> u64 {
        self.by_backend().get(name).copied().unwrap_or(0)
    }

    /// Number of failed connections.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures().values().sum()
    }

    /// Number of connections.
    #[must_use]
    pub fn total(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap_or(u64::MAX)
    }

    /// The names that answered each lasting socket, in order, without repetitions.
    #[must_use]
    pub fn names_by_flow(&self) -> BTreeMap<(u32, u32), Vec<Arc<str>>> {
        let mut flows: BTreeMap<_, Vec<Arc<str>>> = BTreeMap::new();
        for record in &self.records {
            let names = flows.entry((record.flow, record.target)).or_default();
            if let Ok(name) = &record.outcome
                && names.last() != Some(name)
            {
                names.push(Arc::clone(name));
            }
        }
        flows
    }

    /// Those that were started in a span of time.
    #[must_use]
    pub fn between(&self, from_ns: u64, to_ns: u64) -> Self {
        let records = self.records.iter();
        Self {
            records: records
                .filter(|record| (from_ns..to_ns).contains(&record.start_ns))
                .cloned()
                .collect(),
            ..Self::default()
        }
    }
}

/// Running traffic; stopped on drop.
#[derive(Debug)]
pub struct Traffic {
    process: Process,
    outcome: Arc<Mutex<Outcome>>,
    reader: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts connections that go on until `stop`.
    pub fn start(place: &Place, plan: Plan) -> anyhow::Result<Self> {
        Self::spawn(place, plan.command(None)?)
    }

    /// Makes `count` connections and waits for them.
    pub fn run(place: &Place, plan: Plan, count: u64) -> anyhow::Result<Outcome> {
        Self::spawn(place, plan.command(Some(count))?)?.finish()
    }

    /// Starts lasting sockets that go on until `stop`.
    pub fn flows(place: &Place, flows: &Flows) -> anyhow::Result<Self> {
        Self::spawn(place, flows.command(None)?)
    }

    /// Makes `count` exchanges on each lasting socket and waits for them.
    pub fn run_flows(place: &Place, flows: &Flows, count: u64) -> anyhow::Result<Outcome> {
        Self::spawn(place, flows.command(Some(count))?)?.finish()
    }

    fn spawn(place: &Place, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Process::spawn("traffic", command, place, None)?;
        let stdout =
            process.with_child(|child| child.stdout.take()).context("no standard output")?;
        let outcome = Arc::default();
        let shared = Arc::clone(&outcome);
        let reader = thread::spawn(move || read(stdout, &shared));
        Ok(Self { process, outcome, reader: Some(reader) })
    }

    /// Connections that have ended so far.
    #[must_use]
    pub fn so_far(&self) -> u64 {
        lock(&self.outcome).total()
    }

    /// Connections by `name` that were started since.
    #[must_use]
    pub fn answered_since(&self, name: &str, from_ns: u64) -> usize {
        let outcome = lock(&self.outcome);
        let answers = outcome.records.iter().filter(|record| record.start_ns >= from_ns);
        answers.filter(|record| record.outcome.as_deref().is_ok_and(|it| it == name)).count()
    }

    /// A copy of what there is so far.
    #[must_use]
    pub fn peek(&self) -> Outcome {
        lock(&self.outcome).clone()
    }

    /// Waits until `more` further connections have ended.
    pub fn wait_for(&self, more: u64, patience: Duration) -> anyhow::Result<()> {
        let goal = self.so_far() + more;
        let deadline = Instant::now() + patience;
        while self.so_far() < goal {
            if Instant::now() > deadline {
                bail!("only {} of {goal} connections after {patience:?}", self.so_far());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets the connections under way end, and returns everything.
    pub fn stop(self) -> anyhow::Result<Outcome> {
        drop(self.process.with_child(|child| child.stdin.take()));
        self.finish()
    }

    fn finish(mut self) -> anyhow::Result<Outcome> {
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|cause| anyhow!("reading traffic: {cause:?}"))?;
        }
        let status = self.process.wait(Duration::from_secs(15))?;
        if !status.success() {
            bail!("the traffic generator failed: {status}");
        }
        Ok(std::mem::take(&mut *lock(&self.outcome)))
    }
}

fn lock(outcome: &Mutex<Outcome>) -> MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stdout: ChildStdout, outcome: &Mutex<Outcome>) {
    let mut names: Vec<Arc<str>> = Vec::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let mut words = line.split(' ');
        let (Some(first), Some(second), third) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if first == "=" {
            if let (Ok(count), Some(word)) = (second.parse(), third) {
                lock(outcome).tally.insert(word.to_owned(), count);
            }
            continue;
        }
        if first == "#" {
            let mut outcome = lock(outcome);
            outcome.sent = second.parse().unwrap_or(0);
            outcome.received = third.and_then(|n| n.parse().ok()).unwrap_or(0);
            continue;
        }
        let (Ok(start_ns), Ok(duration_ns)) = (first.parse(), second.parse()) else {
            continue;
        };
        let word = third.unwrap_or("!nothing");
        let outcome_of_one = word
            .strip_prefix('!')
            .map_or_else(|| Ok(intern(&mut names, word)), |error| Err(error.to_owned()));
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let (flow, target) = (number(), number());
        let record = Record { start_ns, duration_ns, outcome: outcome_of_one, flow, target };
        lock(outcome).records.push(record);
    }
}

fn intern(names: &mut Vec<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.iter().find(|known| &***known == name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = Arc::from(name);
    names.push(Arc::clone(&new));
    new
}

/// One connection, looked at closely: the JSON that `mesh-load probe` prints
/// (`connected`, `errno`, `peer`, `name`, …).
pub fn probe(place: &Place, target: impl Into<SocketAddr>, mode: Mode) -> anyhow::Result<Value> {
    let target = target.into();
    let mut command = Command::new(bins::helper("mesh-load")?);
    command.args(["probe", "--target", &target.to_string()]);
    command.args(["--mode", mode.as_str()]);
    command.stdin(Stdio::null());
    place.confine(&mut command);
    let output = command.output().context("starting mesh-load probe")?;
    if !output.status.success() {
        bail!("probe of {target}: {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
