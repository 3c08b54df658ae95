//! How TCP of the benchmarks behaves, on whatever machine they run: with BBR, what a connection once
//! took the way for decides its pace for its whole life, so that two runs of the same stream differ by
//! a third.

use std::fs;
use std::io::ErrorKind;

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
        let written = netns.run(|| fs::write(FILE, name))?;
        // Linux commit 6670e1524477: namespaces may only have what every user may.
        let denied = matches!(&written, Err(error) if error.kind() == ErrorKind::PermissionDenied);
        written.with_context(|| {
            let (what, setting) = if denied {
                ("is only for the first namespace; add it to", "allowed")
            } else {
                ("is not loaded, see", "available")
            };
            format!(
                "--congestion-control {name}: it {what} `sysctl \
                 net.ipv4.tcp_{setting}_congestion_control`"
            )
        })
    }

    /// Its name, for the figures.
    pub(super) fn name(&self) -> &str {
        &self.congestion_control
    }
}
