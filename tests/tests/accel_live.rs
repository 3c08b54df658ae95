//! Accelerated connections: data goes from socket to socket and is counted, and whatever happens to
//! the agent, no byte of it is lost.

use std::fs;
use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::ensure;
use mesh_common::accel::{Pair, Path};
use mesh_common::tunables::TunableFlags;
use mesh_tests::accel::End;
use mesh_tests::backend::Backends;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::maps::{flags, pairs};
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, backend};
use mesh_tests::traffic::{Flows, Traffic};
use mesh_tests::wait::eventually;
use serde_json::json;

/// Spec of the service's config.
const ON: &str = "  acceleration: \"On\"\n";
const NAME: &str = "accel";
const PATIENCE: Duration = Duration::from_secs(10);
const FLOWS: u32 = 8;

/// A node with a server, both ends of every connection in its cgroup.
fn start(config: &str) -> anyhow::Result<(Backends, Testbed)> {
    let bed = Testbed::start(NAME)?;
    let doors = [("web", SocketAddrV4::new(backend(0), PORT))];
    let server = Backends::start(&bed.node.place(), Mode::Ping, &doors)?;
    apply(&bed, config)?;
    Ok((server, bed))
}

/// A node whose service is accelerated, and two ends that have exchanged a message.
fn connected() -> anyhow::Result<(Testbed, End, End)> {
    connected_with(&SMALL)
}

/// The same, of an agent with these flags.
fn connected_with(flags: &[&str]) -> anyhow::Result<(Testbed, End, End)> {
    let bed = Testbed::start_with(NAME, flags)?;
    apply(&bed, ON)?;
    let (mut server, mut client) = (End::start(&bed.node.place())?, End::start(&bed.node.place())?);
    server.listen(SocketAddrV4::new(backend(0), PORT))?;
    client.connect(VIP)?;
    server.accept()?;
    client.send("question")?;
    assert_eq!(server.receive(8)?, "question");
    Ok((bed, server, client))
}

fn apply(bed: &Testbed, config: &str) -> anyhow::Result<()> {
    let node = format!("  node: {NAME}\n");
    let manifest = Manifest::new()
        .service("web", VIP, PORT)
        .endpoint_with("web", "web", "v1", backend(0), &node)
        .config("web", config);
    bed.meshctl.apply(&manifest)?;
    Ok(())
}

fn pings() -> Flows {
    Flows { flows: NonZeroU32::new(FLOWS).unwrap_or(NonZeroU32::MIN), ..Flows::to(VIP, Mode::Ping) }
}

/// Messages that were redirected since the pairs were like this.
fn redirected(bed: &Testbed) -> anyhow::Result<u64> {
    let messages = |pair: &Pair| u64::from(pair.sent.messages) + u64::from(pair.received.messages);
    Ok(pairs(&bed.node)?.iter().map(messages).sum())
}

/// Whether the switch is on, and whether it ever was.
fn switch(bed: &Testbed) -> anyhow::Result<(bool, bool)> {
    let flags = flags(&bed.node)?;
    Ok((flags.contains(TunableFlags::ACCELERATION), flags.contains(TunableFlags::ENLISTED)))
}

/// Waits until a hundred more messages have gone the short way.
fn wait_redirected(bed: &Testbed) -> anyhow::Result<()> {
    let before = redirected(bed)?;
    eventually(|| match redirected(bed) {
        Ok(now) if now > before + 100 => Ok(()),
        other => Err(format!("{other:?} after {before}")),
    })
}

/// Waits until every direction goes by TCP, and traffic goes on.
fn wait_tcp(bed: &Testbed, traffic: &Traffic) -> anyhow::Result<()> {
    traffic.wait_for(u64::from(FLOWS) * 20, PATIENCE)?;
    let all = |pair: &Pair| (pair.sent_path, pair.received_path) == (Path::LEFT, Path::LEFT);
    eventually(|| match pairs(&bed.node) {
        Ok(pairs) if pairs.iter().all(all) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    traffic.wait_for(u64::from(FLOWS) * 20, PATIENCE)
}

#[test]
fn both_directions_are_redirected_and_every_byte_is_counted() -> anyhow::Result<()> {
    let (_server, bed) = start(ON)?;
    let outcome = Traffic::run_flows(&bed.node.place(), &pings(), 200)?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    let pairs = pairs(&bed.node)?;
    assert_eq!(pairs.len(), FLOWS as usize);
    for pair in &pairs {
        assert_eq!((pair.sent_path, pair.received_path), (Path::REDIRECTED, Path::REDIRECTED));
    }
    let bytes = |of: fn(&Pair) -> u64| pairs.iter().map(of).sum::<u64>();
    assert_eq!(bytes(|pair| pair.sent.bytes), outcome.sent);
    assert_eq!(bytes(|pair| pair.received.bytes), outcome.received);
    let web = [("destination_service_name", "web")];
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        // Istio's names are the server's.
        metrics.expect("istio_tcp_received_bytes_total", &web, outcome.sent)?;
        metrics.expect("istio_tcp_sent_bytes_total", &web, outcome.received)
    })
}

#[test]
fn a_service_that_does_not_ask_for_it_is_left_alone() -> anyhow::Result<()> {
    let (_server, bed) = start("  drainTimeout: 30s\n")?;
    let outcome = Traffic::run_flows(&bed.node.place(), &pings(), 50)?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    assert_eq!(pairs(&bed.node)?, []);
    // Nor does anybody pay for it.
    assert_eq!(switch(&bed)?, (false, false));
    Ok(())
}

/// Open connections and bytes past TCP by direction, as the agent tells them: those whose data goes
/// past TCP, those that have not sent, and the bytes.
fn told(bed: &Testbed, direction: &str) -> anyhow::Result<String> {
    let metrics = bed.node.metrics()?;
    let connections = |path| {
        let labels = [("direction", direction), ("path", path)];
        metrics.sum("mesh_agent_accelerated_connections", &labels)
    };
    let bytes = metrics.sum("mesh_agent_accelerated_open_bytes", &[("direction", direction)]);
    Ok(format!("{} {} {bytes}", connections("redirected"), connections("none")))
}

#[test]
fn what_is_open_is_told_and_what_has_ended_is_in_the_log() -> anyhow::Result<()> {
    let flags = [&SMALL[..], &["--access-log"]].concat();
    let (bed, mut server, mut client) = connected_with(&flags)?;
    assert_eq!(told(&bed, "sent")?, "1 0 8");
    assert_eq!(told(&bed, "received")?, "0 1 0");
    server.send("an answer")?;
    assert_eq!(client.receive(9)?, "an answer");
    // What was just read is told again for a moment.
    let wait_told = |direction, wanted| {
        eventually(|| match told(&bed, direction) {
            Ok(told) if told == wanted => Ok(()),
            other => Err(format!("{direction}: {other:?}")),
        })
    };
    wait_told("received", "1 0 9")?;
    let status = bed.node.status()?["acceleration"].clone();
    assert_eq!(status["state"], "usable", "{status}");
    assert_eq!((&status["active"], &status["connections"]), (&json!(true), &json!(1)));
    assert!(status["verdict"].as_str().is_some_and(|it| it.starts_with("usable")), "{status}");

    drop((server, client));
    eventually(|| {
        let log = fs::read_to_string(bed.node.scratch().join("log"));
        let log = log.map_err(|error| error.to_string())?;
        let line = log.lines().find(|line| line.contains("connection closed"));
        let line = line.ok_or("no line")?;
        let parts =
            ["bytes_sent=8 ", "bytes_recv=9 ", "path_sent=\"redirected\" path_recv=\"redirected\""];
        match parts.iter().find(|part| !line.contains(*part)) {
            Some(part) => Err(format!("no {part} in {line}")),
            None => Ok(()),
        }
    })?;
    wait_told("sent", "0 0 0")?;
    wait_told("received", "0 0 0")
}

#[test]
fn restarts_and_crashes_of_the_agent_lose_nothing() -> anyhow::Result<()> {
    let (_server, mut bed) = start(ON)?;
    let traffic = Traffic::flows(&bed.node.place(), &pings())?;
    wait_redirected(&bed)?;
    for crash in [false, true] {
        if crash {
            bed.node.kill()?;
        } else {
            bed.node.stop()?;
        }
        // Without an agent, and with the next one.
        wait_redirected(&bed)?;
        bed.node.run()?;
        bed.node.wait_ready()?;
        wait_redirected(&bed)?;
    }
    for pair in pairs(&bed.node)? {
        assert_eq!((pair.sent_path, pair.received_path), (Path::REDIRECTED, Path::REDIRECTED));
    }
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    Ok(())
}

#[test]
fn uninstalling_leaves_what_waits_in_sockets_and_what_is_open() -> anyhow::Result<()> {
    let (bed, mut server, mut client) = connected()?;
    let answer = "answer".repeat(100);
    server.send(&answer)?;
    client.send("another")?;
    assert_eq!(redirected(&bed)?, 3);

    let said = bed.node.uninstall()?;
    ensure!(said.code == Some(0), "{said:?}");
    assert!(!bed.node.pins().exists());
    assert_eq!(client.receive(answer.len())?, answer);
    server.send("later")?;
    client.send("later")?;
    assert_eq!(client.receive(5)?, "later");
    assert_eq!(server.receive(12)?, "anotherlater");
    client.shutdown()?;
    assert_eq!(server.receive(1)?, "", "the end of the stream");
    Ok(())
}

#[test]
fn a_socket_that_connects_again_has_nothing_of_its_earlier_connection() -> anyhow::Result<()> {
    let (bed, mut earlier, mut client) = connected()?;
    earlier.send("never read")?;
    assert_eq!(redirected(&bed)?, 2);
    client.reconnect(VIP)?;
    earlier.accept()?;
    earlier.send("new")?;
    assert_eq!(client.receive(3)?, "new");
    client.send("to the new one")?;
    assert_eq!(earlier.receive(14)?, "to the new one");
    Ok(())
}

#[test]
fn nothing_is_sent_after_the_end_of_the_stream() -> anyhow::Result<()> {
    let (_bed, mut server, mut client) = connected()?;
    client.shutdown()?;
    let refused = client.send("late").map_err(|error| error.to_string());
    assert!(refused.as_ref().is_err_and(|text| text.contains("Broken pipe")), "{refused:?}");
    assert_eq!(server.receive(1)?, "", "the end of the stream");
    server.send("answer")?;
    assert_eq!(client.receive(6)?, "answer");
    Ok(())
}

#[test]
fn a_service_that_no_longer_asks_is_obeyed_by_open_connections() -> anyhow::Result<()> {
    let (bed, mut server, mut client) = connected()?;
    assert_eq!(redirected(&bed)?, 1);
    assert_eq!(switch(&bed)?, (true, true));
    apply(&bed, "  acceleration: \"Off\"\n")?;
    assert_eq!(switch(&bed)?, (false, true));
    for _ in 0..3 {
        client.send("question")?;
        assert_eq!(server.receive(8)?, "question");
        server.send("answer")?;
        assert_eq!(client.receive(6)?, "answer");
    }
    assert_eq!(redirected(&bed)?, 1);
    Ok(())
}

#[test]
fn what_is_switched_off_goes_on_by_tcp() -> anyhow::Result<()> {
    let (_server, mut bed) = start(ON)?;
    let traffic = Traffic::flows(&bed.node.place(), &pings())?;
    wait_redirected(&bed)?;
    let off = [&SMALL[..], &["--acceleration", "off"]].concat();
    bed.node.stop()?;
    bed.node.set_flags(&off);
    bed.node.run()?;
    bed.node.wait_ready()?;
    wait_tcp(&bed, &traffic)?;
    // Those that were made before stay there, new ones take the short way again.
    bed.node.stop()?;
    bed.node.set_flags(&SMALL);
    bed.node.run()?;
    bed.node.wait_ready()?;
    traffic.wait_for(u64::from(FLOWS) * 20, PATIENCE)?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    let again = Traffic::flows(&bed.node.place(), &pings())?;
    wait_redirected(&bed)?;
    assert_eq!(again.stop()?.failed(), 0);
    Ok(())
}
