//! How much of the traffic is remembered.

use clap::Args;

use super::collector;
use super::series::table;

/// Limits, as options.
#[derive(Clone, Copy, Debug, Args)]
pub struct TrafficConfig {
    /// Memory for what was counted over time; if it is too small, the history is shorter
    #[arg(long, env = "MESH_HISTORY_MEMORY", value_name = "MIB", default_value_t = 192)]
    pub history_memory: usize,

    /// Most time series of traffic; the others go into series called `other`
    #[arg(long, env = "MESH_MAX_SERIES", value_name = "COUNT", default_value_t = 20_000)]
    pub max_series: usize,
}

impl Default for TrafficConfig {
    fn default() -> Self {
        Self { history_memory: 192, max_series: 20_000 }
    }
}

/// Most nodes.
const MAX_NODES: usize = 5_000;
/// Memory for the names of a series, and for what else is needed for it, in bytes.
const SERIES_BYTES: usize = 640;
/// Memory of an edge: its names and its totals, in bytes.
const EDGE_BYTES: usize = 800;
/// Edges that nodes can report for each series that there can be.
const EDGES: usize = 4;
/// Memory for what is counted in the second that goes on, of a series, in bytes.
const OPEN_BYTES: usize = 256;
const MIB: usize = 1 << 20;

impl TrafficConfig {
    /// Memory for the steps of the series, in bytes.
    #[must_use]
    pub const fn history_bytes(&self) -> usize {
        self.history_memory.saturating_mul(MIB)
    }

    /// Limits of the table of series.
    #[must_use]
    pub const fn series(&self) -> table::Limits {
        let bytes = self.max_series.saturating_mul(SERIES_BYTES);
        table::Limits { series: self.max_series, bytes }
    }

    /// Limits of the collector.
    #[must_use]
    pub const fn collector(&self) -> collector::Limits {
        let edges = self.max_series.saturating_mul(EDGES);
        collector::Limits { nodes: MAX_NODES, edge_bytes: edges.saturating_mul(EDGE_BYTES) }
    }

    /// All of it, at the most, in bytes.
    #[must_use]
    pub const fn most_bytes(&self) -> usize {
        let open = self.max_series.saturating_mul(OPEN_BYTES);
        let tables = self.series().bytes.saturating_add(self.collector().edge_bytes);
        self.history_bytes().saturating_add(tables).saturating_add(open)
    }
}
