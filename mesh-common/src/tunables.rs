//! What the programs read to know how to behave; written by the agent.

use crate::flags::flags;

/// The only value of the `tunables` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tunables {
    /// [`crate::ABI_VERSION`] of the maps.
    pub abi_version: u32,
    /// Bits of [`TunableFlags`].
    pub flags: TunableFlags,
    /// Revision of the configuration that the maps hold; 0 before the first.
    pub revision: u64,
    /// Number of the agent's update that the maps hold, ascending on this node whatever the
    /// control plane's revisions do; tells whether the copy on disk is older than the maps.
    pub commit: u64,
}

/// Switches.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TunableFlags {
    /// The number.
    pub bits: u32,
}

flags!(TunableFlags);

impl TunableFlags {
    /// Report every closed connection on the ring, not only failures.
    pub const ACCESS_LOG: Self = Self { bits: 1 };
    /// Ask the map `cgroups` whether a connection is the mesh's.
    pub const CGROUP_FILTER: Self = Self { bits: 2 };
    /// A cgroup without a verdict is out; otherwise it is in.
    pub const CGROUP_DEFAULT_OUT: Self = Self { bits: 4 };
    /// Ask the map `namespaces` whether a connection is the mesh's.
    pub const NETNS_FILTER: Self = Self { bits: 8 };
    /// A network namespace without a verdict is out; otherwise it is in.
    pub const NETNS_DEFAULT_OUT: Self = Self { bits: 16 };
    /// Ask the map `direct` whether a socket goes its own way.
    pub const DIRECT: Self = Self { bits: 32 };

    /// Connections may be accelerated. Where this is not set, what is accelerated goes on by TCP.
    pub const ACCELERATION: Self = Self { bits: 64 };
    /// Sockets can be in the map of sockets. Set with [`Self::ACCELERATION`], and stays: a socket that
    /// connects again has to leave.
    pub const ENLISTED: Self = Self { bits: 128 };
    /// Count connections also by who makes them, in `edges`.
    pub const EDGES: Self = Self { bits: 256 };
    /// Report every connection that opens, closes or is refused on the ring, not only failures.
    pub const TAP: Self = Self { bits: 1024 };
}
