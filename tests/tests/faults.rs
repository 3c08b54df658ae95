//! The fault table with fewer connections: `cargo xtask faults` runs all of it.

use mesh_tests::faults::{self, Cli};

/// Connections while a backend is kept away.
const CONNECTIONS: u64 = 1_000;

#[test]
fn no_connection_reaches_a_backend_that_is_kept_away_whatever_its_fault() -> anyhow::Result<()> {
    faults::run(&Cli::short(CONNECTIONS, None))
}
