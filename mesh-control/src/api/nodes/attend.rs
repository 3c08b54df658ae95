//! One node's stream of commands. It runs inside the response body, as the other streams of agents
//! do: commands out, answers in, dropped with the connection.

use std::time::{Duration, Instant};

use futures::Stream;
use mesh_api::model::Label;
use mesh_api::wire::node_answer::Answer;
use mesh_api::wire::{NodeAnswer, NodeCommand};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::relay::Attendance;

/// How long an agent may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);
/// How often those are given up who do not read.
const TIDY: Duration = Duration::from_secs(5);

/// The name that a stream begins with.
pub(super) async fn hello(answers: &mut Streaming<NodeAnswer>) -> Result<String, Status> {
    let first = tokio::time::timeout(HELLO, answers.message()).await;
    let first = first.map_err(|_elapsed| Status::deadline_exceeded("no hello in time"))??;
    let Some(Answer::Hello(hello)) = first.and_then(|first| first.answer) else {
        return Err(Status::invalid_argument("the first message has to be hello"));
    };
    hello
        .node
        .parse::<Label>()
        .map_err(|error| Status::invalid_argument(format!("node {:?}: {error}", hello.node)))?;
    Ok(hello.node)
}

/// The stream after that.
pub(super) struct Shell {
    pub(super) answers: Streaming<NodeAnswer>,
    pub(super) commands: Receiver<NodeCommand>,
    pub(super) attendance: Attendance,
    pub(super) shutdown: CancellationToken,
    pub(super) tidy: Interval,
}

/// Ticks when it is time to see who does not read.
pub(super) fn tidy() -> Interval {
    let mut tidy = tokio::time::interval(TIDY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tidy
}

impl Shell {
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<NodeCommand, Status>> + Send {
        futures::stream::unfold(self, |mut shell| async move {
            let item = shell.next().await?;
            Some((Ok(item), shell))
        })
    }

    async fn next(&mut self) -> Option<NodeCommand> {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                _ = self.tidy.tick() => self.attendance.tidy(Instant::now()),
                // Ends when the node attends on another stream.
                command = self.commands.recv() => return command,
                answer = self.answers.message() => match answer {
                    Ok(Some(answer)) => self.attendance.answered(answer, Instant::now()),
                    Ok(None) => return None,
                    Err(status) => {
                        tracing::debug!(%status, "stream of commands ended");
                        return None;
                    }
                },
            }
        }
    }
}
