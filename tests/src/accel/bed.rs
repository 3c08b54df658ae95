//! The bed: the mesh's object, loaded and attached to a cgroup of its own, with services written
//! into its maps as the agent would.

use std::fs::{self, File};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use aya::maps::{Array, HashMap, PerCpuArray, SockHash};
use aya::programs::{CgroupAttachMode, Program};
use aya::{Ebpf, EbpfLoader};
use mesh_agent::accel;
use mesh_agent::bpf::object;
use mesh_common::accel::{AutoKey, SocketKey};
use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::counter::{BackendCounters, ReasonCount};
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::reason::Reason;
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;
use mesh_common::tunables::{TunableFlags, Tunables};
use mesh_common::{ABI_VERSION, names};

use super::Pairs;
use crate::cgroup::Cgroup;
use crate::cleanup::{self, Guard};
use crate::netns::NetNs;
use crate::process::Place;
use crate::require::{self, BPFFS};
use crate::scratch::unique;

/// Room for services, and for their backends.
const MOST: u32 = 64;
/// Protocol number.
const TCP: u8 = 6;

/// A service with one backend on this node, by addresses of one family or of any.
#[derive(Clone, Copy, Debug)]
pub struct Route<A = SocketAddrV4> {
    /// Number of the service and of its backend, from 1.
    pub number: u32,
    /// What clients connect to.
    pub vip: A,
    /// Where they get.
    pub backend: A,
    /// Whether the service asks for acceleration.
    pub accelerated: bool,
}

/// The programs, and what they are attached to. Dropping it takes everything away. Fields drop in
/// order: what is attached before its cgroup.
#[derive(Debug)]
pub struct Bed {
    object: Ebpf,
    pins: PathBuf,
    _unpin: Guard,
    cgroup: Arc<Cgroup>,
}

impl Bed {
    /// Loads and attaches; acceleration is on.
    pub fn start(what: &str) -> anyhow::Result<Self> {
        Self::start_on(Arc::new(Cgroup::create(what)?), what)
    }

    /// Another one on the same cgroup: its programs run after this one's.
    pub fn beside(&self, what: &str) -> anyhow::Result<Self> {
        Self::start_on(Arc::clone(&self.cgroup), what)
    }

    fn start_on(cgroup: Arc<Cgroup>, what: &str) -> anyhow::Result<Self> {
        require::kernel()?;
        let pins = Path::new(BPFFS).join(unique(what));
        let undo = pins.clone();
        let unpin = cleanup::on_exit(move || drop(fs::remove_dir_all(undo)));
        fs::create_dir(&pins).with_context(|| format!("mkdir {}", pins.display()))?;
        let mut bed = Self { object: load()?, pins, _unpin: unpin, cgroup };
        for name in [names::CONNS_INDEX, names::PAIRS] {
            let map = bed.object.map(name).with_context(|| format!("no map {name}"))?;
            map.pin(bed.pins.join(name)).with_context(|| format!("pinning {name}"))?;
        }
        bed.attach()?;
        bed.accelerate(true)?;
        Ok(bed)
    }

    fn attach(&mut self) -> anyhow::Result<()> {
        let sockets: SockHash<_, SocketKey> =
            self.object.map(names::SOCKETS).context("no map of sockets")?.try_into()?;
        let sockets = sockets.fd().try_clone()?;
        let program = self.object.program_mut(names::MESSAGE).context("no program for messages")?;
        let Program::SkMsg(program) = program else { bail!("another type of program") };
        program.load()?;
        program.attach(&sockets)?;
        let cgroup = File::open(self.cgroup.path())?;
        for name in names::PROGRAMS {
            let program = self.object.program_mut(name);
            let program = program.with_context(|| format!("no program {name}"))?;
            attach(program, &cgroup).with_context(|| format!("attaching {name}"))?;
        }
        Ok(())
    }

    /// Writes a service, or writes it again.
    pub fn route(&mut self, route: &Route<impl Copy + Into<SocketAddr>>) -> anyhow::Result<()> {
        let Route { number, vip, backend, accelerated } = *route;
        let (vip, backend) = (vip.into(), backend.into());
        let service = ServiceIndex { index: number };
        let index = BackendIndex { index: number };
        let flags = if accelerated { ServiceFlags::ACCELERATED } else { ServiceFlags::default() };
        let backend = Backend {
            addr: IpKey::from_ip(backend.ip()),
            port: backend.port(),
            flags: BackendFlags::LOCAL,
            service,
            generation: 1,
        };
        let slot = Slot { service, backend: index, alias: index, threshold: u32::MAX };
        let head =
            ServiceHead { slot_base: number, slot_count: 1, flags, ..ServiceHead::default() };
        let key = FrontendKey::new(IpKey::from_ip(vip.ip()), vip.port(), TCP);
        set(&mut self.object, names::BACKENDS, number, backend)?;
        set(&mut self.object, names::SLOTS, number, slot)?;
        set(&mut self.object, names::SERVICES, number, head)?;
        let map = self.object.map_mut(names::FRONTENDS).context("no frontends")?;
        let mut frontends: HashMap<_, FrontendKey, Frontend> = map.try_into()?;
        frontends.insert(key, Frontend { service }, 0)?;
        Ok(())
    }

    /// Has a service accelerate only clients that are allowed.
    pub fn leave_to_clients(&mut self, number: u32) -> anyhow::Result<()> {
        let map = self.object.map_mut(names::SERVICES).context("no services")?;
        let mut services: Array<_, ServiceHead> = map.try_into()?;
        let mut head = services.get(&number, 0)?;
        head.flags.bits |= ServiceFlags::AUTO.bits;
        Ok(services.set(number, head, 0)?)
    }

    /// Allows this bed's cgroup to be accelerated as a client of a service, or no more.
    pub fn allow(&mut self, number: u32, on: bool) -> anyhow::Result<()> {
        let service = ServiceIndex { index: number };
        let key = AutoKey { cgroup: self.cgroup.id()?, service, pad: 0 };
        let map = self.object.map_mut(names::AUTO_CLIENTS).context("no clients of Auto")?;
        let mut clients: HashMap<_, AutoKey, u32> = map.try_into()?;
        let changed = if on { clients.insert(key, 1, 0) } else { clients.remove(&key) };
        Ok(changed?)
    }

    /// Switches acceleration of the whole node.
    pub fn accelerate(&mut self, on: bool) -> anyhow::Result<()> {
        let acceleration = if on { TunableFlags::ACCELERATION.bits } else { 0 };
        let flags = TunableFlags { bits: TunableFlags::ENLISTED.bits | acceleration };
        let tunables = Tunables { abi_version: ABI_VERSION, flags, ..Tunables::default() };
        set(&mut self.object, names::TUNABLES, 0, tunables)
    }

    /// Ends of connections that are in the map of sockets.
    pub fn enlisted(&self) -> anyhow::Result<usize> {
        let map = self.object.map(names::SOCKETS).context("no map of sockets")?;
        let sockets: SockHash<_, SocketKey> = map.try_into()?;
        Ok(sockets.keys().collect::<Result<Vec<_>, _>>()?.len())
    }

    /// What the programs counted for a service's backend.
    pub fn counters(&self, number: u32) -> anyhow::Result<BackendCounters> {
        let map = self.object.map(names::BACKEND_COUNTERS).context("no counters")?;
        let counters: PerCpuArray<_, BackendCounters> = map.try_into()?;
        let values = counters.get(&number, 0)?;
        Ok(values.iter().copied().fold(BackendCounters::default(), BackendCounters::plus))
    }

    /// How often the programs gave a reason.
    pub fn count(&self, reason: Reason) -> anyhow::Result<u64> {
        let map = self.object.map(names::REASONS).context("no reasons")?;
        let reasons: PerCpuArray<_, ReasonCount> = map.try_into()?;
        Ok(reasons.get(&reason.code, 0)?.iter().map(|count| count.count).sum())
    }

    /// The programs' account of accelerated connections.
    pub fn pairs(&self) -> anyhow::Result<Pairs> {
        Pairs::open(&self.pins)
    }

    /// Folder of its pins.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// In a namespace, and in the mesh.
    #[must_use]
    pub fn place(&self, netns: &NetNs) -> Place {
        Place::in_netns(netns).and_cgroup(&self.cgroup)
    }
}

fn load() -> anyhow::Result<Ebpf> {
    let object = object::object(None)?;
    let prepared = accel::prepare(&object, true);
    let layout = prepared.layout.with_context(|| prepared.judgement.to_string())?;
    let mut loader = EbpfLoader::new();
    for map in [
        names::FRONTENDS,
        names::SERVICES,
        names::POLICIES,
        names::SERVICE_STATE,
        names::SERVICE_GUARDS,
        names::SERVICE_COUNTERS,
        names::SLOTS,
        names::BACKENDS,
        names::BACKEND_STATE,
        names::BACKEND_GUARDS,
        names::BACKEND_COUNTERS,
    ] {
        loader.map_max_entries(map, MOST);
    }
    loader.override_global(names::SOCKET_LAYOUT, &layout, true);
    loader.load(&object).context("loading the mesh's programs")
}

fn attach(program: &mut Program, cgroup: &File) -> anyhow::Result<()> {
    // `Single` passes no flags: the kernel refuses others for links, which are multi by nature.
    let mode = CgroupAttachMode::Single;
    if let Program::CgroupSockAddr(program) = program {
        program.load()?;
        program.attach(cgroup, mode)?;
    } else if let Program::CgroupSock(program) = program {
        program.load()?;
        program.attach(cgroup, mode)?;
    } else if let Program::SockOps(program) = program {
        program.load()?;
        program.attach(cgroup, mode)?;
    } else {
        bail!("another type of program");
    }
    Ok(())
}

fn set<T: aya::Pod>(object: &mut Ebpf, name: &str, index: u32, value: T) -> anyhow::Result<()> {
    let map = object.map_mut(name).with_context(|| format!("no map {name}"))?;
    let mut array: Array<_, T> = map.try_into()?;
    array.set(index, value, 0).with_context(|| format!("writing {name}"))
}
