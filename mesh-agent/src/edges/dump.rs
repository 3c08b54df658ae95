//! What the programs keep about edges, as `mesh-agent dump` prints it: one line for each.

use std::fmt::Write as _;

use mesh_common::edge::{EdgeCounters, EdgeKey, FailureCause};

use crate::image::MapImage;

/// The lines of edges to backends in the image, sorted.
#[must_use]
pub fn lines(image: &MapImage, mut edges: Vec<(EdgeKey, EdgeCounters)>) -> String {
    let is_live = |key: &EdgeKey| {
        let backend = image.backends.get(&key.backend);
        backend.is_some_and(|backend| backend.generation == key.generation)
    };
    edges.retain(|(key, _)| is_live(key));
    edges.sort_unstable_by_key(|(key, _)| (key.backend, key.generation, key.cgroup));
    let mut text = String::new();
    // Writing to a string does not fail.
    for (key, counters) in edges {
        let EdgeKey { cgroup, backend, generation } = key;
        let backend = backend.index;
        write!(text, "EDGE BACKEND={backend} GENERATION={generation} CGROUP={cgroup}")
            .unwrap_or_default();
        let EdgeCounters { opened, closed, failed, bytes_sent, bytes_received, .. } = counters;
        write!(text, " OPENED={opened} CLOSED={closed}").unwrap_or_default();
        for (code, count) in (0..).zip(failed).filter(|(_, count)| *count > 0) {
            let cause = FailureCause { code }.name().to_uppercase();
            write!(text, " {cause}={count}").unwrap_or_default();
        }
        writeln!(text, " SENT={bytes_sent} RECEIVED={bytes_received}").unwrap_or_default();
    }
    text
}
