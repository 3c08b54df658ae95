//! The upgrade torture, scaled down: `cargo xtask torture` runs all of it.
//! `MESH_TORTURE_SECONDS=60` gives it its full length here.

use std::env;

use mesh_tests::torture::{self, Cli};

#[test]
fn agent_stopped_killed_and_replaced_under_load_loses_nothing() -> anyhow::Result<()> {
    let seconds = match env::var("MESH_TORTURE_SECONDS") {
        Ok(text) => text.parse()?,
        Err(_) => 10,
    };
    torture::run(&Cli::scaled(seconds))
}
