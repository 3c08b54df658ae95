//! What can be typed: the verbs and the flags that all of them have.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh_api::manifest::duration::parse_duration;

use crate::commands::{
    apply, bug_report, completion, connections, delete, deregister, describe, diff, get,
    grpc_bootstrap, health, history, log, proxy_status, register, rollback, stat, tap, top,
    workloads,
};
use crate::output::Format;

/// Where the control plane is unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:15010";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failure or refused by a node, 2 usage or invalid manifest, \
3 control plane not reachable, 4 not found, 5 conflict, 124 timeout, 130 interrupted. \
`diff` ends with 1 where something differs.";

/// Drives a mesh: services, endpoints, traffic rules, nodes.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Address of the control plane.
    #[arg(long, global = true, env = "MESH_SERVER", default_value = DEFAULT_SERVER, value_name = "URL")]
    pub(crate) server: String,
    /// Form of what is printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Longest that the command may take, the wait for nodes included; of a command that stays
    /// (--watch, --heartbeat), each answer of the control plane.
    #[arg(long, global = true, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,
    /// Never print colours; so does `NO_COLOR`, and a pipe.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Say more on standard error: the trace of a command that changes something.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store the objects of manifests: all of them, or none.
    Apply(apply::Args),
    /// List objects.
    Get(get::Args),
    /// Show one object, or a node, and what belongs to it.
    Describe(describe::Args),
    /// Delete objects: all of them, or none.
    Delete(delete::Args),
    /// Show how an object has changed.
    History(history::Args),
    /// Store an object again as it was at an earlier revision.
    Rollback(rollback::Args),
    /// Show what applying manifests would change, or whether a node's kernel holds what it should.
    Diff(diff::Args),
    /// Show the control plane and the revision that is live on each node.
    Status,
    /// Show whether each client of xDS has what it should: agents, Envoys and gRPC programs.
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::Args),
    /// Show which endpoints are healthy, and which breakers and ejections keep connections away.
    Health(health::Args),
    /// Show the traffic of services, or of whatever else it is counted by.
    Stat(stat::Args),
    /// Show traffic as it changes, on a terminal.
    Top(top::Args),
    /// List the connections that are open on a node.
    Connections(connections::Args),
    /// Show connections as they open, close, fail or are refused.
    Tap(tap::Args),
    /// Show or change what a node logs, while it runs.
    Log(log::Args),
    /// Collect what somebody needs who looks for a fault in one archive, without secrets.
    BugReport(bug_report::Args),
    /// Show who runs on each node, and whether they are in the mesh.
    Workloads(workloads::Args),
    /// Register an endpoint, once or as long as this runs.
    Register(register::Args),
    /// Remove an endpoint.
    Deregister(deregister::Args),
    /// Print the file that `GRPC_XDS_BOOTSTRAP` names, for a gRPC program without a proxy.
    GrpcBootstrap(grpc_bootstrap::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
    /// Print the version.
    Version,
}

/// The namespace that a verb is about.
#[derive(Debug, Args)]
pub(crate) struct Namespace {
    /// Namespace of the objects.
    #[arg(short, long, default_value = mesh_api::manifest::DEFAULT_NAMESPACE)]
    pub(crate) namespace: String,
}

/// Whether to wait for nodes.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Return when every connected node serves the result from its kernel.
    ///
    /// Where no node is connected, as for some seconds after the control plane has been
    /// restarted, wait for one. Nodes that were connected earlier are named, but not waited for.
    /// What is not live when --timeout is over ends the command with 124; it stays stored.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
}

/// A duration as manifests write it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 250ms, 5s or 1m30s".to_owned())
}

/// The time between two answers of a command that stays: what the control plane is ready for.
pub(crate) fn every(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    let right = (Duration::from_millis(250)..=Duration::from_mins(1)).contains(&every);
    if right { Ok(every) } else { Err("it can be 250ms to 1m".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
