//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mesh_api::manifest::duration::parse_duration;
use mesh_api::model::Label;
use mesh_common::{limits, names};
pub use mesh_telemetry::{LogFormat, TraceArgs};

use crate::bpf::load::Tables;
use crate::compile::Limits;
use crate::edges;
use crate::enrol::glob::{CgroupGlob, NetnsGlob};
use crate::enrol::rules::Rules;
use crate::proxy::open::ADMIN;
use crate::report;

/// Where the agent keeps what must outlive it.
const STATE_DIR: &str = "/var/lib/mesh-agent";
/// Bounds of the time between two looks at connections.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_hours(1);

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
    /// Print the file that this node's Envoy starts with (`envoy -c FILE`), where the agent does not
    /// run it
    EnvoyBootstrap(BootstrapArgs),
    /// What `run` starts to prove that the programs run
    #[command(hide = true)]
    Canary(CanaryArgs),
    /// What `run` starts to start Envoy
    #[command(hide = true)]
    Orphan(OrphanArgs),
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
    /// Region that the node is in, for services that prefer what is near
    #[arg(long, env = "MESH_REGION", value_name = "NAME")]
    pub region: Option<Label>,
    /// Zone that the node is in
    #[arg(long, env = "MESH_ZONE", value_name = "NAME")]
    pub zone: Option<Label>,
    /// Processes below this cgroup are in the mesh; the root of cgroup v2 if not given
    #[arg(long, env = "MESH_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Where to pin maps and links
    #[arg(long, env = "MESH_PIN_PATH", default_value = names::PIN_PATH, value_name = "DIR")]
    pub pin_path: PathBuf,
    /// Where to keep the last good configuration
    #[arg(long, env = "MESH_STATE_DIR", default_value = STATE_DIR, value_name = "DIR")]
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
    /// Most clients remembered for session affinity
    #[arg(long, default_value_t = limits::MAX_AFFINITY, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub max_affinity: u32,
    /// Which processes are in the mesh
    #[command(flatten)]
    pub enrol: EnrolArgs,
    /// The node's Envoy
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// Log every connection that ends, not only those that fail
    #[arg(long)]
    pub access_log: bool,
    /// Make a span of one of so many connections that end or fail, and send it where traces go;
    /// 0: of none
    #[arg(long, env = "MESH_TRACE_CONNECTIONS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub trace_connections: u32,
    /// Whether connections are counted also by the workload that makes them
    #[arg(long, env = "MESH_EDGES", value_enum, default_value_t = Switch::On, value_name = "on|off")]
    pub edges: Switch,
    /// How many workloads of this node the metrics tell apart; further ones are counted together
    #[arg(long, value_name = "COUNT", default_value_t = edges::SOURCES)]
    pub max_sources: usize,
    /// Seconds between two trials of every hook; 0: only after attaching, and while one fails
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub canary_interval: u64,
    /// Whether services that ask for same-node acceleration get it, where this kernel passes the
    /// self-test
    #[arg(long, env = "MESH_ACCELERATION", value_enum, default_value_t = Switch::On, value_name = "on|off")]
    pub acceleration: Switch,
    /// How often connections of services with `acceleration: Auto` are looked at, from 100ms to 1h; how
    /// long they must have been open, and pauses after a withdrawal, follow from it
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub acceleration_auto_interval: Duration,
    /// How often to report to the control plane what was counted, 250ms to 1m; less often where
    /// reading the counters takes long. 0: never
    #[arg(long, env = "MESH_REPORT_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = report_interval)]
    pub report_interval: Duration,
    /// How to log
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub log_format: LogFormat,
    /// Where traces go
    #[command(flatten)]
    pub trace: TraceArgs,
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

impl RunArgs {
    /// Sizes of the maps that hold no policy.
    #[must_use]
    pub const fn tables(&self) -> Tables {
        Tables {
            affinity: self.max_affinity,
            cgroups: self.enrol.max_cgroups,
            namespaces: self.enrol.max_namespaces,
        }
    }
}

/// Flags of enrolment. Without any, all processes below the cgroup are in the mesh.
#[derive(Clone, Debug, Args)]
pub struct EnrolArgs {
    /// Only these cgroups are in the mesh, with all below; may be repeated. From the root of
    /// cgroup v2, as in `/kubepods.slice/**`: `*` stops at `/`, `**` does not
    #[arg(long, value_name = "GLOB")]
    pub include_cgroup: Vec<CgroupGlob>,
    /// These cgroups are not in the mesh, nor what is below; may be repeated, beats
    /// --include-cgroup
    #[arg(long, value_name = "GLOB")]
    pub exclude_cgroup: Vec<CgroupGlob>,
    /// Only these network namespaces are in the mesh; may be repeated. A name as in /run/netns,
    /// or `net:[INODE]`
    #[arg(long, value_name = "GLOB")]
    pub include_netns: Vec<NetnsGlob>,
    /// These network namespaces are not in the mesh; may be repeated, beats --include-netns
    #[arg(long, value_name = "GLOB")]
    pub exclude_netns: Vec<NetnsGlob>,
    /// Most cgroups with a verdict of their own
    #[arg(long, default_value_t = limits::MAX_CGROUPS, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub max_cgroups: u32,
    /// Most network namespaces with a verdict of their own
    #[arg(long, default_value_t = limits::MAX_NAMESPACES, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub max_namespaces: u32,
}

impl EnrolArgs {
    /// The rules.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            include_cgroups: self.include_cgroup.clone(),
            exclude_cgroups: self.exclude_cgroup.clone(),
            include_namespaces: self.include_netns.clone(),
            exclude_namespaces: self.exclude_netns.clone(),
        }
    }
}

/// Flags of the node's Envoy. Without any there is none, and services with rules for requests do as
/// their `onNoProxy` says.
#[derive(Clone, Debug, Default, Args)]
pub struct ProxyArgs {
    /// Run this Envoy, for services with rules for requests; it goes on while the agent restarts
    #[arg(long, env = "MESH_ENVOY", value_name = "PROGRAM")]
    pub envoy: Option<PathBuf>,
    /// Where this node's Envoy answers for itself; without --envoy, one that somebody else runs with
    /// what `mesh-agent envoy-bootstrap` prints. 127.0.0.1:15000 if only --envoy is given
    #[arg(long, env = "MESH_ENVOY_ADMIN", value_name = "ADDRESS")]
    pub envoy_admin: Option<SocketAddr>,
    /// Threads of the Envoy that the agent runs
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub envoy_concurrency: u32,
    /// From 95 % of so much memory on, Envoy refuses requests; in MiB. No bound if not given
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..))]
    pub envoy_memory: Option<u32>,
}

/// Arguments of `envoy-bootstrap`.
#[derive(Clone, Debug, Args)]
pub struct BootstrapArgs {
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
    /// Region that the node is in
    #[arg(long, env = "MESH_REGION", value_name = "NAME")]
    pub region: Option<Label>,
    /// Zone that the node is in
    #[arg(long, env = "MESH_ZONE", value_name = "NAME")]
    pub zone: Option<Label>,
    /// Where Envoy is to answer the agent, which needs the same
    #[arg(long, env = "MESH_ENVOY_ADMIN", value_name = "ADDRESS", default_value_t = ADMIN)]
    pub envoy_admin: SocketAddr,
    /// From 95 % of so much memory on, Envoy refuses requests; in MiB. No bound if not given
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..))]
    pub envoy_memory: Option<u32>,
}

/// Time between two looks.
fn interval(text: &str) -> Result<Duration, String> {
    let said = parse_duration(text).filter(|it| (SHORTEST..=LONGEST).contains(it));
    said.ok_or_else(|| "not a duration of 100ms to 1h, such as 10s".to_owned())
}

/// Time between two reports; 0: none.
fn report_interval(text: &str) -> Result<Duration, String> {
    let within = |it: &Duration| it.is_zero() || (report::SHORTEST..=report::LONGEST).contains(it);
    let said = parse_duration(text).filter(within);
    said.ok_or_else(|| "not a duration of 250ms to 1m, such as 1s, nor 0".to_owned())
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
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

/// Arguments of `canary`.
#[derive(Clone, Debug, Args)]
pub struct CanaryArgs {
    /// The cgroup to make, connect from and remove
    #[arg(long)]
    pub cgroup: PathBuf,
    /// What the agent answers
    #[arg(long)]
    pub token: String,
    /// Try IPv4
    #[arg(long)]
    pub v4: bool,
    /// Try IPv6
    #[arg(long)]
    pub v6: bool,
}

/// Arguments of `orphan`.
#[derive(Clone, Debug, Args)]
pub struct OrphanArgs {
    /// The cgroup that it is to be in
    #[arg(long)]
    pub cgroup: PathBuf,
    /// Only once the process with this number is not its parent any more
    #[arg(long)]
    pub after: Option<u32>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `uninstall`.
#[derive(Clone, Debug, Args)]
pub struct UninstallArgs {
    /// Where maps and links are pinned
    #[arg(long, env = "MESH_PIN_PATH", default_value = names::PIN_PATH, value_name = "DIR")]
    pub pin_path: PathBuf,
    /// Where an agent with --envoy keeps what it knows of it
    #[arg(long, env = "MESH_STATE_DIR", default_value = STATE_DIR, value_name = "DIR")]
    pub state_dir: PathBuf,
}
