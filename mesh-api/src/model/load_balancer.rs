//! How one of several endpoints is chosen for a connection.

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The way of choosing.
    pub policy: Policy,
    /// What [`Policy::Maglev`] hashes; of no meaning for the others, and the default there.
    pub hash_key: HashKey,
    /// Whether near endpoints come first; `None` takes all alike.
    pub locality: Option<LocalityPolicy>,
    /// How long an endpoint that turned healthy takes to get its full share, 1 second to 1 hour;
    /// `None`: no time.
    pub slow_start: Option<std::time::Duration>,
    /// Below this percentage of healthy endpoints, health and ejections are ignored; 0: never.
    pub panic_threshold: u8,
}

/// The way of choosing; each respects the shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// A weighted random draw.
    #[default]
    Random,
    /// One after the other, in proportion to the weights.
    RoundRobin,
    /// Of two drawn at random, the one with fewer open connections from this node.
    LeastConnections,
    /// Consistent hashing: the same key goes to the same endpoint, on every node.
    Maglev,
}

impl Policy {
    /// The name used in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "Random",
            Self::RoundRobin => "RoundRobin",
            Self::LeastConnections => "LeastConnections",
            Self::Maglev => "Maglev",
        }
    }
}

/// What consistent hashing hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashKey {
    /// The client's network namespace, which is what its address would stand for.
    #[default]
    NetworkNamespace,
    /// The client's cgroup.
    Workload,
    /// The socket: every connection on its own.
    Connection,
}

/// Whether and how near endpoints come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalityPolicy {
    /// What happens when none is near.
    pub mode: LocalityMode,
    /// The finest level that is told apart.
    pub scope: LocalityScope,
}

/// What happens when no endpoint is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalityMode {
    /// The next level is taken: node, zone, region, anywhere.
    PreferLocal,
    /// The service has no backend.
    Strict,
}

/// The finest level that is told apart, from near to far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalityScope {
    /// The same node.
    #[default]
    Node,
    /// The same zone: node and zone are one level.
    Zone,
    /// The same region: node, zone and region are one level.
    Region,
}

impl LocalityScope {
    /// The name used in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Zone => "Zone",
            Self::Region => "Region",
        }
    }
}
