//! Services with rules for requests, through the node's Envoy: the kernel sends their connections
//! there, the agent runs it, and its end, the agent's or both of theirs cost no request.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mesh_tests::control::ControlPlane;
use mesh_tests::manifest::Manifest;
use mesh_tests::meshctl::Meshctl;
use mesh_tests::netns::NetNs;
use mesh_tests::node::Node;
use mesh_tests::process::Place;
use mesh_tests::testbed::{self, PORT, SMALL, Testbed, VIP, VIP6, backend, backend6};
use mesh_tests::wait::eventually;
use mesh_tests::xds::{Answers, Calls, Client, Server, envoy};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A header decides, which no kernel sees.
const RULES: &str = "trafficRules:\n  - {match: {headers: [{name: user, value: tester}]}, \
                     destination: {version: v2}}\n  - {destination: {version: v1}, weight: 1}\n";

fn manifest(spec: &str) -> Manifest {
    let endpoint = |name: &str, address: &str| {
        format!(
            "---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: web-{name}}}\n\
             spec: {{service: web, version: {}, address: {address}}}\n",
            &name[..2]
        )
    };
    Manifest::from_text(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  \
         vips: [{}, \"{}\"]\n  ports: [{{name: grpc, port: 80, targetPort: {PORT}, appProtocol: grpc}}]\n\
         {}{}{}{}---\napiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: web}}\n\
         spec:\n  {spec}",
        VIP.ip(),
        VIP6.ip(),
        endpoint("v1", &backend(0).to_string()),
        endpoint("v2", &backend(1).to_string()),
        endpoint("v1-6", &format!("\"{}\"", backend6(0))),
        endpoint("v2-6", &format!("\"{}\"", backend6(1))),
    ))
}

/// So many calls, each with a connection of its own.
fn calls(number: u32, user: &str) -> Calls {
    let headers = vec![("user", user.to_owned())];
    Calls { fresh: true, headers, ..Calls::who(number) }
}

/// Whether it runs; what has ended may wait for its parent.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

struct World {
    bed: Testbed,
    _servers: Vec<Server>,
    client: Client,
}

impl World {
    /// A node whose agent runs Envoy, and a service of two versions.
    fn start(what: &str, spec: &str) -> anyhow::Result<Self> {
        let netns = testbed::namespace(what)?;
        let control = ControlPlane::start(&netns)?;
        Self::start_with(what, spec, netns, control)
    }

    /// The same, with a control plane that is there already.
    fn start_with(
        what: &str,
        spec: &str,
        netns: Arc<NetNs>,
        control: ControlPlane,
    ) -> anyhow::Result<Self> {
        let program = envoy()?;
        let program = program.to_str().context("not UTF-8")?;
        let mut node = Node::prepare(&netns, what, &[&SMALL[..], &["--envoy", program]].concat())?;
        node.run()?;
        node.wait_ready()?;
        let bed = Testbed { meshctl: Meshctl::new(&netns)?, node, control, netns };
        let outside = Place::in_netns(&bed.netns);
        let mut servers = Vec::new();
        for (n, version) in [(0, "v1"), (1, "v2")] {
            let at = SocketAddr::from(SocketAddrV4::new(backend(n), PORT));
            servers.push(Server::start(&outside, version, at)?);
            servers.push(Server::start(
                &outside,
                version,
                SocketAddr::new(backend6(n).into(), PORT),
            )?);
        }
        bed.meshctl.apply(&manifest(spec))?;
        let client = Client::start(&bed.node.place(), &VIP.to_string(), None)?;
        let mut world = Self { bed, _servers: servers, client };
        world.redirected()?;
        Ok(world)
    }

    /// Waits until a header decides.
    fn redirected(&mut self) -> anyhow::Result<()> {
        eventually(|| match self.client.call(&calls(5, "tester")) {
            Ok(answers) if answers.of("v2") == 5 => Ok(()),
            other => Err(format!("{other:?}{}", self.bed.node.tail())),
        })
    }

    fn call(&mut self, number: u32, user: &str) -> anyhow::Result<Answers> {
        self.client.call(&calls(number, user))
    }

    /// The Envoy that the agent runs: its process, how many it has taken over from, and its cgroup.
    fn envoy(&self) -> anyhow::Result<(i32, u64, PathBuf)> {
        let path = self.bed.node.scratch().join("state/mesh-envoy/process.json");
        let said: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        let pid = said.get("pid").and_then(Value::as_i64).context("no pid")?;
        let epoch = said.get("epoch").and_then(Value::as_u64).context("no epoch")?;
        let cgroup = said.get("cgroup").and_then(Value::as_str).context("no cgroup")?;
        Ok((i32::try_from(pid)?, epoch, cgroup.into()))
    }

    /// Waits until the only service goes this way, as the metrics say.
    fn goes(&self, state: &str) -> anyhow::Result<()> {
        eventually(|| {
            let metrics = self.bed.node.metrics().map_err(|error| error.to_string())?;
            metrics.expect("mesh_agent_proxy_services", &[("state", state)], 1)
        })
    }

    /// Calls while something happens: all are answered as the rules for requests say.
    fn unharmed<T>(
        &mut self,
        what: impl FnOnce(&mut Testbed) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Self { bed, client, .. } = self;
        let (done, answers) = thread::scope(|scope| {
            let calls = scope.spawn(|| {
                let (began, mut all) = (Instant::now(), 0);
                while began.elapsed() < Duration::from_secs(4) {
                    let answers = client.call(&calls(100, "tester"))?;
                    ensure!(answers.of("v2") == 100, "after {all}: {answers:?}");
                    all += 100;
                }
                Ok(all)
            });
            thread::sleep(Duration::from_millis(300));
            let done = what(bed);
            (done, calls.join())
        });
        let done = done?;
        let log = fs::read_to_string(bed.node.scratch().join("log"))?;
        let calls = answers.map_err(|_panic| anyhow::anyhow!("the client has panicked"))?;
        let calls = calls.with_context(|| log)?;
        ensure!(calls > 0, "no call");
        Ok(done)
    }
}

#[test]
fn connections_go_to_envoy_and_past_it_when_it_has_gone() -> anyhow::Result<()> {
    let mut world = World::start("proxied", RULES)?;
    let answers = world.call(20, "somebody")?;
    ensure!(answers.of("v1") == 20, "{answers:?}");
    world.goes("redirected")?;
    // The other family, from an application that speaks only that.
    let mut six = Client::start(&world.bed.node.place(), &VIP6.to_string(), None)?;
    let answers = six.call(&calls(20, "tester"))?;
    ensure!(answers.of("v2") == 20, "{answers:?}");
    // Killed, it takes no new connection with it: nobody told the agent but the kernel.
    let (pid, ..) = world.envoy()?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    world.goes("bypassed")?;
    let answers = world.call(20, "tester")?;
    let (v1, v2) = (answers.of("v1"), answers.of("v2"));
    ensure!(v1 == 20 && v2 == 0, "not by the rule for connections: {answers:?}");
    let status = world.bed.node.status()?;
    let warnings = status.get("warnings").context("no warnings")?.to_string();
    ensure!(warnings.contains("what is said about requests has no effect"), "{warnings}");
    // The agent starts it again.
    world.redirected()?;
    let (again, ..) = world.envoy()?;
    ensure!(again != pid, "the same process");
    let metrics = world.bed.node.metrics()?;
    metrics.expect("mesh_agent_proxy_restarts_total", &[], 1).map_err(anyhow::Error::msg)
}

/// As pods are: each in a network namespace of its own, where the loopback is another place.
#[test]
fn applications_in_namespaces_of_their_own_reach_it_at_an_address_of_the_node() -> anyhow::Result<()>
{
    let netns = testbed::namespace("pods")?;
    netns.ip(&["addr add 169.254.77.1/32 dev lo", "addr add fd4d::1/128 dev lo nodad"])?;
    let pod = NetNs::create("pod")?;
    pod.pair(("eth0", "10.88.0.2/24"), &netns, ("pod0", "10.88.0.1/24"))?;
    pod.ip(&["route add default via 10.88.0.1"])?;
    netns.ip(&["addr add fd88::1/64 dev pod0 nodad"])?;
    pod.ip(&["addr add fd88::2/64 dev eth0 nodad", "route add default via fd88::1"])?;
    let control = ControlPlane::start_with(&netns, &["--proxy-address", "169.254.77.1,fd4d::1"])?;
    let mut world = World::start_with("pods", RULES, Arc::clone(&netns), control)?;
    world.goes("redirected")?;
    let place = Place::in_netns(&pod).and_cgroup(world.bed.node.cgroup());
    for vip in [VIP.into(), SocketAddr::from(VIP6)] {
        let mut client = Client::start(&place, &vip.to_string(), None)?;
        let answers = client.call(&calls(20, "tester"))?;
        ensure!(answers.of("v2") == 20, "{vip}: {answers:?}");
    }
    // Where the node has no such address, its own namespace is served all the same.
    netns.ip(&["addr del 169.254.77.1/32 dev lo"])?;
    eventually(|| {
        let dump = world.bed.node.dump().map_err(|error| error.to_string())?;
        if dump.contains(" 127.0.0.1:2") { Ok(()) } else { Err(dump) }
    })?;
    world.redirected()
}

#[test]
fn a_service_that_wants_it_refuses_without_envoy() -> anyhow::Result<()> {
    let mut world = World::start("norefuse", &format!("onNoProxy: Refuse\n  {RULES}"))?;
    let (pid, _, cgroup) = world.envoy()?;
    world.bed.node.stop()?;
    world.bed.node.set_flags(&SMALL);
    world.bed.node.run()?;
    world.bed.node.wait_ready()?;
    world.goes("refused")?;
    let answers = world.call(5, "tester")?;
    ensure!(answers.failed.get("UNAVAILABLE") == Some(&5), "{answers:?}");
    // An agent that is to run none ends the one of the agent before it.
    eventually(|| {
        let gone = !runs(pid) && !cgroup.exists();
        if gone { Ok(()) } else { Err(format!("{pid} goes on{}", world.bed.node.tail())) }
    })
}

#[test]
fn no_call_fails_while_agent_and_envoy_are_replaced() -> anyhow::Result<()> {
    let mut world = World::start("replaced", RULES)?;
    let before = world.envoy()?;
    // The agent dies, and its successor goes on with the same Envoy.
    world.unharmed(|bed| bed.node.replace())?;
    ensure!(world.envoy()? == before, "another Envoy");
    // Another way to run it: a second one takes over.
    let program = envoy()?;
    let program = program.to_str().context("not UTF-8")?;
    let flags = [&SMALL[..], &["--envoy", program, "--envoy-memory", "512"]].concat();
    world.unharmed(|bed| {
        bed.node.stop()?;
        bed.node.set_flags(&flags);
        bed.node.run()?;
        bed.node.wait_ready()
    })?;
    let (pid, epoch, cgroup) = world.envoy()?;
    ensure!(pid != before.0 && epoch == 1, "{pid} {epoch}");
    let answers = world.call(100, "tester")?;
    ensure!(answers.of("v2") == 100, "{answers:?}");
    world.bed.node.uninstall()?;
    ensure!(!cgroup.exists(), "its cgroup is left");
    ensure!(!runs(pid) && !runs(before.0), "{pid} or {} is left", before.0);
    Ok(())
}
