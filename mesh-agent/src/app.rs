//! Wires the agent: the only place that starts threads and tasks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use mesh_telemetry::keeper::LogKeeper;
use mesh_xds::backoff::random01;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use crate::accel::{self, auto};
use crate::attend::bundle::{Source, flags};
use crate::attend::{self, Attendant};
use crate::bpf::enrol::EnrolMaps;
use crate::canary::Trial;
use crate::config::{RunArgs, Switch};
use crate::events::{
    access::Access,
    ring,
    spans::{self, Spans},
    tap::Taps,
};
use crate::guard;
use crate::guard::report::Reports;
use crate::health::feed::Feed;
use crate::health::prober::Prober;
use crate::health::report::{Guards, ReportTo, Reporter};
use crate::health::{self, Checks};
use crate::http::{Context, router};
use crate::keeper::{Keeper, Next, Trust};
use crate::maps::MapStore as _;
use crate::maps::kernel::words::KernelGuards;
use crate::proxy::follow::{Follower, Known};
use crate::proxy::own;
use crate::report;
use crate::sockets;
pub use crate::start::{Checked, check};
use crate::start::{
    Looking, attach_first, enrolment, keep_out, listen, load_programs, only_one, open_auto,
    open_proxy, program_log, restore, take_over, wait_for_signal,
};
use crate::tasks::{answer, follow_control, looked_at, pass_on, serve};
use crate::upkeep::Upkeep;
use crate::worker::Worker;
use crate::workload::{self, inventory::Inventory};
use crate::xds::client::{Client, Line, machine};
use crate::xds::last_good::LastGood;
use crate::xds::saver;

/// How often the agent looks whether its programs are still attached and run.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT. What is attached and pinned stays.
pub async fn run(args: RunArgs) -> Result<()> {
    let Checked { cgroup, node, endpoint, object } = check(&args)?;
    let listener = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("cannot listen on {}", args.http))?;

    let _only_one = only_one(&args.pin_path)?;
    let acceleration = Arc::new(accel::prepare(&object, args.acceleration == Switch::On));
    let mut loaded = load_programs(&object, &args, acceleration.layout)?;
    let looking = open_auto(&args, &cgroup, acceleration.layout.is_some())?;
    let mut reconciler = take_over(&mut loaded, &cgroup, &args, &node)?;
    let proxy = open_proxy(&mut reconciler, &args, &cgroup, &node).await?;
    let last_good = LastGood::open(&args.state_dir).context("choose another --state-dir")?;
    let machine = restore(&mut reconciler, &last_good, machine(&node))?;
    let commit = last_good.held()?.commit;
    let held = reconciler.maps().held()?;
    let mut enrol_maps = EnrolMaps::open(&args.pin_path)?;
    let (enrolment, enrolled) = enrolment(&args, &cgroup, enrol_maps.room())?;
    // Before a program runs that asks for them.
    enrol_maps.apply(&enrolled.verdicts.borrow())?;
    let listeners = listen(&mut reconciler).await?;
    attach_first(&mut loaded, &cgroup, &args.pin_path)?;

    let (log, write_log) = program_log(&mut loaded, object, &args, acceleration.layout);
    // Not waited for: it ends with the process.
    drop(start("log", write_log)?);

    let (lists, removed) = mpsc::channel();
    let (ended, ended_watch) = watch::channel(sockets::Totals::default());
    let (guards, inboxes) = guard::follower::Guards::new();
    let upkeep = Upkeep::open(&args.pin_path, lists, ended_watch, guards.clone())?;
    let (worker, inbox) = Worker::new();
    let checks = health::checks(Some(keep_out(&args.pin_path)), random01);
    let feed = Feed::new(checks.handle.clone());
    let words = reconciler.maps().words();
    let pin_path = args.pin_path.clone();
    let maps = move || inbox.work(reconciler, enrol_maps, upkeep, feed, pin_path);
    let pin_path = args.pin_path.clone();
    let follow = move || sockets::follower::run(&pin_path, &removed, &ended);
    // In the order in which one ends when the one before has.
    let mut threads = vec![start("maps", maps)?, start("sockets", follow)?];
    let guards_watch =
        watch_guards((&args.pin_path, &cgroup), words, inboxes, &worker, &mut threads)?;
    let mut tasks = JoinSet::new();
    let (alive, auto_watch) = follow_auto(looking, &mut threads, &mut tasks)?;
    let proxy = follow_proxy(&mut tasks, proxy, &worker, &args.state_dir);
    let (line, line_watch) = watch::channel(Line::default());
    let control = (&endpoint, node.as_str(), &line_watch);
    let inventory = enrolled.inventory.clone();
    let reports = report(&mut tasks, control, inventory, &worker, args.report_interval);
    let to = ReportTo {
        endpoint: endpoint.clone(),
        node: node.clone(),
        line: line_watch.clone(),
        guards: guards_watch,
    };
    let workloads = workload::http::router(workload::http::Context {
        node: node.clone(),
        inventory: enrolled.inventory,
    });
    let (save, to_save) = mpsc::channel();
    threads.push(start("last-good", move || saver::run(&last_good, &to_save))?);
    let (trust, trust_watch) = watch::channel(Trust::default());
    let context = Context {
        node: node.clone(),
        pin_path: args.pin_path.clone(),
        cgroup: cgroup.clone(),
        worker: worker.clone(),
        health: checks.source(),
        guards: guards.clone(),
        acceleration,
        auto: auto_watch,
        trust: trust_watch,
        line: line_watch,
        reports,
        proxy,
        served: held.commit > 0,
    };
    let (access, taps, asked) = attend(&mut tasks, &endpoint, context.clone(), &args);
    let (endpoint, to_maps) = (endpoint.clone(), worker.clone());
    let client = Client { endpoint, machine, commit, worker: to_maps, line, save, asked };
    let events = ring::open(&args.pin_path)?;
    tracing::info!(node, http = %listener.local_addr()?, revision = held.revision, "serving");

    tasks.spawn(follow_control(client));
    let (spans, recorder) = Spans::open(args.trace_connections, &worker).unzip();
    tasks.spawn(spans::run(recorder));
    tasks.spawn(async move { ring::run(events, guards, access, taps, spans).await.to_string() });
    tasks.spawn(serve(listener, router(context).merge(workloads)));
    tasks.spawn(enrolment.run());
    tasks.spawn(pass_on(enrolled.verdicts, enrolled.fresh, worker.clone()));
    check_health(&mut tasks, checks, worker.clone(), to);
    let ports = listeners.ports().clone();
    tasks.spawn(answer(listeners));
    let trial = Trial { cgroup, pin_path: args.pin_path, ports };
    let keeper = Keeper::new(loaded, log, trial, Duration::from_secs(args.canary_interval));

    let fault = tokio::select! {
        ended = keep(keeper, trust) => ended.err().map(|error| error.to_string()),
        signal = wait_for_signal() => signal.err().map(|error| error.to_string()),
        Some(ended) = tasks.join_next() => {
            Some(ended.unwrap_or_else(|error| format!("a task has failed: {error}")))
        }
    };
    end(tasks, alive, &worker, threads).await?;
    fault.map_or(Ok(()), |fault| Err(anyhow!(fault)))
}

/// Ends tasks, then threads.
async fn end(
    mut tasks: JoinSet<String>,
    alive: mpsc::Sender<()>,
    worker: &Worker,
    threads: Vec<(&'static str, JoinHandle<()>)>,
) -> Result<()> {
    tracing::info!("ending; what is attached and pinned stays and serves on");
    tasks.shutdown().await;
    drop(alive);
    worker.stop();
    for (name, thread) in threads {
        if thread.join().is_err() {
            bail!("the thread {name} has panicked");
        }
    }
    Ok(())
}

/// Starts following the node's Envoy; or has the one of an earlier agent end, where there is to be
/// none, once connections go elsewhere.
fn follow_proxy(
    tasks: &mut JoinSet<String>,
    (follower, known): (Option<Follower>, Known),
    worker: &Worker,
    state_dir: &Path,
) -> watch::Receiver<Known> {
    let (known, watched) = watch::channel(known);
    if let Some(follower) = follower {
        let worker = worker.clone();
        tasks.spawn(follower.run(known, move |state| worker.proxy(state)));
    } else if own::is_there(state_dir) {
        tasks.spawn(retire(state_dir.to_owned(), worker.clone()));
    }
    watched
}

async fn retire(state_dir: PathBuf, worker: Worker) -> String {
    // What was asked before has been done when this is answered.
    drop(worker.stats().await);
    match tokio::task::spawn_blocking(move || own::end(&state_dir)).await {
        Ok(Ok(removed)) => tracing::info!(?removed, "the Envoy of an earlier agent has ended"),
        Ok(Err(error)) => tracing::error!(%error, "the Envoy of an earlier agent goes on"),
        Err(error) => return format!("ending the Envoy of an earlier agent: {error}"),
    }
    std::future::pending().await
}

/// Starts the threads that watch and repair guards. Returns what the control plane is to be told.
fn watch_guards(
    places: (&Path, &Path),
    words: KernelGuards,
    inboxes: guard::follower::Inboxes,
    worker: &Worker,
    threads: &mut Vec<Thread>,
) -> Result<watch::Receiver<Arc<Reports>>> {
    let worker = worker.clone();
    let eject = move |ejected| worker.eject(ejected);
    let (follow, repair, reports) = guard::open(places, words, inboxes, eject);
    threads.extend([start("guards", follow)?, start("repair", repair)?]);
    Ok(reports)
}

/// Starts the thread that decides about services with `acceleration: Auto`, where they can be
/// accelerated, and a task that ends when it does. It ends when what is returned is dropped.
fn follow_auto(
    Looking { maps, cgroups, settings, usable }: Looking,
    threads: &mut Vec<Thread>,
    tasks: &mut JoinSet<String>,
) -> Result<(mpsc::Sender<()>, watch::Receiver<auto::metrics::Figures>)> {
    let (alive, ended) = mpsc::channel();
    let (figures, watched) = watch::channel(auto::metrics::Figures::default());
    if usable {
        let follow = move || auto::run(maps, cgroups, settings, &ended, &figures);
        threads.push(start("auto", follow)?);
        tasks.spawn(looked_at(watched.clone()));
    }
    Ok((alive, watched))
}

/// A thread, and its name.
type Thread = (&'static str, JoinHandle<()>);

/// Starts a thread.
fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<Thread> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    Ok((name, thread.with_context(|| format!("cannot start the thread {name}"))?))
}

/// Starts answering commands, and the log of connections. Returns who is told of connections, and who
/// wants to know what is held.
fn attend(
    tasks: &mut JoinSet<String>,
    endpoint: &Endpoint,
    context: Context,
    args: &RunArgs,
) -> (Arc<Access>, Arc<Taps>, UnboundedReceiver<attend::programmed::Reply>) {
    let (known, asked) = unbounded_channel();
    let worker = context.worker.clone();
    let (access, lines) = Access::new(args.access_log, args.trace_connections > 0, worker.clone());
    let chooser = Arc::clone(&access);
    let change = move |on, sample| chooser.set(on, sample);
    let handle = mesh_telemetry::installed().map(|it| it.log.clone());
    let taps = Taps::new(worker.clone());
    let attendant = Attendant {
        endpoint: endpoint.clone(),
        node: context.node.clone(),
        line: context.line.clone(),
        worker,
        pin_path: args.pin_path.clone(),
        log: Arc::new(LogKeeper::new(handle, args.access_log, change)),
        taps: Arc::clone(&taps),
        bundle: Source { context, flags: flags(args) },
        known,
    };
    tasks.spawn(attendant.run(random01));
    tasks.spawn(lines.run());
    (access, taps, asked)
}

/// Starts the reports of workloads, and of what was counted.
fn report(
    tasks: &mut JoinSet<String>,
    (endpoint, node, line): (&Endpoint, &str, &watch::Receiver<Line>),
    inventory: watch::Receiver<Arc<Inventory>>,
    worker: &Worker,
    interval: Duration,
) -> watch::Receiver<report::metrics::Figures> {
    let workloads = workload::report::Reporter {
        endpoint: endpoint.clone(),
        node: node.to_owned(),
        line: line.clone(),
        inventory,
    };
    tasks.spawn(workloads.run(random01));
    let (figures, reports) = watch::channel(report::metrics::Figures::default());
    let traffic = report::Reporter {
        endpoint: endpoint.clone(),
        node: node.to_owned(),
        line: line.clone(),
        source: worker.clone(),
        interval,
        figures,
    };
    tasks.spawn(traffic.run(random01));
    reports
}

/// Starts the health checks of this node's endpoints.
fn check_health<G: Guards>(
    tasks: &mut JoinSet<String>,
    checks: Checks,
    worker: Worker,
    to: ReportTo<G>,
) {
    let Checks { handle, checker, events, .. } = checks;
    let (changed, changed_watch) = watch::channel(0);
    let line = to.line.clone();
    tasks.spawn(async move {
        checker.run().await;
        "the health checks have ended".to_owned()
    });
    let apply = move |found| worker.found(found);
    tasks.spawn(Prober { events, handle: handle.clone(), line, apply, changed }.run());
    tasks.spawn(Reporter { to, handle, changed: changed_watch }.run(random01));
}

/// Keeps the programs attached and tried. Ends well after an `uninstall`: who takes the programs
/// away does not want them back.
async fn keep(mut keeper: Keeper, trust: watch::Sender<Trust>) -> Result<()> {
    let start = Instant::now();
    loop {
        let now = start.elapsed();
        let (back, next) = tokio::task::spawn_blocking(move || {
            let next = keeper.look(now);
            (keeper, next)
        })
        .await
        .context("what keeps the programs attached has failed")?;
        keeper = back;
        trust.send_replace(keeper.trust().clone());
        match next {
            Next::Again => {}
            Next::Later => tokio::time::sleep(WATCH_INTERVAL).await,
            Next::End => {
                tracing::warn!("uninstalled");
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_agent_goes_down_with_the_thread_for_auto_also_when_that_panics() {
        let (figures, watched) = watch::channel(auto::metrics::Figures::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(looked_at(watched.clone()));
        let (go, gone) = mpsc::channel::<()>();
        let work = move || {
            figures.send_replace(auto::metrics::Figures { looks: 1, ..Default::default() });
            assert!(gone.recv().is_ok(), "told to panic");
        };
        let (_, thread) = start("auto", work).unwrap();
        let mut looks = watched;
        looks.changed().await.unwrap();
        tokio::task::yield_now().await;
        assert!(tasks.try_join_next().is_none(), "a look does not end it");
        drop(go);
        let ended = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(ended, "the thread for acceleration Auto has ended");
        assert!(thread.join().is_err());
    }
}
