//! The legs of the torture, and the world in which they run.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mesh_common::counter::BackendCounters;
use serde_json::Value;

use super::Report;
use crate::accel::{Bed, Route, sent_segments};
use crate::bins;
use crate::netns::{FAR, NetNs};
use crate::process::Process;
use crate::require;
use crate::testbed::mapped;
use crate::wait::eventually;

/// What the connections of a leg have in common.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    pub(super) name: &'static str,
    /// Of a hundred connections.
    percent: u64,
    /// The server is in another network namespace.
    apart: bool,
    pub(super) family: Family,
    /// The service is accelerated.
    pub(super) accelerated: bool,
    /// Acceleration of the node goes off and on all the time.
    pub(super) switched: bool,
    /// Both ends block.
    pub(super) blocking: bool,
}

/// What the client's socket and the service's address are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    V4,
    V6,
    /// An IPv6 socket that connects to an IPv4 address.
    Mapped,
}

const PLAIN: Leg = Leg {
    name: "one namespace",
    percent: 30,
    apart: false,
    family: Family::V4,
    accelerated: true,
    switched: false,
    blocking: false,
};

pub(super) const LEGS: [Leg; 9] = [
    PLAIN,
    Leg { name: "two namespaces", apart: true, ..PLAIN },
    Leg { name: "IPv6, one namespace", percent: 10, family: Family::V6, ..PLAIN },
    Leg { name: "IPv6, two namespaces", percent: 10, family: Family::V6, apart: true, ..PLAIN },
    Leg { name: "IPv4-mapped", percent: 5, family: Family::Mapped, ..PLAIN },
    Leg { name: "one namespace, switched", percent: 10, switched: true, ..PLAIN },
    Leg { name: "two namespaces, switched", percent: 10, apart: true, switched: true, ..PLAIN },
    Leg { name: "not accelerated", percent: 5, accelerated: false, ..PLAIN },
    Leg {
        name: "blocking, not accelerated",
        percent: 2,
        accelerated: false,
        blocking: true,
        ..PLAIN
    },
];

/// Addresses of services, and of the server in the other network namespace.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 1);
const APART6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 2);
/// How long acceleration stays as it is where it is switched.
const SWITCH: Duration = Duration::from_millis(10);
/// Longest time of a leg.
const PATIENCE: Duration = Duration::from_mins(5);
/// Bytes that a program that blocks can send before it reads.
const MOST_BLOCKING: u64 = 1 << 20;

impl Leg {
    /// Whether this kernel can do it.
    pub(super) fn is_possible(&self) -> bool {
        self.family == Family::V4 || require::ipv6()
    }

    /// What the client connects to.
    fn target(&self, route: &Route<SocketAddr>) -> String {
        let target = if self.family == Family::Mapped { mapped(route.vip) } else { route.vip };
        target.to_string()
    }
}

/// Two namespaces and the bed. Fields drop in order.
#[derive(Debug)]
pub(super) struct World {
    bed: Bed,
    client: NetNs,
    server: NetNs,
    routes: u32,
}

impl World {
    pub(super) fn start() -> anyhow::Result<Self> {
        let bed = Bed::start("accel")?;
        let (client, server) = (NetNs::create("accel-client")?, NetNs::create("accel-server")?);
        client.connect(&server)?;
        if require::ipv6() {
            client.ip(&["addr add fd78::1/64 dev up0 nodad"])?;
            server.ip(&["addr add fd78::2/64 dev down0 nodad"])?;
        }
        Ok(Self { bed, client, server, routes: 0 })
    }

    /// A service of its own, for counters of its own.
    fn route(&mut self, leg: &Leg) -> anyhow::Result<Route<SocketAddr>> {
        self.routes += 1;
        let number = self.routes;
        let (vip, backend): (IpAddr, IpAddr) = match (leg.family, leg.apart) {
            (Family::V6, false) => (VIP6.into(), Ipv6Addr::LOCALHOST.into()),
            (Family::V6, true) => (VIP6.into(), APART6.into()),
            (Family::V4 | Family::Mapped, false) => (VIP.into(), Ipv4Addr::LOCALHOST.into()),
            (Family::V4 | Family::Mapped, true) => (VIP.into(), FAR.into()),
        };
        let port = u16::try_from(number)?;
        let (vip, backend) = (SocketAddr::new(vip, port), SocketAddr::new(backend, 7000 + port));
        let route = Route { number, vip, backend, accelerated: leg.accelerated };
        self.bed.route(&route)?;
        Ok(route)
    }

    pub(super) fn run(
        &mut self,
        leg: &Leg,
        connections: u64,
        largest: u64,
        seed: u64,
    ) -> anyhow::Result<Report> {
        let connections = (connections * leg.percent / 100).max(1);
        let (whole, cut) = (self.route(leg)?, self.route(leg)?);
        let mut command = Command::new(bins::helper("mesh-load")?);
        command
            .arg("stress")
            .args(["--seed", &seed.to_string()])
            .args(["--connections", &connections.to_string()])
            .args(["--target", &leg.target(&whole), "--cut-target", &leg.target(&cut)])
            .args([
                "--listen",
                &whole.backend.to_string(),
                "--cut-listen",
                &cut.backend.to_string(),
            ])
            .arg("--pins")
            .arg(self.bed.pins());
        if leg.apart {
            command.arg("--server-netns").arg(self.server.path());
        }
        let largest = if leg.blocking {
            command.arg("--blocking");
            largest.min(MOST_BLOCKING)
        } else {
            largest
        };
        command.args(["--largest", &largest.to_string()]).stdin(Stdio::null());
        command.stdout(Stdio::piped());
        if leg.switched {
            // Few at a time, so that they begin and end between any two switches.
            command.args(["--concurrency", "8"]);
        }
        let segments = sent_segments(&self.client)?;
        let start = Instant::now();
        let process = Process::spawn("stress", command, &self.bed.place(&self.client), None)?;
        let figures = self.wait(leg, &process);
        self.bed.accelerate(true)?;
        let figures = figures.with_context(|| leg.name)?;
        let took = start.elapsed();
        let segments = sent_segments(&self.client)? - segments;
        let counted = self.counters(&whole, &figures, leg)?;
        Ok(Report { leg: *leg, wanted: connections, took, segments, figures, counted })
    }

    fn wait(&mut self, leg: &Leg, process: &Process) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        let mut on = true;
        let status = loop {
            if let Some(status) = process.status()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("still runs after {PATIENCE:?}");
            }
            thread::sleep(SWITCH);
            if leg.switched {
                on = !on;
                self.bed.accelerate(on)?;
            }
        };
        ensure!(status.success(), "ended with {status} (its reason is above)");
        let mut text = String::new();
        let stdout = process.with_child(|child| child.stdout.take()).context("no output")?;
        { stdout }.read_to_string(&mut text)?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// What the programs counted, once that is all, or time is up.
    fn counters(
        &self,
        route: &Route<SocketAddr>,
        figures: &Value,
        leg: &Leg,
    ) -> anyhow::Result<BackendCounters> {
        let mut counted = self.bed.counters(route.number)?;
        if leg.blocking {
            return Ok(counted);
        }
        // The report says whether they came to the same.
        drop(eventually(|| {
            counted = self.bed.counters(route.number).map_err(|error| error.to_string())?;
            let same = counted.opened == counted.closed && Report::counted_right(figures, &counted);
            if same { Ok(()) } else { Err(String::new()) }
        }));
        Ok(counted)
    }
}
