//! `bug-report`: what somebody needs who looks for a fault, in one archive and without secrets: what is
//! stored, what nodes say of it, and what each of them knows of itself.

mod archive;
mod gather;
mod redact;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::convert::milliseconds;

use self::archive::Files;
use self::redact::Redactor;
use crate::client::Context;
use crate::failure::Failure;
use crate::output::{note, time};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive to write, which must not be there; - for standard output
    /// [default: meshctl-bug-report-TIME.tar.gz].
    #[arg(short, long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Only this node; may be given several times. Without it, all.
    #[arg(long, value_name = "NODE")]
    node: Vec<String>,
    /// Log lines of this time; without it, all that are kept: 1,000.
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration)]
    since: Option<Duration>,
    /// Give IP addresses other names, each always the same one.
    #[arg(long)]
    redact_addresses: bool,
}

/// What is in it, for whoever opens it.
const README: &str = "\
What a mesh said of itself, for whoever looks for a fault.

control-plane/   version, flags, metrics, log lines, status of the nodes, health, traffic, objects with
                 their last changes
nodes/NODE/      of each node: version, flags, status, metrics, kernel, log lines, the kernel maps
                 (dump.txt), and how these differ from what they should be (diff.json)
missing.txt      what could not be had, if anything

Secrets were taken out: values whose names are those of secrets, what is in front of @ in URLs, private
keys, and what looks like a token. Look through it all the same before you give it away: names of
services, workloads and nodes are in it, and addresses, unless --redact-addresses was given.
";

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let file = args.file.unwrap_or_else(|| named(now));
    // Rather now than after all the work.
    if file.exists() {
        let text = format!("--file {}: it is there already, choose another", file.display());
        return Err(Failure::usage(text));
    }
    let mut client = context.connect().await?;
    let mut files = Files::new(Redactor::new(args.redact_addresses));
    let since_ms = args.since.map_or(0, |since| milliseconds(since).max(1));
    gather::all(&mut client, &mut files, &args.node, since_ms).await?;
    files.add(&["README.txt"], README);
    let missing = files.missing.join("\n");
    if !missing.is_empty() {
        files.add(&["missing.txt"], &(missing.clone() + "\n"));
    }
    let written = files.save(&file, now.as_secs());
    written.map_err(|error| Failure::io(format!("--file {}", file.display()), error))?;
    if file.as_os_str() != "-" {
        note(&format!("written: {}", file.display()));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Declined { message: format!("the report is not complete:\n{missing}") })
}

/// `meshctl-bug-report-2026-01-02T03-04-05Z.tar.gz`.
fn named(now: Duration) -> PathBuf {
    let time = time::utc(milliseconds(now)).replace(':', "-").replace(' ', "T");
    PathBuf::from(format!("meshctl-bug-report-{time}.tar.gz"))
}
