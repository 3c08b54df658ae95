//! What runs inside `mesh-load`, the small program that serves and connects. It is a process
//! of its own because a socket belongs to the cgroup of the process that creates it.

pub mod client;
mod cookie;
mod crowd;
mod datagram;
mod end;
pub mod flow;
pub mod get;
pub mod hold;
mod lines;
pub mod pace;
pub mod probe;
pub mod server;
pub mod stress;
pub mod swarm;
mod wire;

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::time::{ClockId, clock_gettime};

/// Backend server, load generator and single probes for the kernel tests.
#[derive(Debug, Parser)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer connections and datagrams with a name and the peer that was seen.
    Serve(server::Options),
    /// Connect again and again; one line on standard output for each connection.
    Run(client::Options),
    /// Keep sockets open and exchange on them again and again; one line for each exchange.
    Flow(flow::Options),
    /// Connect once and print what happened as JSON.
    Probe(Target),
    /// Read a count, make so many connections, print the nanoseconds they took; repeat.
    Pace(pace::Options),
    /// Keep one connection; read a count, make so many exchanges on it, print the nanoseconds.
    Hold(hold::Options),
    /// Keep one connection; read a count, make so many HTTP requests on it, print the nanoseconds.
    Get(get::Options),
    /// Answer the connections of `hold`.
    Echo(hold::EchoOptions),
    /// One end of a connection that obeys lines on standard input.
    End,
    /// Random connections with both ends here, every byte compared.
    Stress(stress::Options),
    /// Event-driven exchanges on some connections: read a count, make so many, print the time.
    Swarm(swarm::Options),
    /// Answer the connections of `swarm`.
    Reply(swarm::ReplyOptions),
}

/// Where and how to connect. An address written `[::ffff:a.b.c.d]:port` is reached through an
/// IPv6 socket: that is the v4-mapped form.
#[derive(Clone, Copy, Debug, Args)]
pub struct Target {
    /// Address to connect to.
    #[arg(long)]
    pub target: SocketAddr,
    /// What to say.
    #[arg(long, value_enum, default_value_t = Mode::Greet)]
    pub mode: Mode,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Mode {
    /// The server speaks first: its name. The client closes with a reset, so that no port
    /// waits in `TIME_WAIT` and a hundred thousand connections fit into seconds.
    Greet,
    /// One HTTP/1.1 request with `Connection: close`, closed in the ordinary way.
    Http,
    /// One HTTP/1.1 request, closed with a reset once the answer is complete: connect, request
    /// and close without a port in `TIME_WAIT`, for the benchmark.
    Request,
    /// TCP, and each line of the client is answered with one: for connections that last.
    Ping,
    /// UDP, one datagram each way on a socket that `connect()` was called on.
    Udp,
    /// UDP, one datagram each way on a socket without `connect()`: `sendto`, `recvfrom`.
    UdpSendto,
}

impl Mode {
    /// As on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Greet => "greet",
            Self::Http => "http",
            Self::Request => "request",
            Self::Ping => "ping",
            Self::Udp => "udp",
            Self::UdpSendto => "udp-sendto",
        }
    }

    /// Does it need UDP sockets, at both ends?
    #[must_use]
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::UdpSendto)
    }
}

/// Nanoseconds of the clock that all processes of the machine share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    })
}

/// Runs one subcommand.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(options) => server::run(&options),
        Command::Run(options) => client::run(&options),
        Command::Flow(options) => flow::run(&options),
        Command::Probe(target) => probe::run(target),
        Command::Pace(options) => pace::run(&options),
        Command::Hold(options) => hold::run(&options),
        Command::Get(options) => get::run(&options),
        Command::Echo(options) => hold::echo(&options),
        Command::End => end::run(),
        Command::Stress(options) => stress::run(&options),
        Command::Swarm(options) => swarm::client::run(&options),
        Command::Reply(options) => swarm::server::run(&options),
    }
}
