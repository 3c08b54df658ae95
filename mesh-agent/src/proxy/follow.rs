//! Follows the node's Envoy: keeps it running, where the agent is to, and tells what it says.
//!
//! Its end is known at once, because the connection to its admin interface ends. Where only that
//! interface is silent, while another Envoy takes over or its main thread is busy, its listeners are
//! believed in as long as they take connections, but not for ever.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::ProxyState;
use super::admin::{AdminError, Line};
use super::look::{Look, Said};
use super::own::Own;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// So many times as long as a look has taken is the pause after it: Envoy's main thread, which
/// answers, also takes updates.
const REST: u32 = 20;
/// How long listeners are believed in without the admin interface.
const BELIEF: Duration = Duration::from_secs(10);
/// How long the connection to a listener may take: it is on this node.
const SOON: Duration = Duration::from_secs(1);

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether there is to be one.
    pub wanted: bool,
    /// What it says.
    pub state: ProxyState,
    /// Why it is not ready; empty where it is.
    pub error: String,
    /// How often the agent has started it again.
    pub restarts: u64,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, state, error, restarts } = self;
        if !wanted {
            return Ok(());
        }
        match state {
            ProxyState::Ready(listeners) if error.is_empty() => {
                write!(f, "ready, {} listeners", listeners.len())?;
            }
            ProxyState::Absent | ProxyState::Ready(_) => write!(f, "not ready: {error}")?,
        }
        if *restarts > 0 {
            write!(f, "; started again {restarts} times")?;
        }
        Ok(())
    }
}

/// See the module.
pub struct Follower {
    own: Option<Own>,
    admin: SocketAddr,
    line: Option<Line>,
    look: Look,
    /// Since when the admin interface has been silent about listeners that it named.
    silent: Option<Instant>,
    known: Known,
}

impl Follower {
    /// Follows the one that answers there; the agent's own, where it has one.
    #[must_use]
    pub fn new(own: Option<Own>, admin: SocketAddr) -> Self {
        Self {
            own,
            admin,
            line: None,
            look: Look::default(),
            silent: None,
            known: Known { wanted: true, ..Known::default() },
        }
    }

    /// Looks once. One that is busy is given time: connections go through it while nobody asks.
    pub async fn first(&mut self) -> Known {
        let until = Instant::now() + BELIEF;
        loop {
            let slow = match self.ask().await {
                Ok(Said::Ready(listeners)) => return self.found(ProxyState::Ready(listeners), ""),
                Ok(Said::Starting) => {
                    return self.found(ProxyState::Ready(Arc::default()), "it starts");
                }
                Ok(Said::Ending) => return self.found(ProxyState::Absent, "it is ending"),
                Err(error) if error.is_slow() && Instant::now() < until => continue,
                Err(error) => error.to_string(),
            };
            return self.found(ProxyState::Absent, &slow);
        }
    }

    /// Goes on for ever; `tell` is told of every change of what Envoy says.
    pub async fn run(mut self, known: watch::Sender<Known>, tell: impl Fn(ProxyState)) -> String {
        loop {
            if let Some(own) = &mut self.own {
                own.tend(Instant::now());
                self.known.restarts = own.restarts();
            }
            let before = self.known.clone();
            let began = Instant::now();
            let now = self.next().await;
            if now.state != before.state {
                say(&now);
                tell(now.state.clone());
            }
            if now != *known.borrow() {
                known.send_replace(now);
            }
            let pause = PERIOD.max(began.elapsed().saturating_mul(REST));
            match &mut self.line {
                Some(line) => {
                    if timeout(pause, line.ended()).await.is_ok() {
                        self.line = None;
                    }
                }
                None => sleep(pause).await,
            }
        }
    }

    /// Looks once.
    async fn next(&mut self) -> Known {
        match self.ask().await {
            Ok(Said::Ready(listeners)) => {
                self.silent = None;
                if let Some(own) = &mut self.own {
                    own.is_ready();
                }
                self.found(ProxyState::Ready(listeners), "")
            }
            Ok(Said::Ending) => {
                self.silent = None;
                self.found(ProxyState::Absent, "it is ending")
            }
            // It may take over from one that still serves.
            Ok(Said::Starting) | Err(_) if self.believed().await => self.known.clone(),
            Ok(Said::Starting) => self.found(ProxyState::Ready(Arc::default()), "it starts"),
            Err(error) => self.found(ProxyState::Absent, &error.to_string()),
        }
    }

    fn found(&mut self, state: ProxyState, error: &str) -> Known {
        self.known.state = state;
        error.clone_into(&mut self.known.error);
        self.known.clone()
    }

    async fn ask(&mut self) -> Result<Said, AdminError> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => Line::open(self.admin).await?,
        };
        let said = self.look.look(&mut line).await?;
        self.line = Some(line);
        Ok(said)
    }

    /// Whether the listeners that it named last still take connections.
    async fn believed(&mut self) -> bool {
        let ProxyState::Ready(listeners) = &self.known.state else { return false };
        let Some(((_, port), ip)) = listeners.first_key_value() else { return false };
        let address = SocketAddr::new(*ip, *port);
        let since = *self.silent.get_or_insert_with(Instant::now);
        since.elapsed() < BELIEF
            && matches!(timeout(SOON, TcpStream::connect(address)).await, Ok(Ok(_)))
    }
}

fn say(now: &Known) {
    match &now.state {
        ProxyState::Absent => tracing::warn!("Envoy is not there: {}", now.error),
        ProxyState::Ready(listeners) if now.error.is_empty() => {
            tracing::info!(listeners = listeners.len(), "Envoy is ready");
        }
        ProxyState::Ready(_) => tracing::info!("Envoy is not ready: {}", now.error),
    }
}
