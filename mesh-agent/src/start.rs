//! What happens before anything runs: checks, taking over what is pinned and on disk, attaching.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use glob::Pattern;
use mesh_api::resource::HEALTH;
use mesh_common::accel::SocketLayout;
use mesh_common::names;
use mesh_health::probe::Prepare;
use mesh_xds::client::DeltaClient;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Endpoint;

use crate::accel::{self, auto};
use crate::bpf::auto::AutoMaps;
use crate::bpf::check::{Machine, check_here};
use crate::bpf::direct::Direct;
use crate::bpf::log::Level;
use crate::bpf::{self, attach, layout, load, object, tombstone};
use crate::canary::{self, Listeners};
use crate::config::{RunArgs, Switch};
use crate::edges::Roster;
use crate::edges::names::Names;
use crate::enrol;
use crate::enrol::agent::{Enrolment, Outputs, Settings};
use crate::enrol::namespaces::Lister;
use crate::enrol::scan::Base;
use crate::enrol::verdicts::Room;
use crate::keeper::log::ProgramLog;
use crate::ledger::Journal;
use crate::maps::MapStore as _;
use crate::maps::kernel::KernelMaps;
use crate::proxy;
use crate::proxy::follow::{Follower, Known};
use crate::reconcile::Reconciler;
use crate::worker::stamp;
use crate::world::{Change, NodeLocality};
use crate::xds::batch::kind_of;
use crate::xds::health;
use crate::xds::last_good::LastGood;

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

/// Where cgroup v2 is mounted: of several places, the one through which the cgroup is named.
pub(crate) fn cgroup_mount(cgroup: &Path) -> PathBuf {
    let machine = Machine::read();
    let mounted = machine.mounts.iter().filter(|(_, kind)| kind == "cgroup2");
    let above = mounted.map(|(path, _)| path.as_path()).filter(|path| cgroup.starts_with(path));
    above.max_by_key(|path| path.components().count()).unwrap_or(cgroup).to_owned()
}

/// Looks which cgroups there are, and how the flags judge them.
pub(crate) fn enrolment(
    args: &RunArgs,
    cgroup: &Path,
    room: Room,
) -> Result<(Enrolment<Lister>, Outputs)> {
    let mut rules = args.enrol.rules();
    if let Some(path) = proxy::open::cgroup(&args.proxy)? {
        // What Envoy connects to must not lead back to it.
        let glob = Pattern::escape(&path).parse();
        rules.exclude_cgroups.push(glob.with_context(|| format!("the cgroup {path}"))?);
    }
    let settings = Settings {
        rules,
        base: Base::new(&cgroup_mount(cgroup), cgroup)?,
        room,
        names: PathBuf::from(enrol::namespaces::NAMES),
    };
    Ok(Enrolment::start(settings, Lister::default())?)
}

/// Loads the programs with the maps that they and the flags ask for.
pub(crate) fn load_programs(
    object: &[u8],
    args: &RunArgs,
    acceleration: Option<SocketLayout>,
) -> Result<load::Loaded> {
    let settings = settings(args, acceleration, logged());
    let loaded = load::load(object, &args.pin_path, args.limits(), args.tables(), settings)?;
    for (program, instructions) in &loaded.verified {
        tracing::info!(program, instructions, "verified");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded)
}

fn settings(args: &RunArgs, acceleration: Option<SocketLayout>, log: Level) -> load::Settings {
    load::Settings {
        access_log: args.access_log || args.trace_connections > 0,
        acceleration,
        edges: args.edges == Switch::On,
        socket_error_at: accel::socket_error_at(),
        log,
    }
}

/// What the programs are to log.
fn logged() -> Level {
    mesh_telemetry::installed().map(|it| Level::of(&it.log.current())).unwrap_or_default()
}

/// What the programs log from now on, and what reads their lines.
pub(crate) fn program_log(
    loaded: &mut load::Loaded,
    object: Vec<u8>,
    args: &RunArgs,
    acceleration: Option<SocketLayout>,
) -> (ProgramLog, impl FnOnce() + Send + 'static) {
    let (lines, fresh) = mpsc::channel();
    let (pin_path, limits, tables) = (args.pin_path.clone(), args.limits(), args.tables());
    let before = settings(args, acceleration, Level::default());
    let load = move |log| {
        load::again(&object, &pin_path, limits, tables, load::Settings { log, ..before })
    };
    let log = ProgramLog::new(loaded, logged, Box::new(load), lines);
    (log, move || bpf::log::run(&fresh))
}

/// Opens the maps and whose counters they hold. Where the maps are new ones of another layout, the
/// programs go over to them first: then what the old ones counted is final.
pub(crate) fn take_over(
    loaded: &mut load::Loaded,
    cgroup: &Path,
    args: &RunArgs,
    node: &str,
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
    let here = NodeLocality {
        node: node.parse().ok(),
        region: args.region.clone(),
        zone: args.zone.clone(),
    };
    let mount = cgroup_mount(cgroup);
    let names = Names::open(&mount).with_context(|| format!("cannot open {}", mount.display()))?;
    let clients = (names, Roster::new(args.max_sources));
    let mut reconciler = Reconciler::open_with(maps, journal, here, clients)?;
    reconciler.set_kernel(bpf::tcp::kernel());
    reconciler.set_acceleration(loaded.accelerates);
    reconciler.set_inbound(args.edges == Switch::On, args.max_sources);
    Ok(reconciler)
}

/// Finds the node's Envoy, or starts it, before anything is written: where it serves already, as after
/// a restart of the agent, connections go on to it.
pub(crate) async fn open_proxy(
    reconciler: &mut Reconciler<KernelMaps>,
    args: &RunArgs,
    cgroup: &Path,
    node: &str,
) -> Result<(Option<Follower>, Known)> {
    let mut follower = proxy::open::open(args, node, &cgroup_mount(cgroup))?;
    let known = match &mut follower {
        Some(follower) => follower.first().await,
        None => Known::default(),
    };
    reconciler.set_proxy(known.state.clone());
    Ok((follower, known))
}

/// What the thread for `acceleration: Auto` works with.
pub(crate) struct Looking {
    pub(crate) maps: AutoMaps,
    pub(crate) cgroups: PathBuf,
    pub(crate) settings: auto::Settings,
    /// Whether anything can be accelerated.
    pub(crate) usable: bool,
}

/// Opens the maps for `acceleration: Auto`, with no client accelerated.
pub(crate) fn open_auto(args: &RunArgs, cgroup: &Path, usable: bool) -> Result<Looking> {
    let maps = AutoMaps::open(&args.pin_path).with_context(|| {
        format!(
            "clients that an earlier agent has accelerated cannot be taken back: \
             run `mesh-agent uninstall` with --pin-path {}, and start again",
            args.pin_path.display()
        )
    })?;
    let settings = auto::Settings::every(args.acceleration_auto_interval);
    Ok(Looking { maps, cgroups: cgroup_mount(cgroup), settings, usable })
}

/// Holds the pin path for this agent alone, as long as the file is open.
pub(crate) fn only_one(pin_path: &Path) -> Result<File> {
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

/// Attaches the programs, or puts them behind the links that are there.
pub(crate) fn attach_first(
    loaded: &mut load::Loaded,
    cgroup: &Path,
    pin_path: &Path,
) -> Result<()> {
    for (program, outcome) in attach::attach(loaded, cgroup, pin_path)? {
        tracing::info!(program, cgroup = %cgroup.display(), ?outcome, "attached");
    }
    Ok(())
}

/// Puts the state on disk into the world and, unless the maps hold something else, into the
/// maps. The control plane then sends only what has changed since.
pub(crate) fn restore(
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
        let change = if type_url == HEALTH {
            health::decode(name, body).map_err(|error| format!("{name}: {error}"))
        } else {
            let Some(kind) = kind_of(type_url) else { return };
            let object = mesh_api::convert::from_resource(kind, name, body);
            object.map(Change::Put).map_err(|error| error.to_string())
        };
        match change {
            Ok(change) => changes.push(change),
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

pub(crate) fn node_name(given: Option<String>) -> Result<String> {
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

/// Keeps the sockets of health checks to addresses that are a service's as well out of the mesh.
/// Where that cannot be done, the check is not: it would be of some other endpoint.
pub(crate) fn keep_out(pin_path: &Path) -> Prepare {
    match Direct::open(pin_path) {
        Ok(direct) => Prepare::new(move |socket| direct.mark(socket)),
        Err(error) => {
            let map = names::DIRECT;
            tracing::warn!(%error, map, "endpoints at the address of a service are not checked");
            let text = format!("the map {map} cannot be opened: {error}");
            Prepare::new(move |_socket| Err(io::Error::other(text.clone())))
        }
    }
}

/// Listens for the canary, and puts its services into the maps.
pub(crate) async fn listen(reconciler: &mut Reconciler<KernelMaps>) -> Result<Listeners> {
    let limits = reconciler.maps().limits();
    let before = canary::ports_in(reconciler.canary(), limits);
    let listeners = Listeners::bind(before).await;
    reconciler.put_canary(canary::image(limits, listeners.ports(), stamp()))?;
    Ok(listeners)
}

/// Ends when the agent is to end.
pub(crate) async fn wait_for_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
