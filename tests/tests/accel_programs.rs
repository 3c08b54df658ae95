//! Programs that people run, under acceleration: `cargo xtask accel-torture programs` runs them for
//! longer, and each with its server in both places.

use mesh_tests::programs::{self, Cli};

#[test]
fn nginx_redis_postgres_and_iperf3_lose_nothing_and_wait_for_nothing() -> anyhow::Result<()> {
    programs::run(&Cli::short())
}
