//! A connection that sends more than may wait for its reader goes over to TCP, and then leaves the
//! map of sockets: in it, TCP is slower. One whose reader keeps up stays, whoever answers or not.

use std::thread;

use anyhow::Context as _;
use mesh_common::accel::{MESSAGES, Path, WINDOW};
use mesh_tests::accel::{Bed, End, World};
use mesh_tests::wait::eventually;

const CHUNK: usize = 32 << 10;

/// An accelerated connection, of which nothing has been sent.
fn world(what: &str) -> anyhow::Result<World> {
    let mut world = World::start(what)?;
    world.connect()?;
    assert_eq!(world.bed.enlisted()?, 2);
    Ok(world)
}

/// Waits until no socket is in the map.
fn gone(bed: &Bed) -> anyhow::Result<()> {
    eventually(|| match bed.enlisted() {
        Ok(0) => Ok(()),
        other => Err(format!("still in the map: {other:?}")),
    })
}

/// Sends more than the window while nobody reads; what was sent.
fn overflow(sender: &mut End) -> anyhow::Result<String> {
    let window = usize::try_from(WINDOW)?;
    let mut sent = String::new();
    for chunk in 0..window / CHUNK + 2 {
        let text = format!("{chunk:05}-").repeat(CHUNK / 6);
        sender.send(&text)?;
        sent.push_str(&text);
    }
    Ok(sent)
}

#[test]
fn a_stream_that_nobody_answers_leaves_the_map_with_every_byte_in_order() -> anyhow::Result<()> {
    let mut world = world("leave")?;
    let sent = overflow(&mut world.client)?;
    // The other direction was never used, and follows.
    assert_eq!(world.paths()?, (Path::LEFT, Path::TCP));
    let pair = world.account()?.context("no account")?;
    assert!(pair.sent.bytes <= WINDOW && pair.sent.bytes > WINDOW / 2, "{pair:?}");
    // The sender has left, or leaves with the next acknowledgement; what was redirected waits.
    assert!(world.bed.enlisted()? >= 1, "redirected bytes wait for their reader");
    assert!(world.server.receive(sent.len())? == sent, "out of order");
    eventually(|| {
        let mut step = || -> anyhow::Result<usize> {
            world.client.send("more")?;
            assert_eq!(world.server.receive(4)?, "more");
            world.bed.enlisted()
        };
        match step() {
            Ok(0) => Ok(()),
            other => Err(format!("still in the map: {other:?}")),
        }
    })?;
    // Like any other connection from now on.
    world.server.send("an answer")?;
    assert_eq!(world.client.receive(9)?, "an answer");
    world.client.shutdown()?;
    world.server.send("the last answer")?;
    world.server.shutdown()?;
    assert_eq!(world.client.receive(100)?, "the last answer");
    assert_eq!(world.server.receive(100)?, "");
    Ok(())
}

#[test]
fn a_large_answer_leaves_the_map_only_once_questions_have_been_read() -> anyhow::Result<()> {
    let mut world = world("leave-answer")?;
    world.client.send("question")?;
    assert_eq!(world.server.receive(8)?, "question");
    world.client.send("unread")?;
    let sent = overflow(&mut world.server)?;
    assert_eq!(world.paths()?, (Path::LEFT, Path::LEFT));
    assert!(world.client.receive(sent.len())? == sent, "out of order");
    for _ in 0..20 {
        world.server.send("more")?;
        assert_eq!(world.client.receive(4)?, "more");
    }
    assert_eq!(world.bed.enlisted()?, 1, "a question that was redirected waits");
    assert_eq!(world.server.receive(6)?, "unread");
    eventually(|| {
        let mut step = || -> anyhow::Result<usize> {
            world.server.send("more")?;
            assert_eq!(world.client.receive(4)?, "more");
            world.bed.enlisted()
        };
        match step() {
            Ok(0) => Ok(()),
            other => Err(format!("still in the map: {other:?}")),
        }
    })?;
    world.client.send("question")?;
    assert_eq!(world.server.receive(8)?, "question");
    Ok(())
}

#[test]
fn a_stream_whose_reader_keeps_up_stays_in_the_map_without_an_answer() -> anyhow::Result<()> {
    let mut world = world("keeps-up")?;
    let text = "x".repeat(CHUNK);
    let rounds = 3 * usize::try_from(WINDOW)? / CHUNK;
    for _ in 0..rounds {
        world.client.send(&text)?;
        assert_eq!(world.server.receive(CHUNK)?.len(), CHUNK);
    }
    for _ in 0..3_000 {
        world.client.send("small")?;
        assert_eq!(world.server.receive(5)?, "small");
    }
    let pair = world.account()?.context("no account")?;
    assert_eq!((pair.sent_path, pair.received_path), (Path::REDIRECTED, Path::UNDECIDED));
    assert_eq!(pair.sent.bytes, 3 * WINDOW + 15_000);
    assert_eq!(world.bed.enlisted()?, 2);
    Ok(())
}

/// Event loops may take a read that gives less than they asked for as the last one until there is
/// another event. That of what came by TCP is over before the reader gets to it.
#[test]
fn a_reader_that_waits_for_the_next_event_is_told_of_what_came_by_tcp() -> anyhow::Result<()> {
    let mut world = world("edges")?;
    // So little by TCP that it arrives at once: no part of it comes later and is another event.
    let messages = MESSAGES + 5;
    for _ in 0..messages {
        world.client.send("0123456789")?;
    }
    assert_eq!(world.paths()?, (Path::LEFT, Path::TCP));
    world.server.receive_by_edges(10 * usize::try_from(messages)?)?;
    gone(&world.bed)?;
    world.server.send("answer")?;
    assert_eq!(world.client.receive(6)?, "answer");
    Ok(())
}

#[test]
fn what_is_switched_off_goes_over_when_nothing_waits() -> anyhow::Result<()> {
    let mut world = world("off")?;
    world.client.send("one")?;
    world.bed.accelerate(false)?;
    world.client.send("two")?;
    assert_eq!(world.paths()?, (Path::REDIRECTED, Path::UNDECIDED));
    assert_eq!(world.server.receive(6)?, "onetwo");
    world.client.send("three")?;
    assert_eq!(world.paths()?, (Path::LEFT, Path::TCP));
    assert_eq!(world.server.receive(5)?, "three");
    gone(&world.bed)
}

/// Whoever is in the middle of redirecting a message when another thread's goes by TCP must still find
/// its reader in the map.
#[test]
fn no_byte_is_lost_of_many_writers_to_one_connection() -> anyhow::Result<()> {
    const ROUNDS: usize = 8;
    const BYTES: usize = 3 << 20;
    let mut world = world("writers")?;
    for round in 0..ROUNDS {
        let message = [1_001, 30_011, 4_099, 65_537][round % 4];
        let World { client, server, .. } = &mut world;
        thread::scope(|scope| {
            let other = scope.spawn(|| server.crowd(BYTES, message));
            client.crowd(BYTES, message)?;
            other.join().ok().context("panicked")?
        })?;
        let pair = world.account()?.context("no account")?;
        assert!(pair.sent.bytes + pair.received.bytes > 0, "{pair:?}");
        assert!(!pair.sent_path.may_redirect() && !pair.received_path.may_redirect(), "{pair:?}");
        world.close()?;
        world.connect()?;
    }
    Ok(())
}
