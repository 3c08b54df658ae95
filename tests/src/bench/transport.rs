//! How TCP of the benchmarks behaves, on whatever machine they run: with BBR, what a connection once
//! took the way for decides its pace for its whole life, so that two runs of the same stream differ by
//! a third.

use std::fs;

use anyhow::Context as _;
use clap::Args;

use crate::netns::NetNs;

/// Settings of namespaces.
#[derive(Clone, Debug, Args)]
pub(super) struct Transport {
    /// Congestion control of all connections; `cubic` is what Linux has by default
    #[arg(long, default_value = "cubic", value_name = "NAME")]
    congestion_control: String,
}

impl Transport {
    /// Has sockets that are made in this namespace from now on behave so.
    pub(super) fn apply(&self, netns: &NetNs) -> anyhow::Result<()> {
        const FILE: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
        let name = &self.congestion_control;
        netns.run(|| fs::write(FILE, name))?.with_context(|| {
            format!(
                "--congestion-control {name}: this kernel has not loaded it, see `sysctl \
                     net.ipv4.tcp_available_congestion_control`"
            )
        })
    }

    /// Its name, for the figures.
    pub(super) fn name(&self) -> &str {
        &self.congestion_control
    }
}
