//! The ways from a client to the server that are compared.

use std::fmt;

use crate::bench::lan::Lan;
use crate::bench::mesh::Mesh;
use crate::bench::peers::Peer;
use crate::bench::rounds::{Programs, Variant, Walk};
use crate::bench::world::{self, Special};
use crate::process::Place;

/// A way, as the table names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Direct,
    /// The noise floor.
    DirectAgain,
    Empty,
    FloorHit,
    /// Hits spread over all services.
    FloorAll,
    FloorMiss,
    /// By number of services.
    MeshHit(u32),
    /// Hits spread over all services, where there are most.
    MeshAll,
    /// By number of services.
    MeshMiss(u32),
    /// A hit on a service with so many backends, among most services.
    MeshBackends(u32),
    /// A hit on a service with limits, breakers and outlier detection, among most services.
    MeshGuarded,
    Peer(String),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::DirectAgain => f.write_str("direct again (noise floor)"),
            Self::Empty => f.write_str("empty program"),
            Self::FloorHit => f.write_str("smallest program, hit"),
            Self::FloorAll => f.write_str("smallest program, hits on all services"),
            Self::FloorMiss => f.write_str("smallest program, miss"),
            Self::MeshHit(services) => write!(f, "mesh, {services} services, hit"),
            Self::MeshAll => f.write_str("mesh, hits on all services"),
            Self::MeshMiss(services) => write!(f, "mesh, {services} services, miss"),
            Self::MeshBackends(backends) => write!(f, "mesh, service of {backends}, hit"),
            Self::MeshGuarded => f.write_str("mesh, guarded service, hit"),
            Self::Peer(name) => f.write_str(name),
        }
    }
}

/// What is measured of a way: a figure for each round.
#[derive(Clone, Default)]
pub(super) struct Measured {
    /// Nanoseconds of connect+request+close.
    pub(super) ns: Vec<f64>,
    /// The same as a ratio to direct.
    pub(super) ratio: Vec<f64>,
    /// Nanoseconds of a run inside the connect4 hook.
    pub(super) hook_ns: Vec<f64>,
    /// Nanoseconds in all other programs of the way for a whole connection.
    pub(super) others_ns: Vec<f64>,
}

/// One service is what caches love; walking over all of them is what they hate.
const ONE: u32 = 1;

fn start(
    way: Way,
    programs: Programs,
    place: &Place,
    walk: Walk,
) -> anyhow::Result<(Way, Variant)> {
    let variant = Variant::connecting(way.to_string(), programs, place, walk)?;
    Ok((way, variant))
}

fn hit(addresses: u32) -> Walk {
    Walk { first: world::vip(0), addresses }
}

/// Backends' own addresses are not services.
fn miss(services: u32) -> Walk {
    Walk { first: world::backend(0), addresses: services * world::BACKENDS }
}

/// Direct, and the programs that the mesh is measured against.
pub(super) struct Yard {
    pub(super) empty: u32,
    pub(super) floor: u32,
    pub(super) in_empty: Place,
    pub(super) in_floor: Place,
    pub(super) services: u32,
}

impl Yard {
    /// Direct comes first: everything is a ratio to it.
    pub(super) fn variants(&self, outside: &Place) -> anyhow::Result<Vec<(Way, Variant)>> {
        let empty = || Programs::connect4(self.empty);
        let floor = || Programs::connect4(self.floor);
        let miss = miss(self.services);
        Ok(vec![
            start(Way::Direct, Programs::default(), outside, miss)?,
            start(Way::DirectAgain, Programs::default(), outside, miss)?,
            start(Way::Empty, empty(), &self.in_empty, miss)?,
            start(Way::FloorHit, floor(), &self.in_floor, hit(ONE))?,
            start(Way::FloorAll, floor(), &self.in_floor, hit(self.services))?,
            start(Way::FloorMiss, floor(), &self.in_floor, miss)?,
        ])
    }
}

/// The ways through a mesh; all of them only where it is the largest, of `most` services.
pub(super) fn mesh(mesh: &Mesh, outside: &Place, most: u32) -> anyhow::Result<Vec<(Way, Variant)>> {
    let place = mesh.place(outside);
    let services = mesh.services;
    let way = |way, walk| start(way, mesh.programs(), &place, walk);
    let mut ways = vec![
        way(Way::MeshHit(services), hit(ONE))?, // The same addresses whatever the number of services: the table is what differs.
        way(Way::MeshMiss(services), miss(most))?,
    ];
    if services == most {
        ways.push(way(Way::MeshAll, hit(services))?);
        let walk = |special: Special| Walk { first: special.vip(), addresses: ONE };
        for special in [Special::ONE, Special::MANY] {
            ways.push(way(Way::MeshBackends(special.backends), walk(special))?);
        }
        ways.push(way(Way::MeshGuarded, walk(Special::GUARDED))?);
    }
    Ok(ways)
}

/// The way that a peer serves.
pub(super) fn peer(lan: &Lan, peer: &Peer) -> anyhow::Result<(Way, Variant)> {
    start(Way::Peer(peer.name.clone()), Programs::default(), &peer.place(lan), hit(ONE))
}
