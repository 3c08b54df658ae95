//! What the agent's log says about its own speed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::Context as _;

use crate::node::Node;

/// A push that has become live: the line `applied revision=… took_us=…`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub(super) revision: u64,
    /// From the first message of the push to written maps.
    pub(super) took_ms: f64,
}

/// Reads what is added to the log.
pub(super) struct Follower {
    path: PathBuf,
    offset: u64,
}

impl Follower {
    /// Starts behind what is there now.
    pub(super) fn at_end(node: &Node) -> Self {
        let path = node.scratch().join("log");
        let offset = path.metadata().map_or(0, |metadata| metadata.len());
        Self { path, offset }
    }

    /// What was said since the last call.
    pub(super) fn read(&mut self) -> anyhow::Result<Vec<Applied>> {
        let open = || format!("reading {}", self.path.display());
        let mut file = File::open(&self.path).with_context(open)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line that is being written is read next time.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.offset += u64::try_from(whole)?;
        Ok(text.get(..whole).unwrap_or_default().lines().filter_map(applied).collect())
    }
}

fn applied(line: &str) -> Option<Applied> {
    let (_, fields) = line.split_once(": applied ")?;
    let field = |name: &str| {
        fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let took_us: f64 = field("took_us")?.parse().ok()?;
    Some(Applied { revision: field("revision")?.parse().ok()?, took_ms: took_us / 1e3 })
}

#[cfg(test)]
mod tests {
    use super::applied;

    #[test]
    fn reads_the_agents_line() {
        let line = "2026-01-01T00:00:00Z  INFO mesh_agent::xds::client: applied revision=7 changes=1 took_us=1500";
        let applied = applied(line).unwrap();
        assert_eq!(applied.revision, 7);
        assert!((applied.took_ms - 1.5).abs() < 1e-9);
        assert!(super::applied("INFO x: live revision=7 writes=2").is_none());
    }
}
