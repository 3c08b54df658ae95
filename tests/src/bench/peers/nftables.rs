//! nftables: destination NAT by one rule and one map of all services, the fastest form there is.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::super::lan::Lan;
use super::super::world;
use super::{Peer, Served, served};
use crate::bins;
use crate::scratch::Scratch;

pub(super) fn program() -> anyhow::Result<PathBuf> {
    bins::in_path("nft").context("apt-get install nftables")
}

pub(super) fn start(program: &Path, lan: &mut Lan, services: u32) -> anyhow::Result<Peer> {
    let name = format!("nftables DNAT, {services} services");
    let netns = lan.client(&format!("nft{services}"))?;
    // The rule comes after the choice of a route, so there must be one.
    netns.ip(&["route add 10.96.0.0/12 dev up0"])?;
    let scratch = Scratch::create("nftables")?;
    let file = scratch.write("rules", &rules(services))?;
    let output = netns.run(|| {
        // A connection that was reset needs no entry; the default keeps it for ten seconds, and
        // short connections would fill the table.
        fs::write("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close", "1").ok();
        Command::new(program).arg("-f").arg(file).output()
    })??;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("nft refuses the rules: {}", reason.lines().next().unwrap_or_default());
    }
    Ok(Peer { name, _process: None, _scratch: scratch, netns })
}

/// As many backends as each service has must be known to the rule.
fn rules(services: u32) -> String {
    let key = format!("ip daddr . tcp dport . numgen random mod {}", world::BACKENDS);
    let mut text = format!(
        "table ip mesh {{\n  map backends {{\n    typeof {key} : ip daddr . tcp dport\n    elements = {{\n"
    );
    let many = (0..services).map(|service| Served {
        vip: world::vip(service),
        backends: (0..world::BACKENDS)
            .map(|n| world::backend(service * world::BACKENDS + n))
            .collect(),
    });
    for Served { vip, backends } in many.chain(served().into_iter().skip(1)) {
        for (n, backend) in backends.iter().enumerate() {
            // Writing to a string cannot fail.
            writeln!(
                text,
                "      {} . {} . {n} : {} . {},",
                vip.ip(),
                vip.port(),
                backend.ip(),
                backend.port()
            )
            .ok();
        }
    }
    text.push_str("    }\n  }\n  chain output {\n    type nat hook output priority -100;\n");
    writeln!(text, "    dnat ip to {key} map @backends\n  }}\n}}").ok();
    text
}
