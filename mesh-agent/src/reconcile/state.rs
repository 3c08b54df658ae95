//! What the maps hold and whose it is: everything that an update needs to know without looking at
//! the rest of the world. Pure; `Reconciler` brings it together with the maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::{ObjectName, Protocol};
use mesh_common::addr::IpKey;
use mesh_common::backend::BackendIndex;
use mesh_common::frontend::FrontendKey;
use mesh_common::service::{ServiceFlags, ServiceIndex};

use super::guarded::Guarded;
use super::room::{Pool, Ranges};
use super::switch::Switch;
use crate::compile::{Kernel, Limits, UnitKey};
use crate::diff::Forget;
use crate::image::MapImage;
use crate::ledger::Account;
use crate::proxy::course::Courses;
use crate::world::{Member, World};

/// What sends readers to the policy.
const ASK: ServiceFlags = ServiceFlags::GUARDED.and(ServiceFlags::TIMED);

/// A kernel service that the world asks for.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// Frontends that should lead to it.
    pub(super) keys: Vec<FrontendKey>,
    /// Its index, once it has one.
    pub(super) index: Option<ServiceIndex>,
}

/// A service index in use.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Whose it is; nobody's where it is to be freed.
    pub(super) owner: Option<UnitKey>,
    /// Name of the service it has been used for.
    pub(super) name: Option<ObjectName>,
    /// IANA number of its protocol.
    pub(super) protocol: u8,
    /// How long TCP connections to a removed endpoint may go on, as its service said last.
    pub(super) drain_timeout: Option<Duration>,
    /// Frontends that lead there in the maps.
    pub(super) keys: Vec<FrontendKey>,
    /// Its backends in the maps, by address and port.
    pub(super) backends: Vec<BackendIndex>,
}

/// What is wrong with a unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// Why it cannot be programmed.
    pub(super) rejection: Option<String>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

/// What is to be cleared in the maps after a grace period.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    /// Services.
    pub(super) services: BTreeSet<ServiceIndex>,
    /// Policies of services that have none any more.
    pub(super) policies: BTreeSet<ServiceIndex>,
    /// What the programs forget about a service, and about its backends.
    pub(super) forget: BTreeMap<ServiceIndex, (bool, Forget)>,
    /// Ranges of slots, as start and length.
    pub(super) slots: Vec<(u32, u32)>,
    /// Frontends have been deleted.
    pub(super) frontends: bool,
}

/// Free room in the maps.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) limits: Limits,
    pub(super) services: Pool,
    pub(super) backends: Pool,
    pub(super) slots: Ranges,
    /// Something has become free since what did not fit was tried.
    pub(super) freed: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) world: World,
    /// What the maps hold.
    pub(super) actual: MapImage,
    /// What the maps hold beyond the limits: the agent's own.
    pub(super) own: MapImage,
    pub(super) room: Room,
    pub(super) units: BTreeMap<UnitKey, Unit>,
    /// Who wants each frontend.
    pub(super) claims: HashMap<FrontendKey, Vec<UnitKey>>,
    pub(super) held: BTreeMap<ServiceIndex, Holding>,
    /// Service indices without an owner.
    pub(super) unowned: BTreeSet<ServiceIndex>,
    /// The endpoints of backends in use, by backend index.
    pub(super) members: Vec<Option<Arc<Member>>>,
    /// Backends that are kept only for connections that may be under way, and since when that has
    /// been looked at.
    pub(super) leaving: BTreeMap<BackendIndex, Option<Duration>>,
    /// Those of them whose endpoint has gone, and how long TCP connections may go on.
    pub(super) gone: BTreeMap<BackendIndex, Option<Duration>>,
    pub(super) garbage: Garbage,
    /// Backends that outlier detection has ejected.
    pub(super) ejected: BTreeSet<BackendIndex>,
    /// Units to compile again, though the world has not changed.
    pub(super) again: BTreeSet<UnitKey>,
    /// Which services go to the node's Envoy.
    pub(super) courses: Courses,
    /// What timeouts depend on.
    pub(super) kernel: Kernel,
    /// Units that did not fit.
    pub(super) refused: BTreeSet<UnitKey>,
    /// By the service's name, for people.
    pub(super) troubles: BTreeMap<(ObjectName, UnitKey), Trouble>,
    /// All units have to be compiled.
    pub(super) all: bool,
    /// Whose the guards are.
    pub(super) guarded: Guarded,
    /// Who asks for acceleration.
    pub(super) switch: Switch,
}

impl State {
    pub(super) fn new(world: World, actual: MapImage, limits: Limits) -> Self {
        let mut state = Self {
            world,
            room: Room {
                limits,
                services: pool("service ports", "--max-services", limits.services, []),
                backends: pool("backends", "--max-backends", limits.backends, []),
                slots: Ranges::new(limits.slots),
                freed: false,
            },
            actual: MapImage::default(),
            own: MapImage::default(),
            units: BTreeMap::new(),
            claims: HashMap::new(),
            held: BTreeMap::new(),
            unowned: BTreeSet::new(),
            members: Vec::new(),
            leaving: BTreeMap::new(),
            gone: BTreeMap::new(),
            garbage: Garbage::default(),
            ejected: BTreeSet::new(),
            again: BTreeSet::new(),
            courses: Courses::default(),
            kernel: Kernel::default(),
            refused: BTreeSet::new(),
            troubles: BTreeMap::new(),
            all: false,
            guarded: Guarded::default(),
            switch: Switch::default(),
        };
        state.adopt(actual);
        state
    }

    /// Takes the maps as they are: indices are given to units anew, by their frontends.
    pub(super) fn adopt(&mut self, mut actual: MapImage) {
        let Limits { services, slots, backends, .. } = self.room.limits;
        self.own = split_off(&mut actual, self.room.limits);

        let mut held: BTreeMap<ServiceIndex, Holding> = BTreeMap::new();
        let mut ranges = Ranges::new(slots);
        let mut in_tables = Ranges::new(slots);
        for (index, head) in actual.services.iter() {
            held.entry(index).or_default();
            ranges.occupy(head.slot_base, head.slot_count);
            in_tables.occupy(head.slot_base, head.slot_count);
        }
        for (key, index) in &actual.frontends {
            let holding = held.entry(*index).or_default();
            holding.keys.push(*key);
            holding.protocol = key.proto;
        }
        for (index, backend) in actual.backends.iter() {
            held.entry(backend.service).or_default().backends.push(index);
        }
        for (index, holding) in &mut held {
            holding.backends.sort_by_key(|index| target(&actual, *index));
            holding.name = self.held.remove(index).and_then(|before| before.name);
        }
        self.garbage = Garbage { frontends: true, ..Garbage::default() };
        // Those that a head still asks for are found by what the units say.
        let asks = |index: &ServiceIndex| actual.services.at(*index).flags.bits & ASK.bits != 0;
        self.garbage.policies = actual.policies.keys().filter(|index| !asks(index)).collect();
        self.ejected.retain(|index| actual.backends.contains_key(index));
        for (at, _) in actual.slots.iter() {
            if in_tables.contains(at) {
                ranges.occupy(at, 1);
                self.garbage.slots.push((at, 1));
            }
        }
        let used = actual.backends.iter().map(|(index, _)| index.index);
        self.room = Room {
            limits: self.room.limits,
            services: pool(
                "service ports",
                "--max-services",
                services,
                held.keys().map(|index| index.index),
            ),
            backends: pool("backends", "--max-backends", backends, used),
            slots: ranges,
            freed: true,
        };
        self.unowned = held.keys().copied().collect();
        self.held = held;
        self.leaving.clear();
        self.gone.clear();
        for unit in self.units.values_mut() {
            unit.index = None;
        }
        self.switch.adopt(&actual);
        self.actual = actual;
        self.all = true;
        self.touch_all_guarded();
    }

    /// Sets which backends are ejected now; their services are compiled again where that differs.
    pub(super) fn set_ejected(&mut self, ejected: BTreeSet<BackendIndex>) {
        let ejected: BTreeSet<BackendIndex> =
            ejected.into_iter().filter(|it| self.actual.backends.contains_key(it)).collect();
        for index in self.ejected.symmetric_difference(&ejected) {
            let service = self.actual.backends.at(*index).service;
            self.again.extend(self.held.get(&service).and_then(|holding| holding.owner));
        }
        self.ejected = ejected;
    }

    /// Where the ejected backends of a service are.
    pub(super) fn ejected_of(&self, service: ServiceIndex) -> BTreeSet<(IpKey, u16)> {
        let backends = self.held.get(&service).map_or(&[][..], |holding| &holding.backends);
        let ejected = backends.iter().filter(|index| self.ejected.contains(index));
        ejected.map(|index| target(&self.actual, *index)).collect()
    }

    /// The endpoint of a backend in use.
    pub(super) fn member(&self, index: BackendIndex) -> Option<&Arc<Member>> {
        self.members.get(place(index))?.as_ref()
    }

    pub(super) fn is_member(&self, index: BackendIndex, member: &Arc<Member>) -> bool {
        self.member(index).is_some_and(|known| Arc::ptr_eq(known, member))
    }

    pub(super) fn set_member(&mut self, index: BackendIndex, member: Option<Arc<Member>>) {
        if let Some(backend) = self.actual.backends.get(&index) {
            self.guarded.touch(backend.service);
        }
        let at = place(index);
        if at >= self.members.len() && member.is_some() {
            self.members.resize(at + 1, None);
        }
        if let Some(place) = self.members.get_mut(at) {
            *place = member;
        }
    }

    /// Who is counted for a backend in use.
    pub(super) fn account(&self, index: BackendIndex) -> Option<Account> {
        let member = self.member(index)?;
        let service = self.actual.backends.get(&index)?.service;
        let holding = self.held.get(&service)?;
        holding.name.as_ref()?;
        Some(holding.account(member))
    }
}

/// Takes away what lies beyond the limits.
fn split_off(image: &mut MapImage, limits: Limits) -> MapImage {
    let frontends = std::mem::take(&mut image.frontends).into_iter();
    let (own, frontends) = frontends.partition(|(_, at)| at.index >= limits.services);
    image.frontends = frontends;
    MapImage {
        frontends: own,
        services: image.services.split_off(ServiceIndex { index: limits.services }),
        policies: image.policies.split_off(ServiceIndex { index: limits.services }),
        slots: image.slots.split_off(limits.slots),
        backends: image.backends.split_off(BackendIndex { index: limits.backends }),
        accelerating: false,
    }
}

impl Holding {
    /// Who is counted for the connections to one of its endpoints.
    pub(super) fn account(&self, member: &Member) -> Account {
        Account {
            service: self.name.clone(),
            udp: self.protocol == Protocol::Udp.number(),
            version: member.version.clone(),
            workload: member.workload.clone(),
        }
    }
}

/// Where a backend's connections go.
pub(super) fn target(image: &MapImage, index: BackendIndex) -> (IpKey, u16) {
    let backend = image.backends.at(index);
    (backend.addr, backend.port)
}

fn pool(
    what: &'static str,
    flag: &'static str,
    limit: u32,
    used: impl IntoIterator<Item = u32>,
) -> Pool {
    Pool::new(what, flag, limit, used.into_iter())
}

fn place(index: BackendIndex) -> usize {
    usize::try_from(index.index).unwrap_or(usize::MAX)
}
