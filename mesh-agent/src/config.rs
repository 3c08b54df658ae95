//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mesh_common::{limits, names};

use crate::compile::Limits;

/// The node agent of the mesh: keeps the kernel's maps as the control plane says.
#[derive(Debug, Parser)]
#[command(name = "mesh-agent", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach the programs and follow the control plane; ends on SIGTERM, leaving the kernel as
    /// it is
    Run(Box<RunArgs>),
    /// Show what the running agent says of itself
    Status(StatusArgs),
    /// Print the pinned policy maps, one sorted line per entry
    Dump(DumpArgs),
    /// Check what `run` needs, without changing anything
    Check(Box<RunArgs>),
    /// Detach the programs and remove everything pinned
    Uninstall(UninstallArgs),
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where the control plane is
    #[arg(
        long,
        env = "MESH_CONTROL",
        default_value = "http://127.0.0.1:15010",
        value_name = "URL"
    )]
    pub control: String,
    /// Name of this node; the host's name if not given
    #[arg(long, env = "NODE_NAME")]
    pub node: Option<String>,
    /// Processes below this cgroup are in the mesh; the root of cgroup v2 if not given
    #[arg(long, env = "MESH_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Where to pin maps and links
    #[arg(long, env = "MESH_PIN_PATH", default_value = names::PIN_PATH, value_name = "DIR")]
    pub pin_path: PathBuf,
    /// Where to keep the last good configuration
    #[arg(long, env = "MESH_STATE_DIR", default_value = "/var/lib/mesh-agent", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where to serve health, metrics and status
    #[arg(long, env = "MESH_HTTP", default_value = "127.0.0.1:15020", value_name = "ADDRESS")]
    pub http: SocketAddr,
    /// Load the programs from this file instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub bpf_object: Option<PathBuf>,
    /// Most service ports
    #[arg(long, default_value_t = limits::MAX_SERVICES, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    pub max_services: u32,
    /// Most backends (a backend is an endpoint of a service port)
    #[arg(long, default_value_t = limits::MAX_BACKENDS, value_parser = clap::value_parser!(u32).range(2..=1 << 24))]
    pub max_backends: u32,
    /// Most slots; a change of a service needs room for its old and its new backends
    #[arg(long, default_value_t = limits::MAX_SLOTS, value_parser = clap::value_parser!(u32).range(2..=1 << 26))]
    pub max_slots: u32,
    /// Log every connection that ends, not only those that fail
    #[arg(long)]
    pub access_log: bool,
    /// How to log
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub log_format: LogFormat,
}

impl RunArgs {
    /// Sizes of the maps.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            frontends: self.max_services * limits::FRONTENDS_PER_SERVICE,
            services: self.max_services,
            slots: self.max_slots,
            backends: self.max_backends,
        }
    }
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Where the agent serves HTTP
    #[arg(long, env = "MESH_HTTP", default_value = "127.0.0.1:15020", value_name = "ADDRESS")]
    pub http: SocketAddr,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How to print a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Arguments of `dump`.
#[derive(Clone, Debug, Args)]
pub struct DumpArgs {
    /// Where maps are pinned
    #[arg(long, env = "MESH_PIN_PATH", default_value = names::PIN_PATH, value_name = "DIR")]
    pub pin_path: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = DumpOutput::Text)]
    pub output: DumpOutput,
}

/// How to print a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DumpOutput {
    /// A line per entry.
    Text,
    /// An array of these lines.
    Json,
}

/// Arguments of `uninstall`.
#[derive(Clone, Debug, Args)]
pub struct UninstallArgs {
    /// Where maps and links are pinned
    #[arg(long, env = "MESH_PIN_PATH", default_value = names::PIN_PATH, value_name = "DIR")]
    pub pin_path: PathBuf,
}
