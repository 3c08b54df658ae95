//! Five hundred services in ten namespaces, with an agent that has them all in its kernel and clients
//! that connect to each: the page draws them, and one is found.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::time::Instant;

use anyhow::Context as _;
use mesh_tests::backend::Backends;
use mesh_tests::browser::{Browser, Key};
use mesh_tests::load::Mode;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, Testbed, backend};
use mesh_tests::traffic::{Flows, Traffic};
use mesh_tests::{control, ui};

use crate::{is_live, shows, there};

const TEAMS: u16 = 10;
const EACH: u16 = 50;
const ALL: u16 = TEAMS * EACH;
const SERVERS: u16 = 20;

/// Notes when all services are drawn, and what kept the page busy for more than 50 ms.
const WATCH: &str = "
window.watched = {drawn: null, longest: 0, busy: 0};
new PerformanceObserver((list) => {
  for (const {duration} of list.getEntries()) {
    watched.longest = Math.max(watched.longest, duration);
    watched.busy += duration;
  }
}).observe({type: 'longtask', buffered: true});
const look = () => {
  const drawn = document.querySelectorAll('#graph [data-service]').length >= 500;
  if (drawn) watched.drawn = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);";

const fn vip(n: u16) -> SocketAddrV4 {
    let [high, low] = n.to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(10, 97, high, low), 80)
}

/// Each team has a service that calls all others of its team and the first of the next.
fn manifest(workload: impl Fn(u16) -> String) -> String {
    let mut text = String::new();
    for n in 0..ALL {
        let (team, own) = (n / EACH, n % EACH);
        let head = format!("namespace: team-{team}, name: svc-{n:03}");
        let ip = backend(u8::try_from(n % SERVERS).unwrap_or_default());
        let vip = vip(n).ip().to_owned();
        let runs = if own == 0 { workload(team) } else { format!("svc-{n:03}") };
        // Writing to a string cannot fail.
        write!(
            text,
            "---\n{{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {{{head}}},\n \
             spec: {{vips: [{vip}], ports: [{{name: main, port: 80, targetPort: {PORT}}}]}}}}\n\
             ---\n{{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {{{head}}},\n \
             spec: {{service: svc-{n:03}, version: v1, address: {ip}, workload: \"{runs}\"}}}}\n"
        )
        .ok();
    }
    text
}

#[test]
fn five_hundred_services_are_drawn_and_one_is_found() -> anyhow::Result<()> {
    let flags = ["--max-services", "1024", "--max-backends", "2048", "--max-slots", "8192"];
    let bed = Testbed::start_with("many", &flags)?;
    let workload = |team: u16| bed.node.workload(&format!("team-{team}"));
    let servers =
        (0..SERVERS).map(|n| u8::try_from(n).map(backend)).collect::<Result<Vec<_>, _>>()?;
    let servers: Vec<_> =
        servers.into_iter().map(|ip| ("it", SocketAddrV4::new(ip, PORT))).collect();
    let _servers = Backends::start(&Place::in_netns(&bed.netns), Mode::Ping, &servers)?;
    bed.meshctl.apply_text(&manifest(workload))?;
    // What runs in a cgroup that is gone has no name.
    let mut clients = Vec::new();
    for team in 0..TEAMS {
        let cgroup = bed.node.cgroup().child(&format!("team-{team}"))?;
        let place = Place::in_netns(&bed.netns).and_cgroup(&cgroup);
        let own = (1..=EACH).map(|n| SocketAddr::from(vip((team * EACH + n) % ALL)));
        let flows = Flows {
            targets: own.collect(),
            flows: NonZeroU32::new(EACH.into()).context("none")?,
            ..Flows::to(vip(0), Mode::Ping)
        };
        for round in 0..2 {
            let outcome = Traffic::run_flows(&place, &flows, 1 + round)?;
            assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
        }
        clients.push(cgroup);
    }

    let browser = Browser::start(&bed.netns, control::HTTP)?;
    browser.before_pages(WATCH)?;
    let start = Instant::now();
    browser.open("/")?;
    is_live(&browser)?;
    browser.until("500 services", "return watched.drawn", &[])?;
    let all = start.elapsed();
    assert_eq!(browser.count("#service-list [data-service]")?, u64::from(ALL));
    assert_eq!(browser.count("#graph [data-service]")?, u64::from(ALL));
    browser.until(
        "an edge to each",
        "return new Set([...document.querySelectorAll('#graph .edge')].map((it) => it.dataset.to)).size === 500",
        &[],
    )?;
    browser.screenshot("many-graph")?;

    // The filter narrows as it is typed.
    browser.text("/")?;
    browser.text("team-7/")?;
    browser.wait("a team", || {
        Ok((browser.count("#service-list [data-service]")? == u64::from(EACH)).then_some(()))
    })?;
    browser.screenshot("many-team")?;
    browser.text("svc-371")?;
    browser.wait("one service", || {
        Ok((browser.count("#service-list [data-service]")? == 1).then_some(()))
    })?;
    browser.key(Key::Tab)?;
    browser.click("#graph [data-service='team-7/svc-371']")?;
    shows(&browser, "closed", 2)?;
    shows(&browser, "opened", 2)?;
    there(&browser, "#callers a[href='#/services/team-7/svc-350']")?;
    browser.screenshot("many-service")?;
    browser.click("#nav [data-page=services]")?;
    browser.wait("all in a table", || {
        Ok((browser.count("#services [data-service]")? == u64::from(ALL)).then_some(()))
    })?;
    browser.screenshot("many-services")?;
    browser.click("#nav [data-page=graph]")?;
    there(&browser, "#graph [data-service='team-0/svc-000']")?;
    let watched = browser.script("return watched", &[])?;
    let (heap, processes) = browser.memory()?;
    ui::say(format!(
        "page with {ALL} services: drawn {:.0} ms after its start ({} ms for the test), longest task \
         {:.0} ms, busy {:.0} ms in all; {} MiB of objects, {} MiB all of the browser",
        watched["drawn"].as_f64().unwrap_or_default(),
        all.as_millis(),
        watched["longest"].as_f64().unwrap_or_default(),
        watched["busy"].as_f64().unwrap_or_default(),
        heap >> 20,
        processes >> 20,
    ));
    browser.audit()
}
