//! Puts the control plane together and runs it: the only place that starts tasks and threads.
//! Tests build it the same way as the program does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use mesh_health::checker::Checker;
use mesh_telemetry::keeper::LogKeeper;
use mesh_xds::backoff::random01;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};

use crate::api::Api;
use crate::api::health::HealthApi;
use crate::api::nodes::{NodesApi, Own, Stored};
use crate::api::telemetry::TelemetryApi;
use crate::api::workloads::WorkloadsApi;
use crate::config::Config;
use crate::health::book::HealthBook;
use crate::health::prober::Prober;
use crate::http;
use crate::lease::LeaseBook;
use crate::metrics::Metrics;
use crate::proxy::ProxyBook;
use crate::readiness::{Readiness, State};
use crate::store::Store;
use crate::store::redb::{Limits, RedbStore};
use crate::telemetry::book::TrafficBook;
use crate::telemetry::config::TrafficConfig;
use crate::telemetry::metrics::TelemetryMetrics;
use crate::web::{Sources, Web};
use crate::world::World;
use crate::writer::{Publisher, Writer, WriterHandle};
use crate::xds::{Ads, Csds, Feeds, Lrs, Nodes};

/// How long requests may go on after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(5);
/// A peer that does not answer a ping for so long is gone; asked this often.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Window of a stream, so that a large push needs few round trips.
const WINDOW: u32 = 4 << 20;

/// A running control plane.
pub struct Bound {
    /// Where agents and meshctl connect.
    pub grpc: SocketAddr,
    /// Where `/healthz` and `/metrics` are.
    pub http: SocketAddr,
    /// Cancel it to end the control plane.
    pub shutdown: CancellationToken,
    readiness: Arc<Readiness>,
    tasks: JoinSet<anyhow::Result<()>>,
    writer: oneshot::Receiver<()>,
}

/// Opens the store, binds the addresses and starts to serve. When this returns, both addresses
/// answer and everything that was stored is there.
pub async fn build(config: Config) -> anyhow::Result<Bound> {
    config.check()?;
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::default());
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();

    // All addresses before the store: a wrong one must not cost a look at the data.
    let grpc = bind("--listen", config.listen).await?;
    let grpc_address = grpc.local_addr().context("--listen")?;
    let http = bind("--http", config.http).await?;
    let http_address = http.local_addr().context("--http")?;
    let traffic = Arc::new(traffic(config.traffic, metrics.telemetry.clone()));
    tasks.spawn(count(Arc::clone(&traffic), shutdown.clone()));
    let telemetry = TelemetryApi::new(traffic, metrics.telemetry.clone(), shutdown.clone());
    let router = http::router(Arc::clone(&readiness), Arc::clone(&metrics));
    let web = Web::new(shutdown.clone());
    let router = router.merge(telemetry.clone().for_pages()).merge(web.router(config.web));
    let stop = shutdown.clone().cancelled_owned();
    tasks.spawn(async move {
        let server = axum::serve(http, router).with_graceful_shutdown(stop);
        server.await.context("HTTP server")
    });

    let (store, world) = open_store(&config).await?;
    metrics.observe_world(&world);
    let nodes = Arc::new(Nodes::new(Arc::clone(&metrics)));
    let leases = Arc::new(LeaseBook::default());
    let warm_up = config.health_warmup;
    let health = HealthBook::new(&world, warm_up, metrics.health.clone(), Instant::now());
    let health = Arc::new(health);
    tasks.spawn(follow(Arc::clone(&health), shutdown.clone()));
    let proxies = translate(&mut tasks, (&world, &config.proxy_address), &health, &shutdown);
    let publisher = Publisher::new(
        Arc::clone(&world),
        Arc::clone(&nodes),
        Arc::clone(&readiness),
        Arc::clone(&health),
        Arc::clone(&proxies),
    );
    let worlds = publisher.worlds();
    let snapshots = publisher.snapshots();
    let own = Own {
        flags: config.shown().into(),
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
    };
    let stored = Stored { snapshots: snapshots.clone(), store: Arc::clone(&store) };
    let (prober, checker) =
        Prober::new(Arc::clone(&health), publisher.worlds(), &metrics.health, random01);
    tasks.spawn(check(checker));
    tasks.spawn(choose(prober, shutdown.clone()));
    let (writer, handle) = Writer::new(
        Arc::clone(&store),
        world,
        Arc::clone(&leases),
        publisher,
        Arc::clone(&metrics),
    );
    let writer = start(writer)?;
    tasks.spawn(expire(Arc::clone(&leases), handle.clone(), shutdown.clone()));

    let (book, stop) = (Arc::clone(&health), shutdown.clone());
    let web_health = Arc::clone(&health);
    let health = HealthApi::new(health, metrics.health.clone(), shutdown.clone());
    let max_age = config.xds_max_connection_age;
    let feeds = Feeds { agents: snapshots, proxies };
    let (every, counted) = (config.load_report_interval, Arc::clone(&metrics));
    let loads = Lrs::service(feeds.clone(), counted, every, max_age, shutdown.clone());
    let ads = Ads::service(feeds, book, Arc::clone(&nodes), metrics, max_age, stop);
    let status = Csds::service(Arc::clone(&nodes), shutdown.clone());
    let workloads = WorkloadsApi::new(Arc::clone(&nodes));
    let log = keep_log(&mut tasks, &shutdown);
    let asked = NodesApi::new(Arc::clone(&nodes), log, stored, own, shutdown.clone());
    web.open(Sources {
        worlds: worlds.clone(),
        nodes: Arc::clone(&nodes),
        health: web_health,
        telemetry: telemetry.clone(),
    });
    let api = Api { writer: handle, store, worlds, leases, nodes, shutdown: shutdown.clone() };
    let router = server(max_age)
        .add_service(api.service())
        .add_service(workloads.for_agents())
        .add_service(workloads.for_people())
        .add_service(health.for_agents())
        .add_service(health.for_people())
        .add_service(telemetry.for_agents())
        .add_service(telemetry.for_people())
        .add_service(asked.for_agents())
        .add_service(asked.for_people())
        .add_service(ads)
        .add_service(status)
        .add_service(loads);
    tasks.spawn(serve(router, grpc, shutdown.clone()));

    readiness.set(State::Ready);
    Ok(Bound { grpc: grpc_address, http: http_address, shutdown, readiness, tasks, writer })
}

impl Bound {
    /// Runs until `shutdown` is cancelled or a part fails, then lets requests finish for a while.
    pub async fn wait(mut self) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = self.shutdown.cancelled() => Ok(()),
            ended = self.tasks.join_next() => ended.map_or(Ok(()), outcome),
            // Before the shutdown it cannot end by itself.
            _ = &mut self.writer => Err(anyhow!("the writer has crashed")),
        };
        self.readiness.set(State::Stopping);
        self.shutdown.cancel();
        let Self { mut tasks, writer, .. } = self;
        let drain = async {
            let mut result = failed;
            while let Some(ended) = tasks.join_next().await {
                result = result.and(outcome(ended));
            }
            // All handles are gone, so the writer ends and closes the store.
            writer.await.ok();
            result
        };
        let drained = tokio::time::timeout(DRAIN, drain).await;
        drained.unwrap_or_else(|_| {
            tracing::warn!("some requests did not finish in {DRAIN:?}: cut off");
            Ok(())
        })
    }
}

fn outcome(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    ended.context("a task has crashed")?
}

async fn bind(option: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another address with {option}")
    })
}

async fn open_store(config: &Config) -> anyhow::Result<(Arc<dyn Store>, Arc<World>)> {
    let directory = config.data_dir();
    let opened = tokio::task::spawn_blocking(move || {
        let store = RedbStore::open(&directory, Limits::default())?;
        let (revision, objects) = store.load()?;
        let world = World::new(revision, objects);
        tracing::info!(directory = %directory.display(), revision, "store open");
        Ok::<_, crate::store::StoreError>((store, world))
    });
    let (store, world) = opened.await.context("opening the store")??;
    Ok((Arc::new(store), Arc::new(world)))
}

/// Connections are told to end at the age at which streams begin to: so the clients come back on
/// new ones.
fn server(max_age: Duration) -> Server {
    Server::builder()
        .max_connection_age(max_age)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
}

async fn serve(
    router: Router,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let incoming =
        TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE));
    let served = router.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned());
    served.await.context("gRPC server")
}

/// Lets people change what is logged.
fn keep_log(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> Arc<LogKeeper> {
    let handle = mesh_telemetry::installed().map(|handles| handles.log.clone());
    let keeper = Arc::new(LogKeeper::new(handle, false, |_, _| {}));
    let (kept, shutdown) = (Arc::clone(&keeper), shutdown.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = kept.run() => {}
            () = shutdown.cancelled() => {}
        }
        Ok(())
    });
    keeper
}

/// Has the agents told what changes about the health of endpoints.
async fn follow(health: Arc<HealthBook>, shutdown: CancellationToken) -> anyhow::Result<()> {
    health.run(shutdown).await;
    Ok(())
}

/// Runs the writer in a thread of its own. What is returned hears of its end.
fn start(writer: Writer) -> anyhow::Result<oneshot::Receiver<()>> {
    let (ended, writer_ended) = oneshot::channel();
    let run = move || {
        writer.run();
        // Fails only when nobody waits any more.
        ended.send(()).ok();
    };
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(run);
    thread.context("cannot start a thread")?;
    Ok(writer_ended)
}

/// Has everything translated for Envoy and gRPC clients.
fn translate(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    (world, addresses): (&Arc<World>, &[IpAddr]),
    health: &HealthBook,
    shutdown: &CancellationToken,
) -> Arc<ProxyBook> {
    let proxies = Arc::new(ProxyBook::new(Arc::clone(world), addresses.to_vec()));
    let (book, known, shutdown) = (Arc::clone(&proxies), health.snapshots(), shutdown.clone());
    tasks.spawn(async move {
        book.run(known, shutdown).await;
        Ok(())
    });
    proxies
}

fn traffic(config: TrafficConfig, metrics: TelemetryMetrics) -> TrafficBook {
    let TrafficConfig { history_memory, max_series } = config;
    let most = config.most_bytes() >> 20;
    tracing::info!(history_memory, max_series, "traffic takes {most} MiB of memory at most");
    TrafficBook::new(config, metrics, Instant::now())
}

/// Has time go on for what agents have counted.
async fn count(traffic: Arc<TrafficBook>, shutdown: CancellationToken) -> anyhow::Result<()> {
    traffic.run(shutdown).await;
    Ok(())
}

/// Checks endpoints that have no agent.
async fn check(checker: Checker) -> anyhow::Result<()> {
    checker.run().await;
    Ok(())
}

/// Says which endpoints these are, and what has come of it.
async fn choose(prober: Prober, shutdown: CancellationToken) -> anyhow::Result<()> {
    prober.run(shutdown).await;
    Ok(())
}

/// Has the writer remove endpoints whose leases are over.
async fn expire(
    leases: Arc<LeaseBook>,
    writer: WriterHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = leases.due() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        if let Err(error) = writer.expire_leases().await {
            tracing::warn!(%error, "endpoints without heartbeats stay");
            tokio::select! {
                () = tokio::time::sleep(KEEPALIVE) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }
}
