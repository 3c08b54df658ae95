//! `acceleration: Auto`: connections of clients and servers that are driven by events come to be
//! accelerated, those of others never are, and who turns to blocking goes back to TCP.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mesh_common::accel::{Pair, Path};
use mesh_tests::accel::End;
use mesh_tests::bins;
use mesh_tests::manifest::Manifest;
use mesh_tests::maps::pairs;
use mesh_tests::netns::{FAR, NetNs};
use mesh_tests::process::{Place, Process};
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, backend};
use serde_json::Value;

const NAME: &str = "auto";
const AUTO: &str = "  acceleration: Auto\n";
/// Quarter seconds: a connection is long-lived after one, and pauses last six at least.
const FAST: [&str; 2] = ["--acceleration-auto-interval", "250ms"];
const PAUSE: Duration = Duration::from_millis(6 * 250);
const PATIENCE: Duration = Duration::from_secs(15);
/// Enough to be chatty.
const MANY: u32 = 100;

const GRANTED: &str = "mesh_agent_acceleration_auto_granted";
const GRANTS: &str = "mesh_agent_acceleration_auto_grants_total";
const NOT_GRANTED: &str = "mesh_agent_acceleration_auto_not_granted";
const LOOKS: &str = "mesh_agent_acceleration_auto_looks_total";
const WITHDRAWALS: &str = "mesh_agent_acceleration_auto_withdrawals_total";

/// A node with a service that leaves it to the agent, a server and a client.
struct World {
    bed: Testbed,
    server: End,
    client: End,
}

impl World {
    fn start() -> anyhow::Result<Self> {
        let bed = Testbed::start_with(NAME, &[&SMALL[..], &FAST].concat())?;
        let place = bed.node.place();
        Self::between(bed, &place, backend(0))
    }

    /// The same, with the server elsewhere.
    fn between(bed: Testbed, server: &Place, address: Ipv4Addr) -> anyhow::Result<Self> {
        apply(&bed, AUTO, address)?;
        let mut server = End::start(server)?;
        server.listen(SocketAddrV4::new(address, PORT))?;
        let mut client = End::start(&bed.node.place())?;
        client.connect(VIP)?;
        server.accept()?;
        Ok(Self { bed, server, client })
    }

    /// Another client, whose connection the server goes over to.
    fn another(&mut self) -> anyhow::Result<End> {
        let mut client = End::start(&self.bed.node.place())?;
        client.connect(VIP)?;
        self.server.accept()?;
        Ok(client)
    }

    fn talk(&mut self, times: u32) -> anyhow::Result<()> {
        talk(&mut self.client, &mut self.server, times)
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
        Ok(self.bed.node.metrics()?.sum(name, labels))
    }

    /// Talks on until a metric has a value.
    fn talk_until(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        good: impl Fn(f64) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.talk(5)?;
            let value = self.metric(name, labels)?;
            if good(value) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{name} {labels:?} is {value} after {PATIENCE:?}\n{}", self.bed.node.dump()?);
            }
        }
    }

    /// Talks on until the agent has looked so many times more.
    fn talk_for(&mut self, looks: u32) -> anyhow::Result<()> {
        let enough = self.metric(LOOKS, &[])? + f64::from(looks);
        self.talk_until(LOOKS, &[], |now| now >= enough)
    }

    fn wait_granted(&mut self) -> anyhow::Result<()> {
        self.talk(MANY)?;
        self.talk_until(GRANTED, &[], |granted| granted > 0.5)
    }

    fn redirected(&self) -> anyhow::Result<u64> {
        let messages =
            |pair: &Pair| u64::from(pair.sent.messages) + u64::from(pair.received.messages);
        Ok(pairs(&self.bed.node)?.iter().map(messages).sum())
    }
}

fn apply(bed: &Testbed, config: &str, address: Ipv4Addr) -> anyhow::Result<()> {
    let node = format!("  node: {NAME}\n");
    let manifest = Manifest::new()
        .service("web", VIP, PORT)
        .endpoint_with("web", "web", "v1", address, &node)
        .config("web", config);
    bed.meshctl.apply(&manifest)?;
    Ok(())
}

fn talk(client: &mut End, server: &mut End, times: u32) -> anyhow::Result<()> {
    for number in 0..times {
        let question = format!("question {number:09}");
        client.send(&question)?;
        ensure!(server.receive(question.len())? == question);
        server.send("answer")?;
        ensure!(client.receive(6)? == "answer");
    }
    Ok(())
}

fn is(expected: f64) -> impl Fn(f64) -> bool {
    move |value| (value - expected).abs() < 0.5
}

#[test]
fn who_waits_for_events_comes_to_be_accelerated() -> anyhow::Result<()> {
    let mut world = World::start()?;
    world.wait_granted()?;
    ensure!(world.metric(GRANTS, &[])? > 0.5);
    let dump = world.bed.node.dump()?;
    ensure!(
        dump.contains(" ACCELERATED AUTO\n") && dump.contains("\nAUTO SERVICE=1 CGROUP="),
        dump
    );
    // What was open before stays as it is.
    assert_eq!(world.redirected()?, 0);
    world.client = world.another()?;
    world.talk(10)?;
    assert_eq!(world.redirected()?, 20);

    // Another agent knows nothing of it, and has to look again.
    world.bed.node.stop()?;
    let dump = world.bed.node.dump()?;
    ensure!(!dump.contains("AUTO SERVICE"), dump);
    world.talk(10)?;
    assert_eq!(world.redirected()?, 20);
    world.bed.node.run()?;
    world.bed.node.wait_ready()?;
    world.wait_granted()?;
    apply(&world.bed, "  acceleration: \"Off\"\n", backend(0))?;
    world.talk_until(GRANTED, &[], is(0.0))?;
    world.talk_until(WITHDRAWALS, &[("cause", "service")], is(1.0))?;
    let said = world.bed.node.uninstall()?;
    ensure!(said.code == Some(0) && !world.bed.node.pins().exists(), "{said:?}");
    world.talk(10)
}

#[test]
fn a_server_in_another_namespace_and_cgroup_is_found() -> anyhow::Result<()> {
    let apart = NetNs::create(NAME)?;
    let bed = Testbed::start_with(NAME, &[&SMALL[..], &FAST].concat())?;
    bed.netns.connect(&apart)?;
    let servers = bed.node.cgroup().child("servers")?;
    let place = Place::in_netns(&apart).and_cgroup(&servers);
    let mut world = World::between(bed, &place, FAR)?;
    world.wait_granted()?;
    world.client = world.another()?;
    world.talk(10)?;
    assert_eq!(world.redirected()?, 20);
    // The server's socket counts like the client's.
    world.server.block()?;
    let blocks = [("cause", "blocking_server")];
    world.talk_until(WITHDRAWALS, &blocks, is(1.0))?;
    let before = world.redirected()?;
    world.talk(10)?;
    assert_eq!(world.redirected()?, before);
    Ok(())
}

#[test]
fn who_turns_to_blocking_goes_back_to_tcp() -> anyhow::Result<()> {
    let mut world = World::start()?;
    world.wait_granted()?;
    world.client = world.another()?;
    world.talk(MANY)?;
    assert_eq!(world.redirected()?, u64::from(2 * MANY));
    // Waits in the server's socket while the way changes.
    world.client.send("before")?;
    world.client.block()?;
    let (mut granted, deadline) = (Instant::now(), Instant::now() + PATIENCE);
    loop {
        let asked = Instant::now();
        if world.metric(GRANTED, &[])? < 0.5 {
            break;
        }
        ensure!(asked < deadline, "still granted");
        granted = asked;
    }
    ensure!(world.metric(WITHDRAWALS, &[("cause", "blocking_client")])? > 0.5);
    // By which way this goes is the programs' choice: something waits for the reader.
    world.client.send("after")?;
    assert_eq!(world.server.receive(11)?, "beforeafter");
    let before = world.redirected()?;
    world.talk(MANY)?;
    assert_eq!(world.redirected()?, before);
    let paths: Vec<_> = pairs(&world.bed.node)?.iter().map(|it| it.sent_path).collect();
    assert_eq!(paths, [Path::LEFT]);
    // It is not tried again soon, though nobody blocks any more.
    world.client = world.another()?;
    world.wait_granted()?;
    assert!(granted.elapsed() >= PAUSE, "granted again after {:?}", granted.elapsed());
    ensure!(is(2.0)(world.metric(GRANTS, &[])?));
    Ok(())
}

#[test]
fn who_blocks_never_notices() -> anyhow::Result<()> {
    let mut world = World::start()?;
    world.client.block()?;
    world.talk(MANY)?;
    world.talk_for(6)?;
    world.talk_until(NOT_GRANTED, &[("reason", "blocking_client")], is(1.0))?;
    world.client = world.another()?;
    world.server.block()?;
    world.talk(MANY)?;
    world.talk_for(6)?;
    world.talk_until(NOT_GRANTED, &[("reason", "blocking_server")], is(1.0))?;
    ensure!(is(0.0)(world.metric(GRANTS, &[])?), "granted");
    Ok(())
}

/// What is granted for the sake of one client is there for all of its cgroup, and the agent has not
/// seen them all.
#[test]
fn who_blocks_beside_one_who_waits_for_events_never_notices() -> anyhow::Result<()> {
    let mut world = World::start()?;
    world.wait_granted()?;
    // Nobody takes it back.
    world.bed.node.kill()?;
    let dump = world.bed.node.dump()?;
    ensure!(dump.contains("\nAUTO SERVICE=1 CGROUP="), dump);
    drop((world.client, world.server));
    // Half-closes, and readers that wait for the answer.
    let (target, listen) = (VIP.to_string(), SocketAddrV4::new(backend(0), PORT).to_string());
    let mut command = Command::new(bins::helper("mesh-load")?);
    command.args(["stress", "--blocking", "--seed", "7", "--connections", "100"]);
    command.args(["--target", &target, "--cut-target", &target]);
    command.args(["--listen", &listen, "--cut-listen", &listen, "--largest", "100000", "--pins"]);
    command.arg(world.bed.node.pins().join("maps")).stdin(Stdio::null()).stdout(Stdio::piped());
    let process = Process::spawn("stress", command, &world.bed.node.place(), None)?;
    ensure!(process.wait(Duration::from_mins(1))?.success());
    let mut said = String::new();
    let stdout = process.with_child(|child| child.stdout.take()).context("no output")?;
    { stdout }.read_to_string(&mut said)?;
    let said: Value = serde_json::from_str(&said)?;
    assert_eq!((said["would_block"].as_u64(), said["mismatches"].as_u64()), (Some(0), Some(0)));
    // They were noted as the client's, which is as far as it went.
    for pair in pairs(&world.bed.node)? {
        assert_eq!((pair.sent.messages, pair.received.messages), (0, 0), "{pair:?}");
    }
    Ok(())
}
