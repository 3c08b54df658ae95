//! What TCP of a network namespace has sent: the proof that data went another way.

use std::fs;

use anyhow::Context as _;

use crate::netns::NetNs;

/// Segments that TCP of this namespace has sent so far, without retransmissions (`OutSegs`,
/// RFC 4022).
pub fn sent_segments(netns: &NetNs) -> anyhow::Result<u64> {
    let text = netns.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = lines.next().zip(lines.next()).context("no line `Tcp:`")?;
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns.find(|(name, _)| *name == "OutSegs").context("no `OutSegs`")?;
    Ok(value.parse()?)
}
