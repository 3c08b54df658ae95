//! What the programs keep about services and backends with policies: zeroed and forgotten when it
//! should be, carried over to maps of another size, and never more than that.

use std::path::{Path, PathBuf};

use mesh_agent::bpf::{layout, load, object, uninstall};
use mesh_agent::compile::Limits;
use mesh_agent::diff::{Forget, MapOp};
use mesh_agent::maps::MapStore as _;
use mesh_agent::maps::kernel::KernelMaps;
use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::logic::outlier;
use mesh_common::names;
use mesh_common::policy::{OutlierPolicy, Policy, Thresholds, TimeoutPolicy};
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};
use mesh_tests::bpftool;
use mesh_tests::cleanup::{self, Guard};
use mesh_tests::require::{self, BPFFS};
use mesh_tests::scratch::unique;
use serde_json::Value;

const SMALL: Limits = Limits { frontends: 64, services: 32, slots: 64, backends: 64 };
const LARGE: Limits = Limits { frontends: 128, services: 64, slots: 128, backends: 128 };
const TABLES: load::Tables = load::Tables { affinity: 16, cgroups: 16, namespaces: 16 };
const SERVICE: ServiceIndex = ServiceIndex { index: 1 };
const BACKEND: BackendIndex = BackendIndex { index: 2 };
const FIVE_TO_LIMIT: Policy = Policy {
    service: Thresholds { max_connections: 5, ..NOTHING },
    backend: Thresholds { max_failures: 3, trials: 1, window_ms: 1_000, reset_ms: 500, ..NOTHING },
    outlier: OUTLIER,
    timeouts: TimeoutPolicy { connect_ms: 1_500, syn_rto_jiffies: 0, syn_retries: 0, idle_ms: 0 },
    pad: [0; 12],
};
const NOTHING: Thresholds = Thresholds {
    max_connections: 0,
    max_pending: 0,
    max_failures: 0,
    trials: 0,
    window_ms: 0,
    reset_ms: 0,
};
const OUTLIER: OutlierPolicy =
    OutlierPolicy { consecutive_failures: 3, base_ms: 1_000, max_ms: 9_000, max_ejected: 1 };

/// Pinned maps that no program uses, with a service that has a policy and a backend; dropping the
/// guard removes them.
fn pinned(what: &str) -> anyhow::Result<(PathBuf, KernelMaps, Guard)> {
    require::kernel()?;
    let pins = PathBuf::from(BPFFS).join(unique(what));
    let undo = pins.clone();
    let guard = cleanup::on_exit(move || drop(uninstall::uninstall(&undo)));
    drop(load::load(&object::object(None)?, &pins, SMALL, TABLES, load::Settings::default())?);
    let mut maps = KernelMaps::open(&pins)?;
    maps.apply_all(&[
        MapOp::PutBackend(BACKEND, backend()),
        MapOp::PutPolicy(SERVICE, FIVE_TO_LIMIT),
        MapOp::PutService(SERVICE, head()),
    ])?;
    Ok((pins, maps, guard))
}

fn backend() -> Backend {
    Backend {
        addr: IpKey::from_v4([10, 1, 0, 1].into()),
        port: 8080,
        flags: BackendFlags::default(),
        service: SERVICE,
        generation: 7,
    }
}

fn head() -> ServiceHead {
    ServiceHead { generation: 1, flags: ServiceFlags::GUARDED, ..ServiceHead::default() }
}

/// Words of an entry of either map.
const WORDS: usize = 8;

/// Writes the first words of an entry, as programs do.
fn set(pins: &Path, map: &str, index: u32, words: &[u64]) -> anyhow::Result<()> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    let pin = load::map_path(pins, map).to_string_lossy().into_owned();
    let key = hex(&index.to_ne_bytes()).join(" ");
    let words = words.iter().copied().chain(std::iter::repeat(0)).take(WORDS);
    let value: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
    let value = hex(&value).join(" ");
    let command = format!("map update pinned {pin} key hex {key} value hex {value}");
    bpftool::call(&command.split(' ').collect::<Vec<_>>())?;
    Ok(())
}

/// The words of an entry by the names of its fields.
fn get<const N: usize>(
    pins: &Path,
    map: &str,
    index: u32,
    fields: [&str; N],
) -> anyhow::Result<[u64; N]> {
    let entries = bpftool::dump(&load::map_path(pins, map))?;
    let at = usize::try_from(index)?;
    let entry = entries.get(at).map_or(&Value::Null, |entry| &entry["formatted"]["value"]);
    Ok(fields.map(|field| entry[field].as_u64().unwrap_or(u64::MAX)))
}

fn service_words(pins: &Path) -> anyhow::Result<[u64; 4]> {
    let fields = ["load", "breaker", "ejected", "refused_open"];
    get(pins, names::SERVICE_GUARDS, SERVICE.index, fields)
}

fn backend_words(pins: &Path) -> anyhow::Result<[u64; 4]> {
    let fields = ["load", "breaker", "outlier", "skipped"];
    get(pins, names::BACKEND_GUARDS, BACKEND.index, fields)
}

/// A service and a backend with connections, open breakers, and an ejection. Returns its word.
fn busy(pins: &Path) -> anyhow::Result<u64> {
    let ejected = outlier::eject(3, &OUTLIER, 50_000);
    set(pins, names::SERVICE_GUARDS, SERVICE.index, &[4, 0x41, 1, 9, 0, 0, 0, 0])?;
    set(pins, names::BACKEND_GUARDS, BACKEND.index, &[3, 0x81, ejected, 8, 20, 4])?;
    Ok(ejected)
}

#[test]
fn what_is_forgotten_is_not_the_load() -> anyhow::Result<()> {
    let (pins, mut maps, _guard) = pinned("forget")?;
    let ejected = busy(&pins)?;
    // Changes of what is there touch nothing.
    maps.apply(&MapOp::PutPolicy(
        SERVICE,
        Policy { timeouts: TimeoutPolicy::default(), ..FIVE_TO_LIMIT },
    ))?;
    maps.apply(&MapOp::PutService(SERVICE, ServiceHead { generation: 2, ..head() }))?;
    maps.apply(&MapOp::SetBackendFlags(BACKEND, BackendFlags::DRAINING))?;
    assert_eq!(service_words(&pins)?, [4, 0x41, 1, 9]);
    assert_eq!(backend_words(&pins)?, [3, 0x81, ejected, 8]);
    maps.apply(&MapOp::ForgetService(SERVICE))?;
    assert_eq!(service_words(&pins)?, [4, 0, 1, 9]);
    let breaker = Forget { breaker: true, outlier: false };
    maps.apply(&MapOp::ForgetBackend(BACKEND, breaker))?;
    assert_eq!(backend_words(&pins)?, [3, 0, ejected, 8]);
    maps.apply(&MapOp::ForgetBackend(BACKEND, Forget::ALL))?;
    assert_eq!(backend_words(&pins)?, [3, 0, 0, 8]);
    assert_eq!(service_words(&pins)?, [4, 0, 0, 9]);
    // Nothing is taken off twice.
    maps.apply(&MapOp::ForgetBackend(BACKEND, Forget::ALL))?;
    assert_eq!(service_words(&pins)?, [4, 0, 0, 9]);
    Ok(())
}

#[test]
fn a_new_holder_of_an_index_begins_from_zero() -> anyhow::Result<()> {
    let (pins, mut maps, _guard) = pinned("holder")?;
    let ejected = busy(&pins)?;
    maps.apply(&MapOp::ClearBackend(BACKEND))?;
    assert_eq!(service_words(&pins)?, [4, 0x41, 0, 9]);
    set(&pins, names::BACKEND_GUARDS, BACKEND.index, &[3, 0x81, ejected, 8, 0, 0])?;
    maps.apply(&MapOp::PutBackend(BACKEND, Backend { generation: 8, ..backend() }))?;
    assert_eq!(backend_words(&pins)?, [0; 4]);
    // Connections may still give back what they took from a service that is gone.
    maps.apply(&MapOp::ClearService(SERVICE))?;
    assert_eq!(service_words(&pins)?, [4, 0x41, 0, 9]);
    assert!(maps.read()?.policies.is_empty());
    maps.apply(&MapOp::PutService(SERVICE, head()))?;
    assert_eq!(service_words(&pins)?, [0; 4]);
    Ok(())
}

#[test]
fn guards_are_carried_over_to_maps_of_another_size() -> anyhow::Result<()> {
    let (pins, _maps, _guard) = pinned("carry")?;
    let ejected = busy(&pins)?;
    let loaded =
        load::load(&object::object(None)?, &pins, LARGE, TABLES, load::Settings::default())?;
    for map in [names::POLICIES, names::SERVICE_GUARDS, names::BACKEND_GUARDS] {
        assert!(loaded.replaced.contains(&map), "{map}");
    }
    // Until no program uses the old maps: what state all is in, but not how many there are, and
    // hence no limit.
    assert_eq!(service_words(&pins)?, [0, 0x41, 1, 0]);
    assert_eq!(backend_words(&pins)?, [0, 0x81, ejected, 0]);
    let policy = KernelMaps::open(&pins)?.read()?.policies.at(SERVICE);
    assert_eq!(policy.service.max_connections, 0);
    assert_eq!(policy.backend, FIVE_TO_LIMIT.backend);
    // A connection that began in the old maps has ended in the new ones.
    set(&pins, names::BACKEND_GUARDS, BACKEND.index, &[u64::MAX, 0x81, ejected, 1, 1, 2])?;
    for _again in 0..2 {
        assert!(layout::finish(&pins)?.is_some());
        assert_eq!(service_words(&pins)?, [4, 0x41, 1, 9]);
        assert_eq!(backend_words(&pins)?, [2, 0x81, ejected, 9]);
        let outcomes = get(&pins, names::BACKEND_GUARDS, BACKEND.index, ["good", "bad"])?;
        assert_eq!(outcomes, [21, 6]);
        let policy = KernelMaps::open(&pins)?.read()?.policies.at(SERVICE);
        assert_eq!(policy, FIVE_TO_LIMIT);
    }
    layout::remove(&pins)?;
    Ok(())
}

#[test]
fn maps_of_an_agent_without_guards_are_taken_over() -> anyhow::Result<()> {
    let (pins, _maps, _guard) = pinned("earlier")?;
    for map in [names::POLICIES, names::SERVICE_GUARDS, names::BACKEND_GUARDS, names::DIRECT] {
        std::fs::remove_file(load::map_path(&pins, map))?;
    }
    // Beside maps of another size, and of the same.
    let loaded =
        load::load(&object::object(None)?, &pins, LARGE, TABLES, load::Settings::default())?;
    assert!(!loaded.replaced.contains(&names::POLICIES));
    assert!(layout::finish(&pins)?.is_some());
    layout::remove(&pins)?;
    std::fs::remove_file(load::map_path(&pins, names::BACKEND_GUARDS))?;
    let loaded =
        load::load(&object::object(None)?, &pins, LARGE, TABLES, load::Settings::default())?;
    assert!(loaded.replaced.is_empty());
    let maps = KernelMaps::open(&pins)?;
    assert_eq!(maps.limits(), LARGE);
    assert_eq!(maps.read()?.backends.at(BACKEND), backend());
    assert_eq!(backend_words(&pins)?, [0; 4]);
    Ok(())
}
