//! Loads the object: maps are opened where they are pinned and created where they are not,
//! programs are verified but not yet attached.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData, MapError};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use mesh_common::accel::SocketLayout;
use mesh_common::tunables::{TunableFlags, Tunables};
use mesh_common::{ABI_VERSION, names};

use super::layout::{self, LayoutError, Sizes, dirs};
use super::log::Level;
use super::sys;
use crate::canary;
use crate::compile::Limits;
use crate::enrol::verdicts::Filters;

/// Why the object could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory for the pins cannot be made.
    #[error("cannot create {}: {source}; is bpffs mounted there?", .path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses the object.
    #[error("cannot load the eBPF object: {0}")]
    Object(#[source] Box<aya::EbpfError>),
    /// A program is missing, or the kernel's verifier refuses it.
    #[error("cannot load the program {name}: {source}")]
    Program {
        /// Its name.
        name: &'static str,
        /// The cause.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks something.
    #[error("the eBPF object has no {0}: it was not built from this version")]
    Missing(&'static str),
    /// The pinned maps are of another version.
    #[error(
        "the maps pinned below {} have layout {found}, this agent has layout {ABI_VERSION}: run \
         `mesh-agent uninstall`, then start this agent",
        .path.display()
    )]
    Abi {
        /// The pin path.
        path: PathBuf,
        /// The layout found.
        found: u32,
    },
    /// The pinned maps cannot be replaced by others.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The program for messages cannot be attached to the map of sockets.
    #[error(
        "cannot attach {} to {}: {source}; start with --acceleration off", names::MESSAGE,
        .path.display()
    )]
    Sockets {
        /// The map.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A pinned map cannot be used.
    #[error("cannot use the pinned maps below {}: {source}", .path.display())]
    Pinned {
        /// The pin path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<MapError>,
    },
}

/// Programs that the kernel has verified, and the pin path of their maps.
#[derive(Debug)]
pub struct Loaded {
    /// The object.
    pub(super) ebpf: Ebpf,
    /// Verified instructions of each program: what the kernel had to walk through.
    pub verified: Vec<(&'static str, Option<u32>)>,
    /// Maps that had to be made anew, because the pinned ones have another layout. Programs must
    /// be attached and [`layout::finish`] called before anything else.
    pub replaced: Vec<&'static str>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Whether the programs can accelerate connections.
    pub accelerates: bool,
    /// What they log.
    pub log: Level,
}

/// Sizes of the maps that hold no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Entries of `affinity`.
    pub affinity: u32,
    /// Entries of `cgroups`.
    pub cgroups: u32,
    /// Entries of `namespaces`.
    pub namespaces: u32,
}

/// What the programs are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Report every closed connection.
    pub access_log: bool,
    /// This kernel's sockets, where connections may be accelerated.
    pub acceleration: Option<SocketLayout>,
    /// Count connections also by who makes them.
    pub edges: bool,
    /// Where this kernel's TCP sockets have their error; 0: unknown.
    pub socket_error_at: u32,
    /// What the programs log.
    pub log: Level,
}

/// Loads `object` with its maps below `pin_path`.
pub fn load(
    object: &[u8],
    pin_path: &Path,
    limits: Limits,
    tables: Tables,
    settings: Settings,
) -> Result<Loaded, LoadError> {
    dirs::recover(pin_path)?;
    check_abi(pin_path)?;
    for directory in [names::MAPS_DIR, names::LINKS_DIR] {
        make(&pin_path.join(directory))?;
    }
    let present = pin_path.join(names::MAPS_DIR);
    // One change at a time: the programs have not gone over from the last one.
    if layout::is_under_way(pin_path) {
        return load_with(object, pin_path, &present, &Sizes::new(), settings);
    }
    let pinned = layout::pinned(&present)?;
    let mut wanted = sizes(limits, tables);
    let sizes = with_room(&wanted);
    if layout::plan(&pinned, &layout::declared(object, &sizes)?)?.is_none() {
        return load_with(object, pin_path, &present, &sizes, settings);
    }
    // What users have must fit into what they may have: the canary's room stays its own.
    let warnings = layout::fit(&mut wanted, &layout::used(&present)?);
    let sizes = with_room(&wanted);
    let Some(plan) = layout::plan(&pinned, &layout::declared(object, &sizes)?)? else {
        let loaded = load_with(object, pin_path, &present, &sizes, settings)?;
        return Ok(Loaded { warnings, ..loaded });
    };
    let next = pin_path.join(names::MAPS_NEXT);
    make(&next)?;
    for map in plan.kept {
        share(&present.join(map), &next.join(map))?;
    }
    let loaded = load_with(object, pin_path, &next, &sizes, settings)?;
    layout::fill(&plan.replaced, &present, &next)?;
    dirs::replace(pin_path)?;
    Ok(Loaded { warnings, replaced: plan.replaced, ..loaded })
}

/// Loads the programs once more, with the maps that are pinned, and changes nothing in them.
pub fn again(
    object: &[u8],
    pin_path: &Path,
    limits: Limits,
    tables: Tables,
    settings: Settings,
) -> Result<Loaded, LoadError> {
    let sizes = with_room(&sizes(limits, tables));
    programs(object, &pin_path.join(names::MAPS_DIR), &sizes, settings)
}

/// What users may have, as the flags say.
fn sizes(limits: Limits, tables: Tables) -> Sizes {
    Sizes::from([
        (names::FRONTENDS, limits.frontends),
        (names::SERVICES, limits.services),
        (names::SERVICE_STATE, limits.services),
        (names::POLICIES, limits.services),
        (names::SERVICE_GUARDS, limits.services),
        (names::SERVICE_COUNTERS, limits.services),
        (names::SLOTS, limits.slots),
        (names::BACKENDS, limits.backends),
        (names::BACKEND_STATE, limits.backends),
        (names::BACKEND_GUARDS, limits.backends),
        (names::BACKEND_COUNTERS, limits.backends),
        (names::AFFINITY, tables.affinity),
        (names::CGROUPS, tables.cgroups),
        (names::NAMESPACES, tables.namespaces),
    ])
}

/// The same, and the canary's entries.
fn with_room(sizes: &Sizes) -> Sizes {
    sizes.iter().map(|(map, size)| (*map, size.saturating_add(canary::room(map)))).collect()
}

/// Loads with the maps in a directory; those that are not there are made.
fn load_with(
    object: &[u8],
    pin_path: &Path,
    maps: &Path,
    sizes: &Sizes,
    settings: Settings,
) -> Result<Loaded, LoadError> {
    let mut loaded = programs(object, maps, sizes, settings)?;
    set_tunables(&mut loaded.ebpf, pin_path, settings)?;
    Ok(loaded)
}

/// Has the kernel verify the programs, which use the maps in a directory.
fn programs(
    object: &[u8],
    maps: &Path,
    sizes: &Sizes,
    settings: Settings,
) -> Result<Loaded, LoadError> {
    let layout = settings.acceleration.unwrap_or_default();
    let mut loader = EbpfLoader::new();
    loader.override_global(names::SOCKET_LAYOUT, &layout, true);
    loader.override_global(names::SOCKET_ERROR_AT, &settings.socket_error_at, true);
    loader.override_global(names::LOG_LEVEL, &settings.log.number, true);
    for (map, entries) in sizes {
        loader.map_max_entries(map, *entries);
    }
    for map in names::MAPS {
        loader.map_pin_path(map, maps.join(map));
    }
    let mut ebpf = loader.load(object).map_err(|error| LoadError::Object(Box::new(error)))?;
    let verified = verify(&mut ebpf)?;
    if settings.acceleration.is_some() {
        // Before a socket is put into the map: it keeps the program that is there then.
        judge_messages(&mut ebpf, &maps.join(names::SOCKETS))?;
    }
    let accelerates = settings.acceleration.is_some();
    let (replaced, warnings) = (Vec::new(), Vec::new());
    Ok(Loaded { ebpf, verified, replaced, warnings, accelerates, log: settings.log })
}

fn make(path: &Path) -> Result<(), LoadError> {
    fs::create_dir_all(path)
        .map_err(|source| LoadError::Directory { path: path.to_owned(), source })
}

/// Pins a map that is pinned at `from` at `to` as well.
fn share(from: &Path, to: &Path) -> Result<(), LoadError> {
    let failed = |source| LayoutError::Pins { path: to.to_owned(), source };
    let map = sys::open_pin(from).map_err(failed)?;
    Ok(sys::pin(map.as_fd(), to).map_err(failed)?)
}

/// Where a map is pinned.
#[must_use]
pub fn map_path(pin_path: &Path, map: &str) -> PathBuf {
    pin_path.join(names::MAPS_DIR).join(map)
}

/// Refuses maps of another layout before anything is touched.
fn check_abi(pin_path: &Path) -> Result<(), LoadError> {
    let other = |found| Err(LoadError::Abi { path: pin_path.to_owned(), found });
    let pinned = |error| LoadError::Pinned { path: pin_path.to_owned(), source: Box::new(error) };
    let array = match pinned_tunables(pin_path) {
        Ok(Some(array)) => array,
        Ok(None) => return Ok(()),
        Err(MapError::InvalidValueSize { .. }) => return other(0),
        Err(error) => return Err(pinned(error)),
    };
    let found = array.get(&0, 0).map_err(pinned)?.abi_version;
    // 0: an agent made the map and died before it wrote the version.
    if found == ABI_VERSION || found == 0 { Ok(()) } else { other(found) }
}

/// The pinned switches; `None` where nothing is pinned.
fn pinned_tunables(pin_path: &Path) -> Result<Option<Array<MapData, Tunables>>, MapError> {
    let path = map_path(pin_path, names::TUNABLES);
    if !path.exists() {
        return Ok(None);
    }
    Array::try_from(Map::Array(MapData::from_pin(&path)?)).map(Some)
}

/// Attaches the program for messages to the map of sockets.
fn judge_messages(ebpf: &mut Ebpf, sockets: &Path) -> Result<(), LoadError> {
    let name = names::MESSAGE;
    let refused = |source| LoadError::Program { name, source: Box::new(source) };
    let unusable = |source| LoadError::Sockets { path: sockets.to_owned(), source };
    let Some(Program::SkMsg(program)) = ebpf.program_mut(name) else {
        return Err(LoadError::Missing(name));
    };
    program.load().map_err(refused)?;
    let map = sys::open_pin(sockets).map_err(unusable)?;
    let program = program.fd().map_err(refused)?;
    sys::attach_to_map(program.as_fd(), map.as_fd()).map_err(unusable)
}

fn set_tunables(ebpf: &mut Ebpf, pin_path: &Path, settings: Settings) -> Result<(), LoadError> {
    let pinned = |error| LoadError::Pinned { path: pin_path.to_owned(), source: Box::new(error) };
    let map = ebpf.map_mut(names::TUNABLES).ok_or(LoadError::Missing("map tunables"))?;
    let mut array: Array<_, Tunables> = Array::try_from(map).map_err(pinned)?;
    let mut tunables = array.get(&0, 0).map_err(pinned)?;
    tunables.abi_version = ABI_VERSION;
    let mut flags = TunableFlags::default();
    if settings.access_log {
        flags.bits |= TunableFlags::ACCESS_LOG.bits;
    }
    if settings.edges {
        flags.bits |= TunableFlags::EDGES.bits;
    }
    // What was on stays on, where it may be: open connections do not change over for a restart. The
    // reconciler turns it on and off.
    let kept = if settings.acceleration.is_some() { TunableFlags::ACCELERATION.bits } else { 0 };
    flags.bits |= tunables.flags.bits & (kept | TunableFlags::ENLISTED.bits);
    // Filters stay on across a restart: what is left alone must not be in the mesh in between.
    tunables.flags = Filters::of(tunables.flags).within(flags);
    array.set(0, tunables, 0).map_err(pinned)
}

fn verify(ebpf: &mut Ebpf) -> Result<Vec<(&'static str, Option<u32>)>, LoadError> {
    let mut verified = Vec::new();
    for name in names::PROGRAMS {
        let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let result = if let Program::CgroupSockAddr(program) = program {
            program.load()
        } else if let Program::SockOps(program) = program {
            program.load()
        } else if let Program::CgroupSock(program) = program {
            program.load()
        } else {
            return Err(LoadError::Missing(name));
        };
        result.map_err(|source| LoadError::Program { name, source: Box::new(source) })?;
        let info = program.info().ok();
        verified.push((name, info.and_then(|info| info.verified_instruction_count())));
    }
    Ok(verified)
}

/// The switch of acceleration, also when nothing is pinned any more.
pub(super) struct Switch {
    tunables: Option<Array<MapData, Tunables>>,
}

impl Switch {
    /// Of the maps below a path; of none where there are none.
    pub(super) fn open(pin_path: &Path) -> io::Result<Self> {
        let tunables = pinned_tunables(pin_path).map_err(io::Error::other)?;
        Ok(Self { tunables })
    }

    /// Has what is accelerated go on by TCP, and accelerates nothing more.
    pub(super) fn off(&mut self) -> io::Result<()> {
        let Some(array) = &mut self.tunables else { return Ok(()) };
        let mut tunables = array.get(&0, 0).map_err(io::Error::other)?;
        tunables.flags = tunables.flags.without(TunableFlags::ACCELERATION);
        array.set(0, tunables, 0).map_err(io::Error::other)
    }
}
