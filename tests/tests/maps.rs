//! The agent's view of the pinned maps is the kernel's: what is stored in memory is what
//! bpftool reads, and what is written many at a time is all there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mesh_agent::accel::auto::census::Incarnation;
use mesh_agent::accel::auto::metrics::Figures;
use mesh_agent::accel::auto::{self, Settings};
use mesh_agent::bpf::auto::{AutoClients, AutoMaps};
use mesh_agent::bpf::{load, object, uninstall};
use mesh_agent::canary::room;
use mesh_agent::compile::Limits;
use mesh_agent::diff::MapOp;
use mesh_agent::image::MapImage;
use mesh_agent::maps::kernel::KernelMaps;
use mesh_agent::maps::{Held, MapStore as _};
use mesh_common::accel::AutoKey;
use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::names;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;
use mesh_common::tunables::TunableFlags;
use mesh_tests::bpftool;
use mesh_tests::cleanup::{self, Guard};
use mesh_tests::require::{self, BPFFS};
use mesh_tests::scratch::unique;
use tokio::sync::watch;

/// More than one batch, and an end that is not a batch's.
const MANY: u32 = 2_500;
const LIMITS: Limits =
    Limits { frontends: MANY, services: MANY + 1, slots: MANY, backends: MANY + 1 };

const TABLES: load::Tables = load::Tables { affinity: 16, cgroups: 16, namespaces: 16 };

/// Pinned maps that no program uses; dropping the guard removes them.
fn pinned(what: &str) -> anyhow::Result<(PathBuf, Guard)> {
    require::kernel()?;
    let pins = PathBuf::from(BPFFS).join(unique(what));
    let undo = pins.clone();
    let guard = cleanup::on_exit(move || drop(uninstall::uninstall(&undo)));
    drop(load::load(&object::object(None)?, &pins, LIMITS, TABLES, load::Settings::default())?);
    Ok((pins, guard))
}

const fn key(n: u32) -> FrontendKey {
    FrontendKey::new(IpKey::from_v4(Ipv4Addr::from_bits(0x0a60_0000 + n)), 80, 6)
}

fn fill() -> Vec<MapOp> {
    let mut ops = Vec::new();
    for n in 0..MANY {
        let service = ServiceIndex { index: n + 1 };
        let backend = Backend {
            addr: IpKey::from_v4(Ipv4Addr::from_bits(0x0a01_0000 + n)),
            port: 8080,
            flags: BackendFlags::DRAINING,
            service,
            generation: 7 + n,
        };
        let index = BackendIndex { index: n + 1 };
        ops.push(MapOp::PutBackend(index, backend));
        ops.push(MapOp::PutSlot(n, Slot { service, backend: index, alias: index, threshold: n }));
        let head = ServiceHead {
            slot_base: n,
            slot_count: n % 3,
            generation: 1,
            algorithm: Algorithm::ROUND_ROBIN,
            flags: ServiceFlags::PASS_THROUGH,
            refuse_errno: 111,
            affinity_ms: n,
        };
        ops.push(MapOp::PutService(service, head));
    }
    let frontend = |n| Frontend { service: ServiceIndex { index: n + 1 } };
    ops.extend((0..MANY).map(|n| MapOp::PutFrontend(key(n), frontend(n))));
    ops
}

#[test]
fn what_is_written_is_read_by_whoever_opens_the_maps() -> anyhow::Result<()> {
    let (pins, _guard) = pinned("maps")?;
    let mut maps = KernelMaps::open(&pins)?;
    assert_eq!(maps.limits(), LIMITS);
    assert_eq!(maps.read()?, MapImage::default());
    let ops = fill();
    let mut expected = MapImage::default();
    for op in &ops {
        op.apply_to(&mut expected);
    }
    maps.apply_all(&ops)?;
    assert_eq!(maps.read()?, expected);
    assert_eq!(KernelMaps::open(&pins)?.read()?, expected);

    // The kernel's own view, by system calls.
    let entries = bpftool::dump(&load::map_path(&pins, names::BACKENDS))?;
    let last = entries.get(2_500).map(|entry| entry["formatted"]["value"].clone());
    let last = last.unwrap_or_default();
    assert_eq!(last["port"], 8080, "{last}");
    assert_eq!(last["generation"], 7 + 2_499, "{last}");

    let gone = (0..MANY + 100).map(|n| MapOp::DeleteFrontend(key(n)));
    let clear = (1..=MANY).flat_map(|index| {
        [
            MapOp::ClearService(ServiceIndex { index }),
            MapOp::ClearSlot(index - 1),
            MapOp::ClearBackend(BackendIndex { index }),
        ]
    });
    maps.apply_all(&gone.chain(clear).collect::<Vec<_>>())?;
    assert_eq!(maps.read()?, MapImage::default());
    Ok(())
}

#[test]
fn the_switch_of_acceleration_is_one_flag_and_leaves_a_trace() -> anyhow::Result<()> {
    let (pins, _guard) = pinned("switch")?;
    let mut maps = KernelMaps::open(&pins)?;
    let flags = || -> anyhow::Result<u64> {
        let entries = bpftool::dump(&load::map_path(&pins, names::TUNABLES))?;
        let value = entries.first().map(|entry| entry["formatted"]["value"].clone());
        Ok(value.unwrap_or_default()["flags"]["bits"].as_u64().unwrap_or(u64::MAX))
    };
    let (on, trace) = (TunableFlags::ACCELERATION.bits, TunableFlags::ENLISTED.bits);
    assert_eq!(flags()?, 0);
    maps.apply(&MapOp::Accelerate(true))?;
    assert_eq!(flags()?, u64::from(on | trace));
    let held = Held { revision: 7, commit: 3 };
    maps.set_held(held)?;
    assert!(maps.read()?.accelerating);
    maps.apply(&MapOp::Accelerate(false))?;
    assert_eq!((flags()?, maps.held()?), (u64::from(trace), held));
    assert!(!maps.read()?.accelerating);

    // An agent that must not accelerate is off from its load on; what stays is the trace.
    maps.apply(&MapOp::Accelerate(true))?;
    drop(load::load(&object::object(None)?, &pins, LIMITS, TABLES, load::Settings::default())?);
    assert_eq!((flags()?, maps.held()?), (u64::from(trace), held));
    Ok(())
}

#[test]
fn an_entry_beyond_the_end_is_an_error_and_harms_nothing() -> anyhow::Result<()> {
    let (pins, _guard) = pinned("beyond")?;
    let mut maps = KernelMaps::open(&pins)?;
    let slot = Slot { service: ServiceIndex { index: 1 }, ..Slot::default() };
    let end = MANY + room(names::SLOTS);
    for index in [end, end + 1, u32::MAX] {
        assert!(maps.apply(&MapOp::PutSlot(index, slot)).is_err());
    }
    assert_eq!(maps.read()?, MapImage::default());

    // One frontend more than there is room for: those before it are there.
    let most = MANY + room(names::FRONTENDS);
    let frontend = Frontend { service: ServiceIndex { index: 1 } };
    let puts: Vec<_> = (0..=most).map(|n| MapOp::PutFrontend(key(n), frontend)).collect();
    let error = maps.apply_all(&puts).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("--max-services"), "{error}");
    assert_eq!(maps.read()?.frontends.len(), usize::try_from(most)?);
    Ok(())
}

/// A service that leaves acceleration to the agent, with one backend of the same index.
fn with_auto(index: u32, generation: u32) -> [MapOp; 2] {
    let service = ServiceIndex { index };
    let flags = BackendFlags::LOCAL;
    let backend = Backend { port: 8080, flags, service, generation, ..Backend::default() };
    let flags = ServiceFlags::ACCELERATED.and(ServiceFlags::AUTO);
    let head = ServiceHead { flags, refuse_errno: 111, ..ServiceHead::default() };
    [MapOp::PutBackend(BackendIndex { index }, backend), MapOp::PutService(service, head)]
}

const fn client(cgroup: u64, index: u32) -> AutoKey {
    AutoKey { cgroup, service: ServiceIndex { index }, pad: 0 }
}

/// The backends of a service, as a look finds them.
fn looked(maps: &AutoMaps, index: u32) -> anyhow::Result<BTreeSet<Incarnation>> {
    let mut noticed = maps.read()?;
    let backends = noticed.opened.remove(&ServiceIndex { index }).unwrap_or_default();
    Ok(backends.into_keys().collect())
}

#[test]
fn a_service_that_goes_or_turns_off_takes_its_clients_with_it() -> anyhow::Result<()> {
    let (pins, _guard) = pinned("auto")?;
    let mut maps = KernelMaps::open(&pins)?;
    maps.apply_all(&[with_auto(1, 7), with_auto(2, 7)].concat())?;
    let looks = AutoMaps::open(&pins)?;
    for client in [client(5, 1), client(6, 1), client(5, 2)] {
        assert!(looks.grant(client, &looked(&looks, client.service.index)?)?);
    }
    assert_eq!(looks.clients.all()?.len(), 3);
    maps.apply(&MapOp::ClearService(ServiceIndex { index: 1 }))?;
    assert_eq!(looks.clients.all()?, [client(5, 2)].into());
    let head = ServiceHead { refuse_errno: 111, ..ServiceHead::default() };
    maps.apply(&MapOp::PutService(ServiceIndex { index: 2 }, head))?;
    assert_eq!(looks.clients.all()?, BTreeSet::new());
    Ok(())
}

/// An agent may give the index to another service between a look and what follows from it.
#[test]
fn a_grant_that_comes_late_is_not_for_the_next_service_of_the_index() -> anyhow::Result<()> {
    let (pins, _guard) = pinned("late")?;
    let mut maps = KernelMaps::open(&pins)?;
    maps.apply_all(&with_auto(1, 7))?;
    let looks = AutoMaps::open(&pins)?;
    let before = looked(&looks, 1)?;
    assert_eq!(before.len(), 1);

    let clear = [
        MapOp::ClearService(ServiceIndex { index: 1 }),
        MapOp::ClearBackend(BackendIndex { index: 1 }),
    ];
    maps.apply_all(&clear)?;
    assert!(!looks.grant(client(5, 1), &before)?);
    maps.apply_all(&with_auto(1, 8))?;
    assert!(!looks.grant(client(5, 1), &before)?);
    assert_eq!(looks.clients.all()?, BTreeSet::new());
    assert!(looks.grant(client(5, 1), &looked(&looks, 1)?)?);
    Ok(())
}

#[test]
fn whoever_looks_at_clients_takes_all_out_at_the_end_and_its_watchers_know() -> anyhow::Result<()> {
    let (pins, _guard) = pinned("ends")?;
    let maps = AutoMaps::open(&pins)?;
    let clients = AutoClients::open(&pins)?;
    clients.add(client(5, 1))?;
    let (alive, ended) = mpsc::channel();
    let (figures, watched) = watch::channel(Figures::default());
    let settings = Settings::every(Duration::from_hours(1));
    let runner =
        thread::spawn(move || auto::run(maps, "/sys/fs/cgroup".into(), settings, &ended, &figures));
    assert_eq!(clients.all()?.len(), 1);
    assert!(watched.has_changed().is_ok());
    drop(alive);
    assert!(runner.join().is_ok());
    assert_eq!(clients.all()?, BTreeSet::new());
    assert!(watched.has_changed().is_err());
    Ok(())
}

/// Sets the first counter of an entry to 3 on each CPU.
fn count(pin: &Path, index: u32) -> anyhow::Result<()> {
    let pin = pin.to_string_lossy();
    let key = index.to_ne_bytes().map(|byte| format!("{byte:02x}")).join(" ");
    let value = "03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
    let command = format!("map update pinned {pin} key hex {key} value hex {value}");
    bpftool::call(&command.split(' ').collect::<Vec<_>>())?;
    Ok(())
}

#[test]
fn counters_of_many_are_those_of_each() -> anyhow::Result<()> {
    let (pins, _guard) = pinned("counts")?;
    let maps = KernelMaps::open(&pins)?;
    for index in [0, 1, 1_023, 1_024, MANY] {
        count(&load::map_path(&pins, names::SERVICE_COUNTERS), index)?;
    }
    let all = maps.all_service_counters(u32::MAX)?;
    let end = MANY + 1 + room(names::SERVICE_COUNTERS);
    assert_eq!(all.len(), usize::try_from(end)?);
    for (index, counters) in (0..).zip(&all) {
        assert_eq!(*counters, maps.service_counters(ServiceIndex { index })?);
    }
    assert!(all.get(1_024).is_some_and(|counters| counters.refused >= 3));
    assert_eq!(maps.all_service_counters(2)?.len(), 2);
    assert!(maps.service_counters(ServiceIndex { index: end }).is_err());
    Ok(())
}
