//! `tap`: connections of nodes as they open, close, fail or are refused.

mod event;
mod left_out;

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_api::wire;
use tokio_stream::{StreamExt as _, StreamMap};

use self::event::{Event, Printer};
use self::left_out::Summary;
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::note;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of the clients of this node; of all nodes that are connected now, if none is named.
    node: Option<String>,
    /// Only to services of this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only to this service.
    #[arg(long)]
    service: Option<String>,
    /// Only from this workload, as `stat --by source` names it.
    #[arg(long, value_name = "WORKLOAD")]
    from: Option<String>,
    /// Only to this endpoint: its name, or where it is, as 10.0.0.1 or 10.0.0.1:8080.
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    /// Only what ends so; several with commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OUTCOME")]
    outcome: Vec<Outcome>,
    /// One of so many, on each node.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sample: Option<u32>,
    /// End after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End after this time.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::cli::duration)]
    lasts: Option<Duration>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Outcome {
    /// It is established.
    Opened,
    /// It was established, and has ended.
    Closed,
    /// It was not established.
    Failed,
    /// Its service has refused it.
    Refused,
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Opened => Self::Opened,
            Outcome::Closed => Self::Closed,
            Outcome::Failed => Self::Failed,
            Outcome::Refused => Self::Refused,
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let lasts = args.lasts;
    let follow = follow(context, args);
    match lasts {
        None => follow.await,
        Some(lasts) => tokio::time::timeout(lasts, follow).await.unwrap_or(Ok(())),
    }
}

async fn follow(context: &Context, args: Args) -> Result<(), Failure> {
    let mut client = context.connect_to_stay().await?;
    let (what, node) = args.what();
    // Says at the end, whatever that is, what was left out.
    let mut summary = Summary::new(context.format);
    let mut printer = Printer::new(context, node.is_none(), what.limit);
    let mut looking = Looking::open(&mut client, node, &what).await?;
    printer.begin()?;
    while let Some((node, part)) = client.in_time(looking.taps.next()).await? {
        match part {
            Ok(wire::Tapped { events, left_out, more }) => {
                summary.heard(&node, events.len(), left_out.unwrap_or_default());
                looking.heard(&node);
                if printer.print(events.into_iter().map(|it| Event::new(&node, it)))? {
                    return Ok(());
                }
                if !more {
                    looking.taps.remove(&node);
                }
            }
            Err(status) => looking.failed(&node, client.node_failure(status))?,
        }
    }
    looking.failure.map_or(Ok(()), Err)
}

/// The nodes that are looked at.
struct Looking {
    taps: StreamMap<String, tonic::Streaming<wire::Tapped>>,
    /// Those that have not said anything yet.
    silent: BTreeSet<String>,
    /// Of the last that has failed; the others go on.
    failure: Option<Failure>,
}

impl Looking {
    async fn open(
        client: &mut Client,
        node: Option<String>,
        what: &wire::Tap,
    ) -> Result<Self, Failure> {
        let nodes = match node {
            Some(node) => vec![node],
            None => connected(client).await?,
        };
        let silent = nodes.iter().cloned().collect();
        let mut looking = Self { taps: StreamMap::new(), silent, failure: None };
        let last = nodes.len().saturating_sub(1);
        for (at, node) in nodes.into_iter().enumerate() {
            match client.tap(&node, what.clone()).await {
                Ok(tapped) => drop(looking.taps.insert(node, tapped)),
                Err(failure) if at < last || !looking.taps.is_empty() => {
                    looking.leave_out(&node, failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(looking)
    }

    /// A node tells of connections from now on.
    fn heard(&mut self, node: &str) {
        if self.silent.remove(node) && self.silent.is_empty() {
            note("looking at connections: Ctrl-C ends it");
        }
    }

    /// A node does not go on. An error where it was the last.
    fn failed(&mut self, node: &str, failure: Failure) -> Result<(), Failure> {
        self.taps.remove(node);
        if self.taps.is_empty() {
            return Err(failure);
        }
        self.leave_out(node, failure);
        Ok(())
    }

    fn leave_out(&mut self, node: &str, failure: Failure) {
        note(&format!("node {node} is left out: {failure}"));
        self.heard(node);
        self.failure = Some(failure);
    }
}

/// The nodes that can be asked.
async fn connected(client: &mut Client) -> Result<Vec<String>, Failure> {
    let status = client.status(wire::StatusRequest {}).await?;
    let nodes = status.nodes.into_iter().filter(|it| it.connected).map(|it| it.node);
    let nodes: Vec<String> = nodes.collect();
    if nodes.is_empty() {
        let message = "no node is connected: see `meshctl status`".to_owned();
        return Err(Failure::Declined { message });
    }
    Ok(nodes)
}

impl Args {
    /// What nodes are asked, and which.
    fn what(self) -> (wire::Tap, Option<String>) {
        let outcomes = self.outcome.into_iter().map(|it| wire::Outcome::from(it).into());
        let what = wire::Tap {
            namespace: self.namespace.unwrap_or_default(),
            service: self.service.unwrap_or_default(),
            source_workload: self.from.unwrap_or_default(),
            endpoint: self.to.unwrap_or_default(),
            outcomes: outcomes.collect(),
            sample: self.sample.unwrap_or_default(),
            limit: self.limit.unwrap_or_default(),
        };
        (what, self.node)
    }
}
