//! Every map, with the types of mesh-common and default sizes; the agent's flags replace the
//! sizes before loading. All have BTF, so that `bpftool map dump` prints field names.
//!
//! The statics are named like the maps in `mesh_common::names`: the loader finds them by the
//! symbol. Arrays that the agent writes or reads in bulk can be mapped into its memory.

#![expect(non_upper_case_globals, reason = "the symbol is the map's name")]

use aya_ebpf::btf_maps::{
    Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, SkStorage, SockHash,
};
use aya_ebpf::macros::btf_map;
use mesh_common::accel::{Accelerated, AutoKey, Pair, PairKey, Pairing, SocketKey};
use mesh_common::addr::IpKey;
use mesh_common::affinity::{Affinity, AffinityKey};
use mesh_common::backend::Backend;
use mesh_common::conn::{ConnGroup, ConnRecord, ConnsState};
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::enrol::{CgroupKey, NetnsKey, Verdict};
use mesh_common::flow::Flows;
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::inbound::{Accepted, ClientId, EndpointId, InboundKey};
use mesh_common::limits;
use mesh_common::policy::Policy;
use mesh_common::reason::Reason;
use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::ServiceHead;
use mesh_common::slot::Slot;
use mesh_common::state::{BackendState, ServiceState};
use mesh_common::tunables::Tunables;

/// `BPF_F_MMAPABLE` (`include/uapi/linux/bpf.h`). Minimum kernel: 5.5.
const MAPPABLE: usize = 1 << 10;

/// `BPF_F_NO_PREALLOC`: entries take memory once they are used. Not for what programs insert by CPU:
/// each would wait 20 µs for the allocator.
const ON_DEMAND: usize = 1;

const FRONTENDS: usize = (limits::MAX_SERVICES * limits::FRONTENDS_PER_SERVICE) as usize;
const SERVICES: usize = limits::MAX_SERVICES as usize;
const SLOTS: usize = limits::MAX_SLOTS as usize;
const BACKENDS: usize = limits::MAX_BACKENDS as usize;
const AFFINITIES: usize = limits::MAX_AFFINITY as usize;
const CGROUPS: usize = limits::MAX_CGROUPS as usize;
const NAMESPACES: usize = limits::MAX_NAMESPACES as usize;
const CONNS: usize = limits::CONNS as usize;
const GROUPS: usize = limits::CONN_GROUPS as usize;
const EDGES: usize = limits::MAX_EDGES as usize;
const LOCALS: usize = limits::MAX_LOCALS as usize;
const PEERS: usize = limits::MAX_PEERS as usize;
const INBOUND: usize = limits::MAX_INBOUND as usize;
const REFUSALS: usize = limits::MAX_REFUSALS as usize;
const REASONS: usize = Reason::COUNT as usize;
const AUTO_CLIENTS: usize = limits::MAX_AUTO_CLIENTS as usize;
const PAIRINGS: usize = limits::PAIRINGS as usize;
const SOCKETS: usize = limits::MAX_SOCKETS as usize;
const RING: usize = limits::EVENT_RING_BYTES as usize;

#[btf_map]
pub(crate) static frontends: HashMap<FrontendKey, Frontend, FRONTENDS> = HashMap::new();
#[btf_map]
pub(crate) static cgroups: HashMap<CgroupKey, Verdict, CGROUPS> = HashMap::new();
#[btf_map]
pub(crate) static namespaces: HashMap<NetnsKey, Verdict, NAMESPACES> = HashMap::new();
#[btf_map]
pub(crate) static services: Array<ServiceHead, SERVICES, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static policies: Array<Policy, SERVICES, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static service_guards: Array<ServiceGuard, SERVICES, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static backend_guards: Array<BackendGuard, BACKENDS, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static direct: SkStorage<u32> = SkStorage::new();
#[btf_map]
pub(crate) static affinity: HashMap<AffinityKey, Affinity, AFFINITIES> = HashMap::new();
#[btf_map]
pub(crate) static service_state: Array<ServiceState, SERVICES, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static slots: Array<Slot, SLOTS, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static backends: Array<Backend, BACKENDS, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static backend_state: Array<BackendState, BACKENDS, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static backend_counters: PerCpuArray<BackendCounters, BACKENDS> = PerCpuArray::new();
#[btf_map]
pub(crate) static edges: PerCpuHashMap<EdgeKey, EdgeCounters, EDGES> = PerCpuHashMap::new();
#[btf_map]
pub(crate) static service_counters: PerCpuArray<ServiceCounters, SERVICES> = PerCpuArray::new();
#[btf_map]
pub(crate) static refusals: PerCpuHashMap<RefusalKey, RefusalCounters, REFUSALS> =
    PerCpuHashMap::new();
#[btf_map]
pub(crate) static reasons: PerCpuArray<ReasonCount, REASONS> = PerCpuArray::new();
#[btf_map]
pub(crate) static conns_index: Array<ConnGroup, GROUPS, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static conns: Array<ConnRecord, CONNS, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static conns_state: Array<ConnsState, 1, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static conns_overflow: SkStorage<ConnRecord> = SkStorage::new();
#[btf_map]
pub(crate) static flows: SkStorage<Flows> = SkStorage::new();
#[btf_map]
pub(crate) static auto_clients: HashMap<AutoKey, u32, AUTO_CLIENTS> = HashMap::new();
#[btf_map]
pub(crate) static pairings: LruHashMap<PairKey, Pairing, PAIRINGS> = LruHashMap::new();
#[btf_map]
pub(crate) static pairs: Array<Pair, CONNS, MAPPABLE> = Array::new();
#[btf_map]
pub(crate) static sockets: SockHash<SocketKey, SOCKETS> = SockHash::new();
#[btf_map]
pub(crate) static accelerated: SkStorage<Accelerated> = SkStorage::new();
#[btf_map]
pub(crate) static locals: HashMap<FrontendKey, EndpointId, LOCALS, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static peers: HashMap<IpKey, ClientId, PEERS, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static inbound: PerCpuHashMap<InboundKey, EdgeCounters, INBOUND> = PerCpuHashMap::new();
#[btf_map]
pub(crate) static accepted: SkStorage<Accepted> = SkStorage::new();
// Records are `mesh_common::event::Event`; libbpf refuses a ring that declares a value type.
#[btf_map]
pub(crate) static events: RingBuf<(), RING> = RingBuf::new();
#[btf_map]
pub(crate) static tunables: Array<Tunables, 1> = Array::new();
