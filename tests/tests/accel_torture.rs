//! The torture of acceleration with fewer connections: `cargo xtask accel-torture` runs all of it.

use mesh_tests::accel::torture::{self, Cli};

#[test]
fn no_byte_is_lost_moved_or_late() -> anyhow::Result<()> {
    torture::run(&Cli::short(400))
}
