//! What this node holds, and how its maps differ from that, in the words of the API.

use std::time::Duration;

use mesh_api::wire;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tonic::Status;

use crate::programmed::{Difference, Programmed};
use crate::worker::Worker;
use crate::xds::client::Known;

/// Takes what the node holds.
pub type Reply = oneshot::Sender<Known>;

/// Asks for it.
pub type Ask = UnboundedSender<Reply>;

/// How long the stream of updates may take to say what it holds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often both are asked while an update is under way.
const TRIES: usize = 3;
/// Objects, or differences, in one message: some 500 KiB.
const PART: usize = 5_000;
/// Most differences that are told; more is a node that is all wrong.
const MOST: usize = 20_000;

/// The answer, in parts.
pub async fn ask(worker: &Worker, known: &Ask) -> Result<Vec<wire::Programmed>, Status> {
    let mut tries = 0;
    loop {
        let held = held(known).await?;
        let programmed = worker.programmed().await.map_err(internal)?.map_err(internal)?;
        tries += 1;
        // An update in between belongs to one of them only.
        if programmed.held.commit != held.commit && tries < TRIES {
            continue;
        }
        let parts = tokio::task::spawn_blocking(move || parts(held, &programmed)).await;
        return parts.map_err(internal)?;
    }
}

async fn held(known: &Ask) -> Result<Known, Status> {
    let (reply, answer) = oneshot::channel();
    known.send(reply).map_err(internal)?;
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(internal),
        Err(_elapsed) => Err(Status::unavailable(
            "the node has no stream of updates, or an update takes long: see `meshctl status`",
        )),
    }
}

fn internal(error: impl std::error::Error) -> Status {
    Status::internal(error.to_string())
}

fn parts(held: Known, programmed: &Programmed) -> Result<Vec<wire::Programmed>, Status> {
    let intended = programmed.intended.as_ref().ok_or_else(|| {
        Status::unavailable("the node has had no update since its agent was started: try again")
    })?;
    let (differences, services) = intended.differences(&programmed.image);
    let services = u64::try_from(services).unwrap_or(u64::MAX);
    let object = |(type_url, name, version)| wire::HeldObject { type_url, name, version };
    let mut held = held.resources.into_iter().map(object).peekable();
    let mut differences = differences.into_iter().take(MOST).map(difference).peekable();
    let mut parts = Vec::new();
    loop {
        let part = wire::Programmed {
            revision: programmed.held.revision,
            held: held.by_ref().take(PART).collect(),
            differences: differences.by_ref().take(PART).collect(),
            services,
            more: held.peek().is_some() || differences.peek().is_some(),
        };
        let more = part.more;
        parts.push(part);
        if !more {
            return Ok(parts);
        }
    }
}

fn difference(Difference { subject, field, intended, programmed }: Difference) -> wire::Difference {
    wire::Difference { subject, field, intended, programmed }
}
