//! Workloads: who runs in a cgroup (`identity`, pure; `by_id` asks for its path), the list of all
//! of this node (`inventory`, pure), and how it is told: to the control plane (`report`) and on the agent's
//! HTTP port (`http`).

pub mod by_id;
pub mod http;
pub mod identity;
pub mod inventory;
pub mod report;

/// What a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A unit of systemd that is not a slice: service, scope, socket, mount, swap.
    Unit,
    /// A slice of systemd: holds units, no processes.
    Slice,
    /// A pod of Kubernetes, or a container of one.
    Pod,
    /// A container of Docker, Podman, containerd, CRI-O or nerdctl outside Kubernetes.
    Container,
    /// A machine of systemd-machined: nspawn, or a virtual machine of libvirt.
    Machine,
    /// A container of LXC, LXD or Incus.
    Lxc,
    /// None of these: a plain cgroup.
    Cgroup,
}

impl Kind {
    /// As it is printed and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Slice => "slice",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Machine => "machine",
            Self::Lxc => "lxc",
            Self::Cgroup => "cgroup",
        }
    }
}

/// Who runs in a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What it is.
    pub kind: Kind,
    /// Unit (`user-UID:UNIT` below a user's manager), pod uid, short container id, machine name
    /// or path. A label of metrics: 1 to 100 printable ASCII characters, no space.
    pub name: String,
    /// In Kubernetes: the pod.
    pub pod_uid: Option<String>,
    /// In a container: the runtime's id, in full.
    pub container_id: Option<String>,
    /// From the root of cgroup v2, beginning with `/`.
    pub path: String,
    /// Inode number of the directory, which is what `bpf_get_current_cgroup_id` returns.
    pub cgroup_id: u64,
}

impl Workload {
    /// Whether it only groups workloads: a slice, or a pod above its containers. Processes are
    /// in what is below.
    #[must_use]
    pub const fn is_group(&self) -> bool {
        match self.kind {
            Kind::Slice => true,
            Kind::Pod => self.container_id.is_none(),
            Kind::Unit | Kind::Container | Kind::Machine | Kind::Lxc | Kind::Cgroup => false,
        }
    }
}
