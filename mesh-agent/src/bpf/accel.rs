//! The program for messages with maps of its own, for the self-test of acceleration: nothing is
//! pinned, nothing that the mesh uses is touched, and all of it goes when this is dropped.

use std::os::fd::AsFd;

use aya::maps::{Array, MapError, SkStorage, SockHash};
use aya::programs::{ProgramError, SkMsg};
use aya::{Ebpf, EbpfError, EbpfLoader};
use mesh_common::accel::{Accelerated, Alarm, End, Pair, PairId, SocketKey, SocketLayout};
use mesh_common::names;
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::tunables::{TunableFlags, Tunables};

/// Why the self-test cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// The object cannot be loaded.
    #[error("cannot load the eBPF object: {0}")]
    Object(#[source] Box<EbpfError>),
    /// The program cannot be loaded or attached.
    #[error("cannot use the program {name}: {0}", name = names::MESSAGE)]
    Program(#[source] Box<ProgramError>),
    /// A map cannot be read or written.
    #[error("cannot use the map {map}: {source}")]
    Map {
        /// Which one.
        map: &'static str,
        /// The cause.
        #[source]
        source: Box<MapError>,
    },
    /// The object lacks something.
    #[error("the eBPF object has no {0}: it was not built from this version")]
    Missing(&'static str),
}

/// Entries of the maps: one for each pair of sockets is enough.
const ENTRIES: u32 = 256;
/// A multiple of every page size.
const RING: u32 = 64 << 10;
/// Maps without a size of their own: storages have none, and this one has a single entry.
const FIXED: [&str; 7] = [
    names::DIRECT,
    names::CONNS_OVERFLOW,
    names::FLOWS,
    names::ACCELERATED,
    names::ACCEPTED,
    names::TUNABLES,
    names::CONNS_STATE,
];

/// The program, its maps, and how many pairs of sockets have been put into them.
#[derive(Debug)]
pub struct Rig {
    ebpf: Ebpf,
    places: u32,
}

impl Rig {
    /// Loads and attaches. Nothing is redirected before [`Self::switch`].
    pub fn load(object: &[u8], layout: &SocketLayout) -> Result<Self, RigError> {
        let mut loader = EbpfLoader::new();
        loader.override_global(names::SOCKET_LAYOUT, layout, true);
        for map in names::MAPS.into_iter().filter(|map| !FIXED.contains(map)) {
            loader.map_max_entries(map, if map == names::EVENTS { RING } else { ENTRIES });
        }
        let mut ebpf = loader.load(object).map_err(|error| RigError::Object(Box::new(error)))?;
        let map = ebpf.map(names::SOCKETS).ok_or(RigError::Missing("map sockets"))?;
        let sockets: SockHash<_, SocketKey> =
            SockHash::try_from(map).map_err(of(names::SOCKETS))?;
        let sockets =
            sockets.fd().try_clone().map_err(|error| failed(ProgramError::IOError(error)))?;
        let program = ebpf.program_mut(names::MESSAGE).ok_or(RigError::Missing(names::MESSAGE))?;
        let program: &mut SkMsg = program.try_into().map_err(failed)?;
        program.load().map_err(failed)?;
        // Before the first socket: each takes the program over when it comes.
        program.attach(&sockets).map_err(failed)?;
        let map = ebpf.map_mut(names::SERVICES).ok_or(RigError::Missing("map services"))?;
        let mut services: Array<_, ServiceHead> =
            Array::try_from(map).map_err(of(names::SERVICES))?;
        // Of all connections here, whose records nobody has written.
        let head = ServiceHead { flags: ServiceFlags::ACCELERATED, ..ServiceHead::default() };
        services.set(ServiceIndex::NONE.index, head, 0).map_err(of(names::SERVICES))?;
        Ok(Self { ebpf, places: 0 })
    }

    /// Makes an accelerated connection of the two ends of one. Returns its place.
    pub fn enrol(&mut self, client: impl AsFd, server: impl AsFd) -> Result<u32, RigError> {
        let place = self.places % ENTRIES;
        self.places += 1;
        // Any number does: the maps are private.
        let id = PairId { number: self.places.into() };
        let map = self.ebpf.map_mut(names::PAIRS).ok_or(RigError::Missing("map pairs"))?;
        let mut pairs: Array<_, Pair> = Array::try_from(map).map_err(of(names::PAIRS))?;
        let (client_at, server_at) = (Pair::SOMEWHERE, Pair::SOMEWHERE);
        let pair = Pair { id, client_at, server_at, ..Pair::default() };
        pairs.set(place, pair, 0).map_err(of(names::PAIRS))?;
        for (end, socket) in [(End::CLIENT, client.as_fd()), (End::SERVER, server.as_fd())] {
            let missing = RigError::Missing("map accelerated");
            let map = self.ebpf.map_mut(names::ACCELERATED).ok_or(missing)?;
            let mut storage: SkStorage<_, Accelerated> =
                SkStorage::try_from(map).map_err(of(names::ACCELERATED))?;
            let own = Accelerated { id, place, end, alarm: Alarm::default() };
            storage.insert(&socket, own, 0).map_err(of(names::ACCELERATED))?;
            let map = self.ebpf.map_mut(names::SOCKETS).ok_or(RigError::Missing("map sockets"))?;
            let mut sockets: SockHash<_, SocketKey> =
                SockHash::try_from(map).map_err(of(names::SOCKETS))?;
            let key = SocketKey { id, end, pad: 0 };
            sockets.insert(key, socket, 0).map_err(of(names::SOCKETS))?;
        }
        Ok(place)
    }

    /// What the program has written about a connection.
    pub fn pair(&self, place: u32) -> Result<Pair, RigError> {
        let map = self.ebpf.map(names::PAIRS).ok_or(RigError::Missing("map pairs"))?;
        let pairs: Array<_, Pair> = Array::try_from(map).map_err(of(names::PAIRS))?;
        pairs.get(&place, 0).map_err(of(names::PAIRS))
    }

    /// Switches acceleration on or off.
    pub fn switch(&mut self, on: bool) -> Result<(), RigError> {
        let map = self.ebpf.map_mut(names::TUNABLES).ok_or(RigError::Missing("map tunables"))?;
        let mut array: Array<_, Tunables> = Array::try_from(map).map_err(of(names::TUNABLES))?;
        let flags = if on { TunableFlags::ACCELERATION } else { TunableFlags::default() };
        array.set(0, Tunables { flags, ..Tunables::default() }, 0).map_err(of(names::TUNABLES))
    }
}

fn failed(error: ProgramError) -> RigError {
    RigError::Program(Box::new(error))
}

fn of(map: &'static str) -> impl Fn(MapError) -> RigError {
    move |error| RigError::Map { map, source: Box::new(error) }
}
