//! Wires the agent: the only place that starts threads and tasks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic::transport::Endpoint;

use crate::bpf::check::check_here;
use crate::bpf::{attach, load, object};
use crate::config::RunArgs;
use crate::events::ring;
use crate::http::{Context, router};
use crate::maps::MapStore as _;
use crate::maps::kernel::KernelMaps;
use crate::reconcile::Reconciler;
use crate::worker::{Worker, stamp};
use crate::xds::batch::kind_of;
use crate::xds::cache::LastGood;
use crate::xds::client::{Client, Line, machine};

/// Shortest time between two copies of the last good state on disk.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT. What is attached and pinned stays.
pub async fn run(args: RunArgs) -> Result<()> {
    let cgroup = check_here(args.cgroup.as_deref(), &args.pin_path)?;
    let node = node_name(args.node.clone())?;
    let endpoint = endpoint(&args.control)?;
    let object = object::object(args.bpf_object.as_deref())?;
    let listener = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("cannot listen on {}", args.http))?;

    let mut loaded = load::load(&object, &args.pin_path, args.limits(), args.access_log)?;
    for (program, instructions) in &loaded.verified {
        tracing::info!(program, instructions, "verified");
    }
    let mut reconciler = Reconciler::open(KernelMaps::open(&args.pin_path)?)?;
    warn_of_other_sizes(&reconciler, &args);
    let last_good = restore(&mut reconciler, &args.state_dir)?;
    let held = reconciler.maps().revision()?;
    for (program, outcome) in attach::attach(&mut loaded, &cgroup, &args.pin_path)? {
        tracing::info!(program, cgroup = %cgroup.display(), ?outcome, "attached");
    }

    let (worker, inbox) = Worker::new();
    let thread = thread::Builder::new()
        .name("maps".to_owned())
        .spawn(move || inbox.work(reconciler))
        .context("cannot start the thread for the maps")?;
    let (line, line_watch) = watch::channel(Line { live_revision: 0, ..Line::default() });
    let (save, mut to_save) = watch::channel(last_good.clone());
    to_save.mark_unchanged();
    let client = Client {
        endpoint,
        machine: machine(&node, &last_good),
        last_good,
        worker: worker.clone(),
        line,
        save,
    };
    let context = Context {
        node: node.clone(),
        pin_path: args.pin_path.clone(),
        cgroup,
        worker: worker.clone(),
        line: line_watch,
        served: Arc::new(AtomicBool::new(false)),
    };
    context.served.store(held > 0, Ordering::Release);
    let events = ring::open(&args.pin_path)?;
    tracing::info!(node, http = %listener.local_addr()?, revision = held, "serving");

    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(client.run(random01));
    tasks.spawn(async move { tracing::error!("{}", ring::run(events).await) });
    tasks.spawn(save_changes(to_save.clone(), args.state_dir.clone()));
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, router(context)).await {
            tracing::error!(%error, "the HTTP server has ended");
        }
    });

    wait_for_signal().await?;
    tracing::info!("ending; programs and maps stay and serve on");
    tasks.shutdown().await;
    worker.stop();
    if thread.join().is_err() {
        bail!("the thread for the maps has panicked");
    }
    let last = to_save.borrow().clone();
    if last.revision > 0 {
        last.save(&args.state_dir)?;
    }
    Ok(())
}

/// Puts the state on disk into the world and, unless the maps hold something else, into the
/// maps. The control plane then sends only what has changed since.
fn restore(reconciler: &mut Reconciler<KernelMaps>, state_dir: &Path) -> Result<LastGood> {
    let state = match LastGood::load(state_dir) {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(LastGood::default()),
        Err(error) => {
            tracing::warn!("{error}");
            return Ok(LastGood::default());
        }
    };
    let mut changes = Vec::new();
    for (type_url, resources) in &state.resources {
        let Some(kind) = kind_of(type_url) else { continue };
        for (name, (_, body)) in resources {
            match mesh_api::convert::from_resource(kind, name, body) {
                Ok(object) => changes.push(crate::world::Change::Put(object)),
                Err(error) => {
                    // Without it the copy is not what its versions promise.
                    tracing::warn!("the last good state is not used: {error}");
                    return Ok(LastGood::default());
                }
            }
        }
    }
    reconciler.change(changes);
    let held = reconciler.maps().revision()?;
    if held > state.revision {
        tracing::info!(
            held,
            on_disk = state.revision,
            "the maps are newer than the copy on disk and stay until the control plane answers"
        );
    } else {
        let writes = reconciler.install(stamp())?.writes;
        reconciler.set_revision(state.revision)?;
        tracing::info!(revision = state.revision, writes, "restored the last good state");
    }
    Ok(state)
}

fn warn_of_other_sizes(reconciler: &Reconciler<KernelMaps>, args: &RunArgs) {
    let (pinned, wanted) = (reconciler.maps().limits(), args.limits());
    if pinned != wanted {
        tracing::warn!(
            ?pinned,
            ?wanted,
            "the pinned maps have other sizes and keep them; `mesh-agent uninstall` removes them, \
             the next start makes new ones"
        );
    }
}

/// Writes the newest state, at most once an interval.
async fn save_changes(mut states: watch::Receiver<LastGood>, directory: std::path::PathBuf) {
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        let target = directory.clone();
        let saved = tokio::task::spawn_blocking(move || state.save(&target)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the last good state is not saved: {error}"),
            Err(error) => tracing::error!("the last good state is not saved: {error}"),
        }
        tokio::time::sleep(SAVE_INTERVAL).await;
    }
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
