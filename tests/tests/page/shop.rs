//! A small shop: five services, a control plane, an agent, and clients that are the services' own
//! workloads. Everything is real, and every connection is counted by who makes it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use mesh_tests::backend::Backends;
use mesh_tests::browser::Browser;
use mesh_tests::cgroup::Cgroup;
use mesh_tests::control;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, SMALL, Testbed, backend};
use mesh_tests::traffic::{Outcome, Plan, Traffic};

pub(crate) const SERVICES: [&str; 5] = ["front", "cart", "catalog", "pay", "db"];
/// Who connects to whom. `people` are no service.
pub(crate) const WAYS: [(&str, &str); 6] = [
    ("people", "front"),
    ("front", "cart"),
    ("front", "catalog"),
    ("cart", "pay"),
    ("cart", "db"),
    ("catalog", "db"),
];

/// What the clients of a service have counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counted {
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Fields drop in order.
pub(crate) struct Shop {
    pub(crate) browser: Browser,
    pub(crate) counted: BTreeMap<&'static str, Counted>,
    /// By name of the workload.
    clients: BTreeMap<&'static str, Cgroup>,
    _servers: Backends,
    pub(crate) bed: Testbed,
}

/// A service's address.
pub(crate) fn vip(service: &str) -> SocketAddrV4 {
    let number = SERVICES.iter().position(|it| *it == service).unwrap_or_default();
    let last = u8::try_from(number).unwrap_or_default() + 10;
    SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, last), 80)
}

impl Shop {
    pub(crate) fn start(what: &str) -> anyhow::Result<Self> {
        let flags = [&SMALL[..], &["--report-interval", "500ms"]].concat();
        let bed = Testbed::start_with(what, &flags)?;
        let mut clients = BTreeMap::new();
        let mut manifest = Manifest::new();
        for (number, name) in (0..).zip(SERVICES) {
            let workload = format!("  workload: \"{}\"\n", bed.node.workload(name));
            manifest = manifest
                .service(name, vip(name), PORT)
                .endpoint_with(name, &format!("{name}-1"), "v1", backend(number), &workload)
                .endpoint_with(name, &format!("{name}-2"), "v2", backend(number + 100), &workload);
        }
        for (name, _) in WAYS {
            if !clients.contains_key(name) {
                clients.insert(name, bed.node.cgroup().child(name)?);
            }
        }
        // One of the two of `pay` is not there.
        let addresses = (0..5).chain([100, 101, 102, 104]);
        let names: Vec<_> =
            addresses.map(|n| (n.to_string(), SocketAddrV4::new(backend(n), PORT))).collect();
        let servers: Vec<_> = names.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        let servers = Backends::start(&Place::in_netns(&bed.netns), Mode::Request, &servers)?;
        bed.meshctl.apply(&manifest)?;
        let browser = Browser::start(&bed.netns, control::HTTP)?;
        let counted = SERVICES.map(|name| (name, Counted::default())).into();
        Ok(Self { browser, counted, clients, _servers: servers, bed })
    }

    /// The place of a workload.
    pub(crate) fn place(&self, workload: &str) -> anyhow::Result<Place> {
        let cgroup = self.clients.get(workload).context("no such workload")?;
        Ok(Place::in_netns(&self.bed.netns).and_cgroup(cgroup))
    }

    /// Makes connections and counts them.
    pub(crate) fn connect(
        &mut self,
        from: &str,
        to: &'static str,
        count: u64,
    ) -> anyhow::Result<()> {
        let outcome = Traffic::run(&self.place(from)?, Plan::to(vip(to), Mode::Request), count)?;
        self.note(to, &outcome);
        Ok(())
    }

    /// Counts connections that were made.
    pub(crate) fn note(&mut self, to: &'static str, outcome: &Outcome) {
        let counted = self.counted.entry(to).or_default();
        counted.failed += outcome.failed();
        counted.opened += outcome.total() - outcome.failed();
        counted.sent += outcome.sent;
        counted.received += outcome.received;
    }

    /// Some connections on every way.
    pub(crate) fn trade(&mut self) -> anyhow::Result<()> {
        for (count, (from, to)) in (10..).step_by(7).zip(WAYS) {
            self.connect(from, to, count)?;
        }
        Ok(())
    }
}
