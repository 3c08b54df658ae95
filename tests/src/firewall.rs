//! Packets that vanish, by nftables inside a namespace. The rules end with the namespace.

use anyhow::Context as _;
use serde_json::Value;

use crate::netns::NetNs;
use crate::require;

/// From now on every packet that arrives for a TCP port vanishes.
pub fn drop_port(netns: &NetNs, port: u16) -> anyhow::Result<()> {
    drop_where(netns, port, "")
}

/// The same, but a SYN arrives: clients get established, servers do not.
pub fn drop_all_but_syn(netns: &NetNs, port: u16) -> anyhow::Result<()> {
    drop_where(netns, port, "tcp flags & syn == 0")
}

/// Only the last packet of each message vanishes (PSH): all data of one that sends little.
pub fn drop_data(netns: &NetNs, port: u16) -> anyhow::Result<()> {
    drop_where(netns, port, "tcp flags & psh == psh")
}

/// Only acknowledgements without data vanish.
pub fn drop_bare_acknowledgements(netns: &NetNs, port: u16) -> anyhow::Result<()> {
    drop_where(netns, port, "tcp flags & (syn | psh | fin | rst) == 0")
}

/// One rule at a time: in the place of the one before, in one step.
fn drop_where(netns: &NetNs, port: u16, condition: &str) -> anyhow::Result<()> {
    let rules = format!(
        "table ip fault {{ chain in {{ type filter hook prerouting priority -300; }}; }}\n\
         flush chain ip fault in\n\
         add rule ip fault in tcp dport {port} {condition} counter drop\n"
    );
    nft(netns, &["-f", "-"], &rules)?;
    Ok(())
}
/// Lets packets through again.
pub fn open(netns: &NetNs) -> anyhow::Result<()> {
    nft(netns, &["delete", "table", "ip", "fault"], "")?;
    Ok(())
}

/// Packets that have vanished since `drop_port`.
pub fn dropped(netns: &NetNs) -> anyhow::Result<u64> {
    let answer = nft(netns, &["-j", "list", "table", "ip", "fault"], "")?;
    let answer: Value = serde_json::from_str(&answer)?;
    let packets = answer["nftables"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|entry| entry.pointer("/rule/expr")?.as_array()?.iter().find_map(packets_of));
    packets.with_context(|| format!("no counter in {answer}"))
}

fn packets_of(expression: &Value) -> Option<u64> {
    expression.pointer("/counter/packets")?.as_u64()
}

fn nft(netns: &NetNs, args: &[&str], script: &str) -> anyhow::Result<String> {
    let program = require::program("nft", "nftables")?;
    netns.feed(&program, args, script)
}
