//! Flows of unconnected datagram sockets: each datagram names its destination, so the socket
//! remembers which backend stands for which service, for stickiness and for the replies.

use crate::addr::IpKey;
use crate::backend::BackendIndex;
use crate::conn::ConnFlags;

/// Services that one unconnected socket can talk to at a time. With one more, the flow that was
/// used longest ago is forgotten, and [`crate::reason::Reason::FLOW_REPLACED`] counts it.
pub const FLOWS: usize = 16;

/// One service that a socket sends datagrams to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flow {
    /// What the application sends to.
    pub frontend_addr: IpKey,
    /// Where the datagrams go.
    pub backend_addr: IpKey,
    /// Port of the frontend, host order; 0 where the entry is free.
    pub frontend_port: u16,
    /// Port of the backend, host order.
    pub backend_port: u16,
    /// Low half of the id of the cgroup that has made the flow, if it is counted by client.
    pub cgroup_low: u32,
    /// The backend.
    pub backend: BackendIndex,
    /// The backend's generation when it was chosen.
    pub generation: u32,
    /// [`Flows::clock`] at the last datagram sent.
    pub used: u32,
    /// What has to be undone at its end.
    pub flags: ConnFlags,
    /// The bits of the cgroup's id above the low half. The kernel gives the low half out in turn, and
    /// counts here how often it has gone round.
    pub cgroup_high: u16,
}

impl Flow {
    /// Notes who has made the flow.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "in two parts")]
    pub const fn set_cgroup(&mut self, cgroup: u64) {
        self.cgroup_low = cgroup as u32;
        self.cgroup_high = (cgroup >> 32) as u16;
    }

    /// Id of the cgroup that has made the flow.
    #[must_use]
    #[inline(always)]
    pub const fn cgroup(&self) -> u64 {
        self.cgroup_low as u64 | (self.cgroup_high as u64) << 32
    }
}

/// Value of the `flows` socket storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flows {
    /// Counts the datagrams that changed which flow was used last.
    pub clock: u32,
    /// Not 0 while a thread changes the flows: threads may send on one socket at once.
    pub lock: u32,
    /// The flows, in no order.
    pub flows: [Flow; FLOWS],
}
