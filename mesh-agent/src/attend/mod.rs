//! Answers what people ask this node: the agent opens a stream to the control plane, which passes
//! on their commands.

pub mod bundle;
pub mod connections;
pub mod log;
pub mod programmed;
pub mod tap;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use mesh_api::wire;
use mesh_api::wire::node_answer::Answer;
use mesh_api::wire::node_command::Command;
use mesh_api::wire::node_commands_client::NodeCommandsClient;
use mesh_telemetry::keeper::LogKeeper;
use mesh_xds::backoff::Backoff;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{StreamExt as _, StreamMap};
use tonic::Status;
use tonic::transport::Endpoint;

use crate::events::tap::Taps;
use crate::maps::kernel::affinity::monotonic;
use crate::worker::Worker;
use crate::xds::client::Line;

/// Most time between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// How long the control plane may take no answer.
const STUCK: Duration = Duration::from_secs(30);

/// What it needs.
#[derive(Debug)]
pub struct Attendant {
    /// Where the control plane is.
    pub endpoint: Endpoint,
    /// Name of the node.
    pub node: String,
    /// How the other stream to the control plane is.
    pub line: watch::Receiver<Line>,
    /// Who knows what backends are called.
    pub worker: Worker,
    /// Where the maps are pinned.
    pub pin_path: PathBuf,
    /// What is logged.
    pub log: Arc<LogKeeper>,
    /// What belongs into a bug report.
    pub bundle: bundle::Source,
    /// Who knows what the node holds.
    pub known: programmed::Ask,
    /// Who looks at connections.
    pub taps: Arc<Taps>,
}

/// What is told to whoever asked for it, by the number of the command.
type Told = StreamMap<u64, Pin<Box<dyn Stream<Item = Result<wire::Tapped, Status>> + Send>>>;

impl Attendant {
    /// Attends for ever.
    pub async fn run(self, random01: impl Fn() -> f64 + Send) -> String {
        let log = Arc::clone(&self.log);
        tokio::select! {
            () = self.attend(random01) => {}
            () = log.run() => {}
        }
        "nobody attends to commands any more".to_owned()
    }

    async fn attend(mut self, random01: impl Fn() -> f64 + Send) {
        let mut backoff = Backoff::new(Duration::from_millis(250), MAX_WAIT, 2.0);
        loop {
            let began = Instant::now();
            let seen = self.line.borrow_and_update().streams;
            match self.stream().await {
                Ok(()) => tracing::debug!("the control plane has ended the stream of commands"),
                Err(status) => tracing::debug!(%status, "no stream of commands; trying again"),
            }
            if began.elapsed() > MAX_WAIT {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next(random01())) => {}
                // The control plane is back.
                () = Line::another(&mut self.line, seen) => {}
            }
        }
    }

    /// One stream, to its end.
    async fn stream(&self) -> Result<(), Status> {
        let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let channel = self.endpoint.connect().await.map_err(unavailable)?;
        let mut client = NodeCommandsClient::new(channel);
        let (sender, answers) = mpsc::channel(4);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = wire::Hello { node: self.node.clone(), version };
        send(&sender, 0, Answer::Hello(hello)).await?;
        let mut commands = client.attend(ReceiverStream::new(answers)).await?.into_inner();
        // Ends with the stream, so that nothing is told to nobody.
        let mut told = Told::new();
        loop {
            let wire::NodeCommand { id, command } = tokio::select! {
                command = commands.message() => match command? {
                    Some(command) => command,
                    None => return Ok(()),
                },
                Some((id, part)) = told.next(), if !told.is_empty() => {
                    send(&sender, id, part.map_or_else(|status| failed(&status), Answer::Tapped)).await?;
                    continue;
                }
            };
            match command {
                Some(Command::Tap(wanted)) => match tap::open(&self.taps, &wanted) {
                    Ok(tapped) => drop(told.insert(id, Box::pin(tapped))),
                    Err(status) => send(&sender, id, failed(&status)).await?,
                },
                Some(Command::Cancel(wire::Cancel { id })) => drop(told.remove(&id)),
                command => match self.answer(command).await {
                    Ok(answers) => {
                        for answer in answers {
                            send(&sender, id, answer).await?;
                        }
                    }
                    Err(status) => send(&sender, id, failed(&status)).await?,
                },
            }
        }
    }

    async fn answer(&self, command: Option<Command>) -> Result<Vec<Answer>, Status> {
        match command {
            Some(Command::GetLog(wire::GetLog {})) => Ok(vec![Answer::Log(log::levels(&self.log))]),
            Some(Command::SetLog(wanted)) => {
                log::set(&self.log, wanted).map(|levels| vec![Answer::Log(levels)])
            }
            Some(Command::ListConnections(wanted)) => self.connections(wanted).await,
            Some(Command::Programmed(wire::GetProgrammed {})) => {
                let parts = programmed::ask(&self.worker, &self.known).await?;
                Ok(parts.into_iter().map(Answer::Programmed).collect())
            }
            Some(Command::Bundle(wire::GetBundle { since_ms })) => {
                let parts = self.bundle.parts(since_ms).await?;
                Ok(parts.into_iter().map(Answer::Bundle).collect())
            }
            Some(Command::Tap(_) | Command::Cancel(_)) | None => {
                Err(Status::unimplemented(format!(
                    "the agent of node {} does not know this command: it has version {}",
                    self.node,
                    env!("CARGO_PKG_VERSION")
                )))
            }
        }
    }

    async fn connections(&self, wanted: wire::ListConnections) -> Result<Vec<Answer>, Status> {
        let pin_path = self.pin_path.clone();
        let internal = |error: &dyn std::error::Error| Status::internal(error.to_string());
        let open = tokio::task::spawn_blocking(move || connections::read(&pin_path)).await;
        let open = open.map_err(|error| internal(&error))?.map_err(|error| internal(&error))?;
        let mut backends: Vec<_> = open.iter().map(connections::Open::backend).collect();
        backends.sort_unstable();
        backends.dedup();
        let names = self.worker.names(backends).await.map_err(|error| internal(&error))?;
        let now = monotonic().map_err(|error| internal(&error))?;
        let parts =
            tokio::task::spawn_blocking(move || connections::answer(&open, &names, &wanted, now));
        let parts = parts.await.map_err(|error| internal(&error))?;
        Ok(parts.into_iter().map(Answer::Connections).collect())
    }
}

fn failed(status: &Status) -> Answer {
    let code = i32::from(status.code());
    Answer::Failed(wire::CommandFailed { code, message: status.message().to_owned() })
}

/// Sends an answer. A control plane that takes none for long is as good as away: what is open for it
/// ends.
async fn send(
    sender: &mpsc::Sender<wire::NodeAnswer>,
    id: u64,
    answer: Answer,
) -> Result<(), Status> {
    let answer = wire::NodeAnswer { id, answer: Some(answer) };
    match tokio::time::timeout(STUCK, sender.send(answer)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_closed)) => Err(Status::unavailable("the stream has ended")),
        Err(_elapsed) => Err(Status::deadline_exceeded("nobody takes the answers")),
    }
}
