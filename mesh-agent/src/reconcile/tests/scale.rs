//! What a large world costs, in time and memory: prints that, and checks what does not depend on
//! the machine: `MESH_SERVICES=10000 cargo test --release -p mesh-agent --lib scale -- --nocapture`.

use std::net::Ipv4Addr;
use std::time::Instant;

use mesh_api::model::{Endpoint, Service};

use super::*;
use crate::testing::label;

/// How many services, unless `MESH_SERVICES` says so.
const SERVICES: u32 = 500;
pub(super) const ENDPOINTS: u32 = 10;
pub(super) const LARGE: Limits =
    Limits { frontends: 65_536, services: 32_768, slots: 524_288, backends: 262_144 };

pub(super) fn nth_service(n: u32) -> Service {
    let vips = vec![Ipv4Addr::from(0x0a60_0000 + n).into()];
    Service { vips, ..service(&format!("service-{n}"), &[], &[80]) }
}

pub(super) fn nth_endpoint(service: u32, n: u32, weight: u32) -> Endpoint {
    let at = service * ENDPOINTS + n;
    Endpoint {
        name: name(&format!("service-{service}-endpoint-{n}")),
        address: Ipv4Addr::from(0x0b00_0000 + at).into(),
        node: Some(label(&format!("node-{}", at % 50))),
        workload: Some(label(&format!("service-{service}-7d4b9c-{n}"))),
        ..endpoint(&format!("service-{service}"), "v1", 1, weight)
    }
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn scale() {
    let services = std::env::var("MESH_SERVICES").ok().and_then(|number| number.parse().ok());
    let services = services.unwrap_or(SERVICES);
    let before = resident_kib();
    let mut reconciler = opened_over(MemoryMaps::new(LARGE));
    let started = Instant::now();
    for at in 0..services {
        reconciler.change([put(nth_service(at))]);
        reconciler.change((0..ENDPOINTS).map(|n| put(nth_endpoint(at, n, 1))));
    }
    let world = started.elapsed();
    let with_world = resident_kib();
    let started = Instant::now();
    let writes = reconciler.install(1).unwrap().writes;
    let full = started.elapsed();
    assert_eq!(reconciler.report().rejections, []);
    assert_eq!(reconciler.actual().backends.len(), (services * ENDPOINTS) as usize);
    reconciler.retire(NOW).unwrap();
    let after = resident_kib();
    println!("world {world:?}, full install {full:?} with {writes} writes");
    println!("RSS: world {} KiB, all {} KiB (two images)", with_world - before, after - before);

    let mut times = Vec::new();
    for n in 0..2000 {
        let service = n * 7919 % services;
        let change = if n % 3 == 0 {
            let at = format!("service-{service}-endpoint-{}", n % ENDPOINTS);
            remove(Kind::Endpoint, &at)
        } else {
            put(nth_endpoint(service, n % ENDPOINTS, 2 + n % 5))
        };
        let started = Instant::now();
        reconciler.change([change]);
        let writes = reconciler.install(2 + n).unwrap().writes;
        times.push(started.elapsed());
        assert!(writes < 200, "{writes}");
        if n % 64 == 0 {
            let started = Instant::now();
            reconciler.retire(NOW).unwrap();
            if n % 640 == 0 {
                println!("retire {:?}", started.elapsed());
            }
        }
    }
    times.sort_unstable();
    println!("one change: p50 {:?} p99 {:?} max {:?}", times[1000], times[1980], times[1999]);
    println!("RSS after the changes {} KiB", resident_kib() - before);

    let maps = reconciler.maps().clone();
    drop(reconciler);
    let started = Instant::now();
    let restarted = opened_over(maps);
    println!("open over full maps {:?}", started.elapsed());
    drop(restarted);
}
