//! The protocol matrix, first without a mesh (a broken ruler measures nothing), then through it.

use mesh_tests::matrix::{self, Verdict, World};

/// Runs every cell and prints its line; fails at the end, with all that failed.
fn run(world: &World) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut done = 0;
    for cell in matrix::cells() {
        let verdict = cell.run(world);
        cell.say(&verdict);
        match verdict {
            Verdict::Ok(_) => done += 1,
            Verdict::NotApplicable(_) => {}
            Verdict::Failed(reason) => failed.push(format!("{cell:?}: {reason}")),
        }
    }
    anyhow::ensure!(failed.is_empty(), "{} cells failed:\n{}", failed.len(), failed.join("\n"));
    assert!(done >= 30, "{done} cells");
    Ok(())
}

#[test]
fn every_program_protocol_and_family_works_without_the_mesh() -> anyhow::Result<()> {
    run(&World::direct()?)
}

#[test]
fn every_program_protocol_and_family_reaches_its_service_through_the_mesh() -> anyhow::Result<()> {
    run(&World::meshed()?)
}
