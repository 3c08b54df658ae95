//! Services that leave it to the agent which clients are accelerated: the programs ask before each
//! connection and at each message, and let nobody take part whose socket blocks.

use mesh_common::accel::Path;
use mesh_tests::accel::World;

fn world(what: &str) -> anyhow::Result<World> {
    let mut world = World::start(what)?;
    world.bed.leave_to_clients(1)?;
    Ok(world)
}

#[test]
fn only_a_client_that_is_allowed_is_accelerated_and_as_long_as_it_is() -> anyhow::Result<()> {
    let mut world = world("allowed")?;
    world.connect()?;
    world.exchange()?;
    assert_eq!(world.account()?, None);
    assert_eq!(world.bed.enlisted()?, 0);

    world.bed.allow(1, true)?;
    world.close()?;
    world.connect()?;
    world.exchange()?;
    assert_eq!(world.paths()?, (Path::REDIRECTED, Path::REDIRECTED));

    world.bed.allow(1, false)?;
    world.exchange()?;
    assert_eq!(world.paths()?, (Path::LEFT, Path::LEFT));
    world.exchange()
}

#[test]
fn an_end_that_blocks_is_left_alone_at_once() -> anyhow::Result<()> {
    let mut world = world("blocks")?;
    world.bed.allow(1, true)?;
    for server_blocks in [false, true] {
        world.connect()?;
        world.exchange()?;
        assert_eq!(world.paths()?, (Path::REDIRECTED, Path::REDIRECTED));
        if server_blocks {
            world.server.block()?;
        } else {
            world.client.block()?;
        }
        world.exchange()?;
        assert_eq!(world.paths()?, (Path::LEFT, Path::LEFT));
        world.exchange()?;
        world.close()?;
    }
    // Also from the first message on.
    world.connect()?;
    world.client.block()?;
    world.exchange()?;
    assert_eq!(world.paths()?, (Path::TCP, Path::TCP));
    Ok(())
}
