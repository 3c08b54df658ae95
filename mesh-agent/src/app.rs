//! Wires the agent: the only place that starts threads and tasks.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use mesh_xds::client::DeltaClient;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tonic::transport::Endpoint;

use crate::bpf::check::{Machine, check_here};
use crate::bpf::enrol::EnrolMaps;
use crate::bpf::{attach, layout, load, object, tombstone};
use crate::canary::{self, Listeners, Trial};
use crate::config::RunArgs;
use crate::enrol;
use crate::enrol::agent::{Enrolment, Fresh, Outputs, Settings};
use crate::enrol::namespaces::Lister;
use crate::enrol::scan::Base;
use crate::enrol::verdicts::{Room, Verdicts};
use crate::events::ring;
use crate::http::{Context, router};
use crate::keeper::{Keeper, Next, Trust};
use crate::ledger::Journal;
use crate::maps::MapStore as _;
use crate::maps::kernel::KernelMaps;
use crate::reconcile::Reconciler;
use crate::worker::{Worker, stamp};
use crate::workload;
use crate::workload::report::Reporter;
use crate::world::NodeLocality;
use crate::xds::batch::kind_of;
use crate::xds::client::{Client, Line, machine};
use crate::xds::last_good::LastGood;
use crate::xds::saver;

/// How often the agent looks whether its programs are still attached and run.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What `run` needs, found good.
#[derive(Debug)]
pub struct Checked {
    /// Where programs are attached.
    pub cgroup: PathBuf,
    /// Name of the node.
    pub node: String,
    /// Where the control plane is.
    pub endpoint: Endpoint,
    /// The eBPF object.
    pub object: Vec<u8>,
}

/// Checks everything that can be checked without changing anything.
pub fn check(args: &RunArgs) -> Result<Checked> {
    Ok(Checked {
        cgroup: check_here(args.cgroup.as_deref(), &args.pin_path)?,
        node: node_name(args.node.clone())?,
        endpoint: endpoint(&args.control)?,
        object: object::object(args.bpf_object.as_deref())?,
    })
}

/// Runs until SIGTERM or SIGINT. What is attached and pinned stays.
pub async fn run(args: RunArgs) -> Result<()> {
    let Checked { cgroup, node, endpoint, object } = check(&args)?;
    let listener = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("cannot listen on {}", args.http))?;

    let _only_one = only_one(&args.pin_path)?;
    let mut loaded = load_programs(&object, &args)?;
    let mut reconciler = take_over(&mut loaded, &cgroup, &args)?;
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

    let (worker, inbox) = Worker::new();
    let thread = thread::Builder::new()
        .name("maps".to_owned())
        .spawn({
            let pin_path = args.pin_path.clone();
            move || inbox.work(reconciler, enrol_maps, pin_path)
        })
        .context("cannot start the thread for the maps")?;
    let (line, line_watch) = watch::channel(Line::default());
    let reporter = Reporter {
        endpoint: endpoint.clone(),
        node: node.clone(),
        line: line_watch.clone(),
        inventory: enrolled.inventory.clone(),
    };
    let workloads = workload::http::router(workload::http::Context {
        node: node.clone(),
        inventory: enrolled.inventory,
    });
    let (save, to_save) = mpsc::channel();
    let saver = thread::Builder::new()
        .name("last-good".to_owned())
        .spawn(move || saver::run(&last_good, &to_save))
        .context("cannot start the thread for the last good state")?;
    let client = Client { endpoint, machine, commit, worker: worker.clone(), line, save };
    let (trust, trust_watch) = watch::channel(Trust::default());
    let context = Context {
        node: node.clone(),
        pin_path: args.pin_path.clone(),
        cgroup: cgroup.clone(),
        worker: worker.clone(),
        trust: trust_watch,
        line: line_watch,
        served: held.commit > 0,
    };
    let events = ring::open(&args.pin_path)?;
    tracing::info!(node, http = %listener.local_addr()?, revision = held.revision, "serving");

    let mut tasks = tokio::task::JoinSet::new();
    let control = client.run(random01);
    tasks.spawn(async move {
        control.await;
        "the thread for the maps has ended".to_owned()
    });
    tasks.spawn(async move { ring::run(events).await.to_string() });
    tasks.spawn(serve(listener, router(context).merge(workloads)));
    tasks.spawn(enrolment.run());
    tasks.spawn(pass_on(enrolled.verdicts, enrolled.fresh, worker.clone()));
    tasks.spawn(reporter.run(random01));
    let ports = listeners.ports().clone();
    tasks.spawn(answer(listeners));
    let trial = Trial { cgroup, pin_path: args.pin_path, ports };
    let keeper = Keeper::new(loaded, trial, Duration::from_secs(args.canary_interval));

    let fault = tokio::select! {
        ended = keep(keeper, trust) => ended.err().map(|error| error.to_string()),
        signal = wait_for_signal() => signal.err().map(|error| error.to_string()),
        Some(ended) = tasks.join_next() => {
            Some(ended.unwrap_or_else(|error| format!("a task has failed: {error}")))
        }
    };
    tracing::info!("ending; what is attached and pinned stays and serves on");
    tasks.shutdown().await;
    worker.stop();
    if thread.join().is_err() {
        bail!("the thread for the maps has panicked");
    }
    if saver.join().is_err() {
        bail!("the thread for the last good state has panicked");
    }
    match fault {
        Some(fault) => bail!("{fault}"),
        None => Ok(()),
    }
}

/// Has every change of the verdicts written.
async fn pass_on(
    mut verdicts: watch::Receiver<Arc<Verdicts>>,
    mut fresh: UnboundedReceiver<Fresh>,
    worker: Worker,
) -> String {
    loop {
        tokio::select! {
            // An older state must not take away what is new.
            biased;
            Ok(()) = verdicts.changed() => {
                worker.enrol(Arc::clone(&verdicts.borrow_and_update()));
            }
            Some(fresh) = fresh.recv() => worker.enrol_new(fresh),
            else => return "nobody looks at the cgroups any more".to_owned(),
        }
    }
}

/// Looks which cgroups there are, and how the flags judge them.
fn enrolment(args: &RunArgs, cgroup: &Path, room: Room) -> Result<(Enrolment<Lister>, Outputs)> {
    let machine = Machine::read();
    // Of several places where it is mounted, the one through which the cgroup is named.
    let mounted = machine.mounts.iter().filter(|(_, kind)| kind == "cgroup2");
    let above = mounted.map(|(path, _)| path.as_path()).filter(|path| cgroup.starts_with(path));
    let mount = above.max_by_key(|path| path.components().count()).unwrap_or(cgroup);
    let settings = Settings {
        rules: args.enrol.rules(),
        base: Base::new(mount, cgroup)?,
        room,
        names: PathBuf::from(enrol::namespaces::NAMES),
    };
    Ok(Enrolment::start(settings, Lister::default())?)
}

/// Loads the programs with the maps that they and the flags ask for.
fn load_programs(object: &[u8], args: &RunArgs) -> Result<load::Loaded> {
    let loaded = load::load(object, &args.pin_path, args.limits(), args.tables(), args.access_log)?;
    for (program, instructions) in &loaded.verified {
        tracing::info!(program, instructions, "verified");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded)
}

/// Opens the maps and whose counters they hold. Where the maps are new ones of another layout, the
/// programs go over to them first: then what the old ones counted is final.
fn take_over(
    loaded: &mut load::Loaded,
    cgroup: &Path,
    args: &RunArgs,
) -> Result<Reconciler<KernelMaps>> {
    let maps = KernelMaps::open(&args.pin_path)?;
    if layout::is_under_way(&args.pin_path) {
        tracing::info!(maps = ?loaded.replaced, "going over to maps of another layout");
        attach::attach(loaded, cgroup, &args.pin_path)?;
    }
    let earlier = layout::finish(&args.pin_path)?;
    let earlier = earlier.as_ref().map(|(sources, last)| (sources, last));
    let journal = Journal::open(&args.state_dir, &maps.sources()?, earlier)?;
    layout::remove(&args.pin_path)?;
    Ok(Reconciler::open(maps, journal, NodeLocality::default())?)
}

/// Holds the pin path for this agent alone, as long as the file is open.
fn only_one(pin_path: &Path) -> Result<File> {
    fs::create_dir_all(pin_path)
        .with_context(|| format!("cannot create {}", pin_path.display()))?;
    let directory = File::open(pin_path)?;
    match directory.try_lock() {
        Ok(()) => {
            // Whoever starts an agent wants the programs: also where an uninstall was cut short.
            tombstone::clear(pin_path)?;
            Ok(directory)
        }
        Err(TryLockError::WouldBlock) => bail!(
            "another agent uses {}: end it first, or choose another --pin-path",
            pin_path.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", pin_path.display()))
        }
    }
}

/// Listens for the canary, and puts its services into the maps.
async fn listen(reconciler: &mut Reconciler<KernelMaps>) -> Result<Listeners> {
    let limits = reconciler.maps().limits();
    let before = canary::ports_in(reconciler.canary(), limits);
    let listeners = Listeners::bind(before).await;
    reconciler.put_canary(canary::image(limits, listeners.ports(), stamp()))?;
    Ok(listeners)
}

async fn answer(listeners: Listeners) -> String {
    listeners.run().await;
    "the canary's listeners have ended".to_owned()
}

async fn serve(listener: TcpListener, routes: axum::Router) -> String {
    match axum::serve(listener, routes).await {
        Ok(()) => "the HTTP server has ended".to_owned(),
        Err(error) => format!("the HTTP server has ended: {error}"),
    }
}

/// Attaches the programs, or puts them behind the links that are there.
fn attach_first(loaded: &mut load::Loaded, cgroup: &Path, pin_path: &Path) -> Result<()> {
    for (program, instructions) in &loaded.verified {
        tracing::info!(program, instructions, "verified");
    }
    for (program, outcome) in attach::attach(loaded, cgroup, pin_path)? {
        tracing::info!(program, cgroup = %cgroup.display(), ?outcome, "attached");
    }
    Ok(())
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

/// Puts the state on disk into the world and, unless the maps hold something else, into the
/// maps. The control plane then sends only what has changed since.
fn restore(
    reconciler: &mut Reconciler<KernelMaps>,
    last_good: &LastGood,
    nothing_known: DeltaClient,
) -> Result<DeltaClient> {
    let on_disk = last_good.held()?;
    if on_disk.commit == 0 {
        return Ok(nothing_known);
    }
    let mut machine = nothing_known.clone();
    let mut changes = Vec::new();
    let mut invalid = None;
    last_good.each(|type_url, name, version, body| {
        machine.restore([(type_url, name, version)]);
        let Some(kind) = kind_of(type_url) else { return };
        match mesh_api::convert::from_resource(kind, name, body) {
            Ok(object) => changes.push(crate::world::Change::Put(object)),
            Err(error) => invalid = Some(error),
        }
    })?;
    if let Some(error) = invalid {
        // Without it the copy is not what its versions promise.
        tracing::warn!("the last good state is not used: {error}");
        last_good.clear()?;
        return Ok(nothing_known);
    }
    reconciler.change(changes);
    let held = reconciler.maps().held()?;
    if held.commit > on_disk.commit {
        tracing::info!(
            held = held.revision,
            on_disk = on_disk.revision,
            "the maps are newer than the copy on disk and stay until the control plane answers"
        );
    } else {
        let writes = reconciler.install(stamp())?.writes;
        reconciler.set_held(on_disk)?;
        tracing::info!(revision = on_disk.revision, writes, "restored the last good state");
    }
    Ok(machine)
}

fn node_name(given: Option<String>) -> Result<String> {
    let name = match given {
        Some(name) => name,
        None => fs::read_to_string("/proc/sys/kernel/hostname")
            .context("cannot read the host's name: pass --node NAME")?
            .trim()
            .to_owned(),
    };
    if let Err(error) = name.parse::<mesh_api::model::Label>() {
        bail!("{name:?} cannot be the name of a node: {error}; pass --node NAME");
    }
    Ok(name)
}

fn endpoint(control: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(control.to_owned())
        .ok()
        .filter(|endpoint| endpoint.uri().scheme_str() == Some("http"));
    let Some(endpoint) = endpoint else {
        bail!("{control:?} is not the address of a control plane: write it as http://HOST:PORT");
    };
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true))
}

/// Uniform in [0, 1), to spread reconnecting agents out.
fn random01() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};

    // A new RandomState has new keys of the operating system's randomness behind it.
    let bits = RandomState::new().hash_one(0u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}

async fn wait_for_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
