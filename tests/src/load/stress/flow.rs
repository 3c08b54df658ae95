//! Both directions of one connection, at one of its ends.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use tokio::net::TcpStream;
use tokio::task;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::plan::{Finish, PREFIX, Plan, Random, Side};
use super::tally::{Way, data};

/// Nothing moves for so long, though it could: a stall.
const STALL: Duration = Duration::from_secs(1);
/// So many in a row, and the connection is given up.
const PATIENCE: u32 = 15;
/// Most bytes of a read.
const BUFFER: usize = 256 << 10;

/// One end of one connection.
#[derive(Clone)]
pub(super) struct Flow {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: Arc<TcpStream>,
    pub(super) number: u64,
    pub(super) plan: Plan,
    pub(super) own: Side,
}

/// What a task waits for.
enum Ready {
    Readable,
    Writable,
}

impl Flow {
    /// Sends and receives what the plan says. Whoever cuts it off has to drop the stream next.
    pub(super) async fn run(&self) {
        let receiving = task::spawn({
            let flow = self.clone();
            async move { flow.receive().await }
        });
        if let Err(error) = self.send().await
            && self.plan.is_whole()
        {
            self.shared.tally.mismatch(self.say(&format!("sending: {error}")));
        }
        match self.plan.finish {
            Finish::Cut { by, reset } if by == self.own => {
                receiving.abort();
                receiving.await.ok();
                if reset {
                    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                    setsockopt(&self.stream, sockopt::Linger, &linger).ok();
                }
                return;
            }
            Finish::Close if self.own == Side::Client => {}
            Finish::HalfClose | Finish::Close | Finish::Cut { .. } => {
                shutdown(self.stream.as_raw_fd(), Shutdown::Write).ok();
            }
        }
        match receiving.await {
            Ok(Err(error)) if self.plan.is_whole() => {
                self.shared.tally.mismatch(self.say(&format!("receiving: {error}")));
            }
            Ok(Ok(()) | Err(_)) => {}
            Err(error) => self.shared.tally.mismatch(self.say(&error.to_string())),
        }
    }

    fn say(&self, what: &str) -> String {
        format!("connection {} ({:?}), {:?}: {what}", self.number, self.plan, self.own)
    }

    fn way(&self, by: Side) -> Result<&Way> {
        let progress = self.shared.progress(self.number);
        progress.map(|progress| progress.way(by)).ok_or_else(|| ErrorKind::InvalidData.into())
    }

    async fn send(&self) -> Result<()> {
        let way = self.way(self.own)?;
        let limit = self.plan.limit(self.own);
        let start = self.plan.random(self.own, 1).next();
        let mut pace = Pace::new(self.plan.random(self.own, 2), limit);
        let mut position = PREFIX;
        while position < limit {
            pace.rest().await;
            let most = usize::try_from(limit - position).unwrap_or(usize::MAX).min(pace.chunk());
            match self.stream.try_write(self.shared.pattern.at(start, data(position), most)) {
                Ok(sent) => {
                    let sent = u64::try_from(sent).unwrap_or(0);
                    position += sent;
                    way.sent.fetch_add(sent, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(way, &Ready::Writable).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receive(&self) -> Result<()> {
        let by = self.own.other();
        let (way, total) = (self.way(by)?, self.plan.total(by));
        let start = self.plan.random(by, 1).next();
        let mut pace = Pace::new(self.plan.random(by, 3), total);
        let mut buffer = vec![0; BUFFER.min(pace.most)];
        // The server has read the prefix to know which connection it is.
        let mut position = if self.own == Side::Server { PREFIX } else { 0 };
        let only_greeting = self.own == Side::Client && self.plan.finish == Finish::Close;
        while !only_greeting || position < PREFIX {
            pace.rest().await;
            let most = if position < PREFIX { 8 } else { pace.chunk() };
            let room = buffer.len().min(most);
            let read = match self.stream.try_read(buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(way, &Ready::Readable).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            self.check(position, start, bytes)?;
            position += u64::try_from(read).unwrap_or(0);
            way.taken.fetch_add(u64::try_from(read).unwrap_or(0), Ordering::Relaxed);
            self.shared.tally.sums().bytes += u64::try_from(read).unwrap_or(0);
        }
        if self.plan.is_whole() && position != total {
            return Err(Error::other(format!("the end after {position} of {total} bytes")));
        }
        Ok(())
    }

    fn check(&self, position: u64, start: u64, bytes: &[u8]) -> Result<()> {
        let right = if position < PREFIX {
            let rest = super::GREETING.get(usize::try_from(position).unwrap_or(0)..);
            if rest.is_some_and(|rest| rest.starts_with(bytes)) { bytes.len() } else { 0 }
        } else {
            self.shared.pattern.right(start, data(position), bytes)
        };
        if right == bytes.len() {
            return Ok(());
        }
        let at = position + u64::try_from(right).unwrap_or(0);
        self.shared.tally.mismatch(self.say(&format!("byte {at} is wrong")));
        Err(ErrorKind::InvalidData.into())
    }

    /// Waits until the stream can go on. A stall is a second in which the reader could have had
    /// what was sent, or the writer could have gone on because everything was read.
    async fn wait(&self, way: &Way, what: &Ready) -> Result<()> {
        let since = Instant::now();
        for _ in 0..PATIENCE {
            let ready = async {
                match what {
                    Ready::Readable => self.stream.readable().await,
                    Ready::Writable => self.stream.writable().await,
                }
            };
            if let Ok(ready) = timeout(STALL, ready).await {
                let waited = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                let mut sums = self.shared.tally.sums();
                sums.longest_wait_ms = sums.longest_wait_ms.max(waited);
                return ready;
            }
            let (sent, taken) =
                (way.sent.load(Ordering::Relaxed), way.taken.load(Ordering::Relaxed));
            let (stalled, word) = match what {
                Ready::Readable => (way.is_behind(), "read"),
                Ready::Writable => (!way.is_behind(), "written"),
            };
            if stalled {
                let text = format!("{sent} sent, {taken} read, nothing {word} for a second");
                self.shared.tally.stall(self.say(&text));
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
}

/// How fast an end goes: bytes at a time, and rests.
struct Pace {
    random: Random,
    most: usize,
    rests: u64,
    chunks: u64,
}

impl Pace {
    fn new(mut random: Random, total: u64) -> Self {
        // No more than some thousand pieces.
        let least = (total / 1024).next_power_of_two();
        let most = (1 << (random.below(12) + 7)).max(least);
        let rests = random.below(4);
        Self { random, most: usize::try_from(most).unwrap_or(BUFFER), rests, chunks: 0 }
    }

    fn chunk(&mut self) -> usize {
        let most = u64::try_from(self.most).unwrap_or(u64::MAX);
        usize::try_from(1 + self.random.below(most)).unwrap_or(1)
    }

    /// Now and then for some milliseconds; and lets others go on.
    async fn rest(&mut self) {
        self.chunks += 1;
        if self.rests > 0 && self.random.below(16) == 0 {
            self.rests -= 1;
            sleep(Duration::from_millis(1 + self.random.below(20))).await;
        } else if self.chunks.is_multiple_of(8) {
            task::yield_now().await;
        }
    }
}
