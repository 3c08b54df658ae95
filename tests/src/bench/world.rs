//! The worlds of the benchmarks: thousands of services with ten backends each, loaded over the
//! control plane's API. All backends are one server that listens on every address.

use std::net::{Ipv4Addr, SocketAddrV4};

use mesh_api::wire::Object;

use super::api;
use crate::testbed::PORT;

/// Backends of a service.
pub(super) const BACKENDS: u32 = 10;
/// Port of the server that keeps connections.
pub(super) const ECHO_PORT: u16 = 8081;
/// Most services of a world: beyond it begins what every world has besides.
pub(super) const MOST: u32 = 60_000;

/// First virtual address; the others follow.
const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// First backend address; the others follow.
const FIRST_BACKEND: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 0);

pub(super) fn vip(service: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from(FIRST_VIP) + service), 80)
}

/// Address of backend `n`, counted over all services.
pub(super) fn backend(n: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from(FIRST_BACKEND) + n), PORT)
}

/// A service beside the many: its own number of backends, its own port, or guards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Special {
    number: u32,
    pub(super) backends: u32,
    port: u16,
}

impl Special {
    /// Leads to the server that keeps connections.
    pub(super) const ECHO: Self = Self { number: 0, backends: BACKENDS, port: ECHO_PORT };
    /// A service with one backend.
    pub(super) const ONE: Self = Self { number: 1, backends: 1, port: PORT };
    /// A service with a thousand backends.
    pub(super) const MANY: Self = Self { number: 2, backends: 1_000, port: PORT };

    /// Like the many, but with limits, breakers and outlier detection.
    pub(super) const GUARDED: Self = Self { number: 3, backends: BACKENDS, port: PORT };

    pub(super) fn vip(self) -> SocketAddrV4 {
        vip(MOST + self.number)
    }

    /// Where backend `n` listens.
    pub(super) fn backend(self, n: u32) -> SocketAddrV4 {
        SocketAddrV4::new(*backend((MOST + self.number * 100) * BACKENDS + n).ip(), self.port)
    }

    pub(super) fn objects(self) -> impl Iterator<Item = Object> {
        let name = format!("special{}", self.number);
        let service = api::service(&name, self.vip(), self.port);
        let guards = (self.number == Self::GUARDED.number).then(|| api::guards(&name));
        let endpoints = (0..self.backends)
            .map(move |n| api::endpoint(&name, &format!("{name}-{n}"), *self.backend(n).ip(), 1));
        std::iter::once(service).chain(endpoints).chain(guards)
    }
}

/// Every service and every endpoint.
pub(super) fn objects(services: u32) -> impl Iterator<Item = Object> {
    let heads = (0..services).map(|n| api::service(&format!("s{n}"), vip(n), PORT));
    heads.chain((0..services * BACKENDS).map(|n| endpoint(n, 1)))
}

/// Endpoint `n`, counted over all services.
pub(super) fn endpoint(n: u32, weight: u32) -> Object {
    api::endpoint(&format!("s{}", n / BACKENDS), &endpoint_name(n), *backend(n).ip(), weight)
}

pub(super) fn endpoint_name(n: u32) -> String {
    format!("s{}-{}", n / BACKENDS, n % BACKENDS)
}

/// Flags of `mesh-agent run` that give the world room, and changes beside it.
pub(super) fn agent_flags(services: u32) -> Vec<String> {
    let backends = services * BACKENDS;
    let room = |flag: &str, entries: u32| [flag.to_owned(), entries.to_string()];
    [
        room("--max-services", services.next_power_of_two().max(1024) * 2),
        room("--max-backends", backends.next_power_of_two().max(4096) * 2),
        room("--max-slots", backends.next_power_of_two().max(4096) * 4),
    ]
    .concat()
}
