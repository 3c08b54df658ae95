//! Enrolment: whose connections the mesh looks after.

/// Key of the `cgroups` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupKey {
    /// Id of the cgroup: the inode number of its directory.
    pub id: u64,
}

/// Key of the `namespaces` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsKey {
    /// Cookie of the network namespace (`SO_NETNS_COOKIE`).
    pub cookie: u64,
}

/// Value of both.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Verdict {
    /// The number.
    pub code: u32,
}

impl Verdict {
    /// In the mesh.
    pub const IN: Self = Self { code: 1 };
    /// Left alone.
    pub const OUT: Self = Self { code: 2 };
}

/// How many levels of parents the programs ask when a cgroup is too new to be in the map.
pub const MAX_DEPTH: u32 = 10;
