//! What no program saw end is found by the agent and taken out of the counts; what is alive is
//! left alone.

use std::fs;
use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mesh_agent::maps::MapStore as _;
use mesh_agent::maps::guards::{GuardStore as _, Word, change};
use mesh_agent::maps::kernel::KernelMaps;
use mesh_agent::maps::kernel::words::KernelGuards;
use mesh_common::backend::BackendIndex;
use mesh_common::names;
use mesh_common::service::{ServiceFlags, ServiceIndex};
use mesh_tests::bpftool;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Flows, Traffic, probe};
use mesh_tests::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than two looks and the age before which no socket is looked for.
const REPAIR: Duration = Duration::from_mins(1);
const LOST: u32 = 4;
const LIMIT: u32 = LOST + 1;
const EHOSTUNREACH: i64 = 113;

fn bed(what: &str) -> anyhow::Result<Testbed> {
    let bed = Testbed::start(what)?;
    let config = format!(
        "  loadBalancer: {{policy: LeastConnections}}\n  \
           circuitBreaker: {{maxConnections: {LIMIT}, perEndpoint: {{maxConnections: {LIMIT}}}}}\n"
    );
    let manifest = Manifest::new()
        .service("web", VIP, PORT)
        .endpoint("web", "one", "v1", backend(0))
        .config("web", &config);
    bed.meshctl.apply(&manifest)?;
    Ok(bed)
}

/// Connections that stay open and are used.
fn hold(bed: &Testbed, count: u32) -> anyhow::Result<Traffic> {
    let flows = NonZeroU32::new(count).context("none")?;
    let flows = Flows { flows, ..Flows::to(VIP, Mode::Ping) };
    let traffic = Traffic::flows(&bed.node.place(), &flows)?;
    traffic.wait_for(u64::from(count) * 3, PATIENCE)?;
    Ok(traffic)
}

/// Index of the only guarded service, and of its only backend.
fn indices(bed: &Testbed) -> anyhow::Result<(ServiceIndex, BackendIndex)> {
    let image = KernelMaps::open(bed.node.pins())?.read()?;
    let mut services = image.services.iter();
    let guarded = services.find(|(_, head)| head.flags.contains(ServiceFlags::GUARDED));
    let (service, _) = guarded.context("no guarded service")?;
    let mut backends = image.backends.iter();
    let (backend, _) = backends.find(|(_, it)| it.service == service).context("no backend")?;
    Ok((service, backend))
}

fn wait(what: &str, bed: &Testbed, name: &str, value: f64) -> anyhow::Result<()> {
    let deadline = Instant::now() + REPAIR;
    loop {
        let found = bed.node.metrics()?.sum(name, &[]);
        if (found - value).abs() < 0.5 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{what}: {name} is {found}, not {value}\n{}{}",
                bed.node.dump()?,
                bed.node.tail()
            );
        }
        thread::sleep(Duration::from_millis(100));
    }
}

const CONNECTIONS: &str = "mesh_agent_guard_connections";
const LEAKED: &str = "mesh_agent_leaked_connections_total";

#[test]
fn connections_that_end_while_no_program_is_attached_are_taken_out() -> anyhow::Result<()> {
    let mut bed = bed("leak")?;
    let _servers = bed.serve(Mode::Ping, &["v1"])?;
    let (service, backend) = indices(&bed)?;
    let words = KernelGuards::open(bed.node.pins())?;
    let alive = hold(&bed, 1)?;
    let lost = hold(&bed, LOST)?;
    wait("all open", &bed, CONNECTIONS, f64::from(LIMIT))?;
    assert_eq!(words.read(Word::Active(backend)), u64::from(LIMIT));

    bed.node.kill()?;
    for program in [names::SOCKOPS, names::SOCK_RELEASE] {
        fs::remove_file(bed.node.pins().join("links").join(program))?;
    }
    // The kernel ends a link a moment after its last name has gone.
    eventually(|| {
        let cgroup = bed.node.cgroup().path().to_string_lossy();
        let shown = bpftool::call(&["cgroup", "show", &cgroup]).map_err(|it| it.to_string())?;
        // Which shows 15 characters of a name.
        if shown.contains("mesh_sock") { Err(shown) } else { Ok(()) }
    })?;
    lost.stop()?;
    assert_eq!(words.read(Word::ServiceLoad(service)), u64::from(LIMIT), "nobody saw them end");
    let refused = probe(&bed.node.place(), VIP, Mode::Ping)?;
    assert_eq!(refused["errno"], EHOSTUNREACH, "{refused}");
    bed.node.run()?;
    bed.node.wait_ready()?;

    wait("records taken back", &bed, LEAKED, f64::from(LOST))?;
    wait("the live one is left", &bed, CONNECTIONS, 1.0)?;
    assert_eq!(words.read(Word::BackendLoad(backend)), 1);
    assert_eq!(words.read(Word::Active(backend)), 1);
    // What was just read is told again for a moment.
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        metrics.expect("mesh_bpf_map_entries", &[("map", names::CONNS)], 1)
    })?;

    let again = hold(&bed, LOST)?;
    let refused = probe(&bed.node.place(), VIP, Mode::Ping)?;
    assert_eq!(refused["errno"], EHOSTUNREACH, "{refused}");
    assert_eq!(again.stop()?.failed(), 0);
    assert_eq!(alive.stop()?.failed(), 0);
    wait("all closed", &bed, CONNECTIONS, 0.0)?;
    assert_eq!(words.read(Word::BackendLoad(backend)), 0);
    assert_eq!(words.read(Word::Active(backend)), 0);
    let repairs = bed.node.metrics()?.sum("mesh_agent_guard_repairs_total", &[]);
    assert!((repairs - f64::from(LOST)).abs() < 0.5, "{repairs} repairs");
    Ok(())
}

#[test]
fn counts_that_no_connection_stands_for_are_put_right() -> anyhow::Result<()> {
    let bed = bed("surplus")?;
    let _servers = bed.serve(Mode::Ping, &["v1"])?;
    let (service, backend) = indices(&bed)?;
    let words = KernelGuards::open(bed.node.pins())?;
    let alive = hold(&bed, 2)?;
    for (word, more) in [
        // Three connections, two of which are being made; one; and an ejected backend.
        (Word::ServiceLoad(service), 3 | 2 << 32),
        (Word::BackendLoad(backend), 1),
        (Word::Ejected(service), 1),
    ] {
        change(&words, word, |it| Some(it + more)).context("changed by others all the time")?;
    }
    wait("put right", &bed, "mesh_agent_guard_repairs_total", 3.0)?;
    assert_eq!(words.read(Word::ServiceLoad(service)), 2);
    assert_eq!(words.read(Word::BackendLoad(backend)), 2);
    assert_eq!(words.read(Word::Ejected(service)), 0);
    let log = fs::read_to_string(bed.node.scratch().join("log"))?;
    assert!(log.contains("2 (0 pending) connections are there, but 5 (2 pending) were"), "{log}");
    assert_eq!(alive.stop()?.failed(), 0);
    wait("all closed", &bed, CONNECTIONS, 0.0)
}
