//! `mesh-load stress`: random connections whose two ends are in this process, each on a thread of
//! its own, so that each knows what the other has sent. Every byte is compared; the figures are
//! one line of JSON on standard output.

mod blocking;
mod flow;
mod plan;
mod tally;

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;
use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task;
use tokio::time::sleep;

use self::flow::Flow;
use self::plan::{PREFIX, Pattern, Plan, Side};
use self::tally::{Progress, Tally};
use super::cookie::cookie;
use crate::accel::Pairs;
use crate::ui;

/// Options of `mesh-load stress`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// What everything random is made from.
    #[arg(long)]
    seed: u64,
    /// Connections to make.
    #[arg(long)]
    connections: u64,
    /// Connections at a time.
    #[arg(long, default_value_t = 48)]
    concurrency: u32,
    /// Most bytes of a direction.
    #[arg(long, default_value_t = 8 << 20)]
    largest: u64,
    /// Where connections go that are closed in an orderly way.
    #[arg(long)]
    target: SocketAddr,
    /// Where those go that are cut off.
    #[arg(long)]
    cut_target: SocketAddr,
    /// Where the server listens for the former.
    #[arg(long)]
    listen: SocketAddr,
    /// Where it listens for the latter.
    #[arg(long)]
    cut_listen: SocketAddr,
    /// Network namespace of the server's thread; without it, that of the process.
    #[arg(long)]
    server_netns: Option<PathBuf>,
    /// Folder of the pinned maps `pairs` and `conns_index`.
    #[arg(long)]
    pins: Option<PathBuf>,
    /// Threads that block, one connection at a time: question, half-close, answer.
    #[arg(long)]
    blocking: bool,
}

/// What the server says first.
const GREETING: [u8; 8] = *b"greeting";
/// Longest wait for the server's last connections.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all tasks know.
struct Shared {
    options: Options,
    pattern: Pattern,
    connections: Vec<Progress>,
    pairs: Option<Pairs>,
    tally: Tally,
    next: AtomicU64,
    served: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    fn progress(&self, number: u64) -> Option<&Progress> {
        self.connections.get(usize::try_from(number).ok()?)
    }

    /// Where the programs keep the account of an accelerated connection.
    fn account(&self, cookie: u64) -> anyhow::Result<Option<(&Pairs, u32)>> {
        let Some(pairs) = &self.pairs else { return Ok(None) };
        let Some(place) = pairs.place(cookie)? else { return Ok(None) };
        Ok(pairs.at(place, cookie)?.map(|_| (pairs, place)))
    }

    const fn plan(&self, number: u64) -> Plan {
        Plan::new(self.options.seed, number, self.options.largest)
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    if options.blocking {
        return blocking::run(options);
    }
    let count = usize::try_from(options.connections)?;
    let shared = Arc::new(Shared {
        options: options.clone(),
        pattern: Pattern::new(options.seed),
        connections: std::iter::repeat_with(Progress::default).take(count).collect(),
        pairs: options.pins.as_deref().map(Pairs::open).transpose()?,
        tally: Tally::default(),
        next: AtomicU64::new(0),
        served: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    beside(options, |ready| serve(&shared, &ready), || runtime()?.block_on(clients(&shared)))?;
    ui::say(shared.tally.sums().to_json().to_string());
    Ok(())
}

/// Runs a server on a thread in its namespace, and a client here once it listens.
fn beside(
    options: &Options,
    server: impl FnOnce(Sender<()>) -> anyhow::Result<()> + Send,
    client: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (ready, is_ready) = channel();
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            if let Some(path) = &options.server_netns {
                let file = File::open(path).with_context(|| path.display().to_string())?;
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            }
            server(ready)
        });
        let made = if is_ready.recv().is_ok() { client() } else { Ok(()) };
        server.join().map_err(|cause| anyhow!("the server's thread panicked: {cause:?}"))??;
        made
    })
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn serve(shared: &Arc<Shared>, ready: &Sender<()>) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let Options { listen, cut_listen, .. } = &shared.options;
        for (address, is_whole) in [(listen, true), (cut_listen, false)] {
            let listener = TcpListener::bind(address).await?;
            let shared = Arc::clone(shared);
            task::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    task::spawn(answer(Arc::clone(&shared), stream, is_whole));
                }
            });
        }
        ready.send(())?;
        let mut deadline = None;
        while shared.served.load(Ordering::Relaxed) < shared.options.connections {
            sleep(Duration::from_millis(5)).await;
            if shared.over.load(Ordering::Relaxed) {
                let until = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                if Instant::now() > until {
                    shared.tally.stall("the server still has connections".to_owned());
                    break;
                }
            }
        }
        Ok(())
    })
}

async fn answer(shared: Arc<Shared>, stream: TcpStream, is_whole: bool) {
    let stream = Arc::new(stream);
    match introduce(&shared, &stream).await {
        Ok(number) => {
            let plan = shared.plan(number);
            let flow =
                Flow { shared: Arc::clone(&shared), stream, number, plan, own: Side::Server };
            flow.run().await;
        }
        Err(error) if is_whole => {
            shared.tally.mismatch(format!("server, before the data: {error}"));
        }
        Err(_) => {}
    }
    shared.served.fetch_add(1, Ordering::Relaxed);
}

/// Greets, and learns which connection it is.
async fn introduce(shared: &Shared, stream: &TcpStream) -> Result<u64> {
    stream.set_nodelay(true)?;
    stream.writable().await?;
    if stream.try_write(&GREETING)? != GREETING.len() {
        return Err(ErrorKind::WriteZero.into());
    }
    let mut header = [0; 8];
    let mut length = 0;
    while length < header.len() {
        stream.readable().await?;
        match stream.try_read(header.get_mut(length..).unwrap_or_default()) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let number = u64::from_le_bytes(header);
    let progress = shared.progress(number).ok_or(ErrorKind::InvalidData)?;
    progress.way(Side::Client).taken.fetch_add(PREFIX, Ordering::Relaxed);
    shared.tally.sums().bytes += PREFIX;
    Ok(number)
}

async fn clients(shared: &Arc<Shared>) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..shared.options.concurrency)
        .map(|_| {
            let shared = Arc::clone(shared);
            task::spawn(async move {
                loop {
                    let number = shared.next.fetch_add(1, Ordering::Relaxed);
                    if number >= shared.options.connections {
                        return;
                    }
                    if let Err(error) = connect(&shared, number).await {
                        shared.tally.mismatch(format!("connection {number}: {error:#}"));
                        // The server will never see it.
                        shared.served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    shared.over.store(true, Ordering::Relaxed);
    Ok(())
}

async fn connect(shared: &Arc<Shared>, number: u64) -> anyhow::Result<()> {
    let plan = shared.plan(number);
    let options = &shared.options;
    let target = if plan.is_whole() { options.target } else { options.cut_target };
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let cookie = cookie(&stream)?;
    // While it is open: its end, whoever brings it about, takes it out of the index.
    let place = shared.account(cookie)?;
    let progress = shared.progress(number).context("no such connection")?;
    stream.writable().await?;
    anyhow::ensure!(stream.try_write(&number.to_le_bytes())? == 8, "a short write");
    let way = progress.way(Side::Client);
    way.sent.fetch_add(PREFIX, Ordering::Relaxed);
    // The greeting: the server, which has sent it by now or is about to, does not know yet which
    // connection it is.
    progress.way(Side::Server).sent.fetch_add(PREFIX, Ordering::Relaxed);
    let (own, stream) = (Side::Client, Arc::new(stream));
    let flow = Flow { shared: Arc::clone(shared), stream, number, plan, own };
    flow.run().await;
    let mut sums = shared.tally.sums();
    if let Some((pairs, place)) = place {
        sums.account(number, &plan, progress, pairs.at(place, cookie)?.as_ref());
    }
    if plan.is_whole() {
        sums.whole += 1;
        sums.whole_up += way.sent.load(Ordering::Relaxed);
        sums.whole_down += progress.way(Side::Server).sent.load(Ordering::Relaxed);
    } else {
        sums.cut += 1;
    }
    drop(sums);
    Ok(())
}
