//! What the programs read to know how to behave; written by the agent.

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

impl TunableFlags {
    /// Report every closed connection on the ring, not only failures.
    pub const ACCESS_LOG: Self = Self { bits: 1 };

    /// Whether all bits of `flags` are set.
    #[must_use]
    #[inline(always)]
    pub const fn contains(self, flags: Self) -> bool {
        self.bits & flags.bits == flags.bits
    }
}
