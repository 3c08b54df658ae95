//! Maps change their size under traffic: no connection fails, indices stay, counters are exact,
//! wherever the agent dies on the way.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_agent::bpf::{attach, layout, load, object};
use mesh_agent::compile::Limits;
use mesh_agent::ledger::Journal;
use mesh_agent::maps::kernel::KernelMaps;
use mesh_common::{limits, names};
use mesh_tests::bpftool;
use mesh_tests::load::Mode;
use mesh_tests::stats::float;
use mesh_tests::testbed::{SMALL, Testbed, VIP};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(30);
const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const LARGE: [&str; 6] = ["--max-services", "256", "--max-backends", "1024", "--max-slots", "4096"];
/// What `LARGE` says.
const LARGE_LIMITS: Limits = Limits { frontends: 512, services: 256, slots: 4096, backends: 1024 };

/// Sizes of the maps of verdicts, as they are without flags.
const TABLES: load::Tables = load::Tables {
    affinity: limits::MAX_AFFINITY,
    cgroups: limits::MAX_CGROUPS,
    namespaces: limits::MAX_NAMESPACES,
};

/// A testbed with traffic to two backends.
fn busy(what: &str) -> anyhow::Result<(Testbed, mesh_tests::backend::Backends, Traffic)> {
    let bed = Testbed::start(what)?;
    let servers = bed.serve(Mode::Greet, &["v1", "v2"])?;
    bed.apply_split(&[("v1", 70), ("v2", 30)])?;
    let plan = Plan {
        concurrency: NonZeroU32::MIN.saturating_add(1),
        pause: Duration::from_micros(100),
        ..Plan::to(VIP, Mode::Greet)
    };
    let traffic = Traffic::start(&bed.node.place(), plan)?;
    traffic.wait_for(500, PATIENCE)?;
    Ok((bed, servers, traffic))
}

fn restart(bed: &mut Testbed, flags: &[&str]) -> anyhow::Result<()> {
    bed.node.set_flags(flags);
    bed.node.run()?;
    bed.node.wait_ready()
}

/// Ends the traffic: nothing failed, and every connection is counted once, for its backend.
fn settle(bed: &Testbed, traffic: Traffic) -> anyhow::Result<()> {
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        // What the agent tries for itself is nobody's.
        let unknown = metrics.sum(OPENED, &[("destination_service", "unknown")]);
        if unknown > 0.0 {
            return Err(format!("{unknown} connections of no service"));
        }
        for version in ["v1", "v2"] {
            for name in [OPENED, CLOSED] {
                let found = metrics.sum(name, &[("destination_version", version)]);
                let count = outcome.answered_by(version);
                if (found - float(count)).abs() > 0.5 {
                    return Err(format!("{name} of {version}: {found} instead of {count}"));
                }
            }
        }
        Ok(())
    })?;
    assert_eq!(directories(bed.node.pins())?, ["links", "maps"]);
    Ok(())
}

fn directories(pins: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(pins)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Ids of the pinned maps.
fn ids(bed: &Testbed) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let id = |name| {
        let pin = bed.node.map(name).to_string_lossy().into_owned();
        let shown = bpftool::json(&["map", "show", "pinned", &pin])?;
        Ok((name, shown["id"].as_u64().unwrap_or_default()))
    };
    names::MAPS.into_iter().map(id).collect()
}

#[test]
fn maps_are_kept_where_nothing_changes_and_replaced_where_sizes_do() -> anyhow::Result<()> {
    let (mut bed, _servers, traffic) = busy("sizes")?;
    let (first, dump) = (ids(&bed)?, policy(&bed)?);

    bed.node.stop()?;
    restart(&mut bed, &SMALL)?;
    assert_eq!(ids(&bed)?, first);
    assert_eq!(policy(&bed)?, dump);

    bed.node.stop()?;
    restart(&mut bed, &LARGE)?;
    assert_eq!(policy(&bed)?, dump);
    let kept: Vec<&str> = first
        .iter()
        .zip(ids(&bed)?)
        .filter(|(before, after)| **before == *after)
        .map(|(_, (name, _))| name)
        .collect();
    let expected = [
        names::DIRECT,
        names::CGROUPS,
        names::NAMESPACES,
        names::AFFINITY,
        names::EDGES,
        names::REFUSALS,
        names::REASONS,
        names::CONNS_INDEX,
        names::CONNS,
        names::CONNS_STATE,
        names::CONNS_OVERFLOW,
        names::FLOWS,
        names::AUTO_CLIENTS,
        names::PAIRINGS,
        names::PAIRS,
        names::SOCKETS,
        names::ACCELERATED,
        names::LOCALS,
        names::PEERS,
        names::INBOUND,
        names::ACCEPTED,
        names::EVENTS,
        names::TUNABLES,
    ];
    assert_eq!(kept, expected);
    let limits = mesh_agent::maps::MapStore::limits(&KernelMaps::open(bed.node.pins())?);
    assert_eq!(limits, LARGE_LIMITS);
    traffic.wait_for(500, PATIENCE)?;

    // Less than what is used: as small as can be, and said aloud.
    bed.node.stop()?;
    restart(&mut bed, &["--max-services", "128", "--max-backends", "2", "--max-slots", "2048"])?;
    assert_eq!(policy(&bed)?, dump);
    let limits = mesh_agent::maps::MapStore::limits(&KernelMaps::open(bed.node.pins())?);
    assert_eq!((limits.services, limits.slots, limits.backends), (128, 2048, 3));
    let log = fs::read_to_string(bed.node.scratch().join("log"))?;
    assert!(log.contains("--max-backends is too low"), "{log}");
    traffic.wait_for(500, PATIENCE)?;
    settle(&bed, traffic)
}

/// What the agent does at its start, as far as it gets.
struct Start<'a> {
    bed: &'a Testbed,
    loaded: load::Loaded,
}

impl<'a> Start<'a> {
    /// New maps are filled and in their place; no program uses them.
    fn replaced(bed: &'a Testbed) -> anyhow::Result<Self> {
        let object = object::object(None)?;
        let loaded =
            load::load(&object, bed.node.pins(), LARGE_LIMITS, TABLES, load::Settings::default())?;
        assert!(loaded.replaced.contains(&names::BACKENDS), "{:?}", loaded.replaced);
        Ok(Self { bed, loaded })
    }

    /// All programs have gone over.
    fn attached(bed: &'a Testbed) -> anyhow::Result<Self> {
        let mut start = Self::replaced(bed)?;
        attach::attach(&mut start.loaded, bed.node.cgroup().path(), bed.node.pins())?;
        Ok(start)
    }

    /// What the old maps counted is in the ledger, on disk.
    fn carried(bed: &'a Testbed) -> anyhow::Result<Self> {
        let start = Self::attached(bed)?;
        let pins = start.bed.node.pins();
        let (sources, last) = layout::finish(pins)?.unwrap_or_default();
        assert!(last.backends.iter().any(|counters| counters.opened > 0));
        let state = start.bed.node.scratch().join("state");
        Journal::open(&state, &KernelMaps::open(pins)?.sources()?, Some((&sources, &last)))?;
        Ok(start)
    }
}

/// What the maps say, without what is counted meanwhile.
fn policy(bed: &Testbed) -> anyhow::Result<Vec<String>> {
    let dump = bed.node.dump()?;
    let counted = |line: &&str| line.starts_with("EDGE ") || line.starts_with("INBOUND ");
    Ok(dump.lines().filter(|line| !counted(line)).map(str::to_owned).collect())
}

fn rename(bed: &Testbed, from: &str, to: &str) -> anyhow::Result<()> {
    Ok(fs::rename(bed.node.pins().join(from), bed.node.pins().join(to))?)
}

/// An agent dies at its start, and the next one goes on. Returns how the directories were.
fn dies(what: &str, at: impl Fn(&Testbed) -> anyhow::Result<()>) -> anyhow::Result<Vec<String>> {
    let (mut bed, _servers, traffic) = busy(what)?;
    let dump = policy(&bed)?;
    bed.node.kill()?;
    at(&bed)?;
    let left = directories(bed.node.pins())?;
    traffic.wait_for(500, PATIENCE)?;
    restart(&mut bed, &LARGE)?;
    assert_eq!(policy(&bed)?, dump);
    traffic.wait_for(500, PATIENCE)?;
    // What is counted is on disk as well as in memory.
    bed.node.kill()?;
    restart(&mut bed, &LARGE)?;
    settle(&bed, traffic)?;
    Ok(left)
}

#[test]
fn an_agent_that_dies_while_it_fills_new_maps_begins_again() -> anyhow::Result<()> {
    let left = dies("filling", |bed| {
        let next = bed.node.pins().join(names::MAPS_NEXT);
        fs::create_dir(&next)?;
        let (from, to): (PathBuf, PathBuf) = (bed.node.map(names::SLOTS), next.join(names::SLOTS));
        bpftool::call(&["map", "show", "pinned", &from.to_string_lossy()])?;
        let id = ids(bed)?.into_iter().find(|(name, _)| *name == names::SLOTS);
        let id = id.map(|(_, id)| id.to_string()).unwrap_or_default();
        bpftool::call(&["map", "pin", "id", &id, &to.to_string_lossy()])?;
        Ok(())
    })?;
    assert_eq!(left, ["links", "maps", "maps-next"]);
    Ok(())
}

#[test]
fn an_agent_that_dies_between_two_renames_is_succeeded() -> anyhow::Result<()> {
    let left = dies("renames", |bed| {
        drop(Start::replaced(bed)?);
        rename(bed, names::MAPS_DIR, names::MAPS_NEXT)
    })?;
    assert_eq!(left, ["links", "maps-next", "maps-old"]);
    Ok(())
}

#[test]
fn an_agent_that_dies_before_programs_go_over_is_succeeded() -> anyhow::Result<()> {
    let left = dies("before", |bed| Start::replaced(bed).map(drop))?;
    assert_eq!(left, ["links", "maps", "maps-old"]);
    Ok(())
}

#[test]
fn an_agent_that_dies_when_programs_have_gone_over_is_succeeded() -> anyhow::Result<()> {
    let left = dies("over", |bed| Start::attached(bed).map(drop))?;
    assert_eq!(left, ["links", "maps", "maps-old"]);
    Ok(())
}

#[test]
fn what_an_agent_has_carried_over_is_not_counted_twice() -> anyhow::Result<()> {
    let left = dies("carried", |bed| Start::carried(bed).map(drop))?;
    assert_eq!(left, ["links", "maps", "maps-old"]);
    Ok(())
}

#[test]
fn an_agent_that_dies_while_it_removes_old_maps_is_succeeded() -> anyhow::Result<()> {
    let left = dies("removing", |bed| {
        drop(Start::carried(bed)?);
        rename(bed, names::MAPS_OLD, names::MAPS_GONE)?;
        let gone = bed.node.pins().join(names::MAPS_GONE);
        Ok(fs::remove_file(gone.join(names::BACKEND_COUNTERS))?)
    })?;
    assert_eq!(left, ["links", "maps", "maps-gone"]);
    Ok(())
}

#[test]
fn uninstall_removes_what_a_change_of_maps_left() -> anyhow::Result<()> {
    let (mut bed, _servers, traffic) = busy("leftover")?;
    bed.node.kill()?;
    drop(Start::attached(&bed)?);
    assert_eq!(bed.node.uninstall()?.code, Some(0));
    assert!(!bed.node.pins().exists());
    drop(traffic);
    Ok(())
}
