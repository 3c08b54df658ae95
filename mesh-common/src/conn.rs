//! The per-socket record: what a connection was asked for and where it went.

use crate::addr::IpKey;
use crate::backend::BackendIndex;
use crate::flags::flags;
use crate::logic::breaker::Ticket;
use crate::service::ServiceIndex;

/// Value of the `conns` table and, where that has no room, of the `conns_overflow` socket
/// storage. Written at `connect()`, given back when the connection has ended. A cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConnRecord {
    /// What the application connected to.
    pub frontend_addr: IpKey,
    /// Where the connection went. A record whose backend is not the socket's peer is left over
    /// from an earlier `connect()` on the same socket and means nothing.
    pub backend_addr: IpKey,
    /// Port of the frontend, host order.
    pub frontend_port: u16,
    /// Port of the backend, host order.
    pub backend_port: u16,
    /// The service.
    pub service: ServiceIndex,
    /// The backend.
    pub backend: BackendIndex,
    /// The backend's generation at `connect()`.
    pub generation: u32,
    /// How far the connection got.
    pub stage: Stage,
    /// What has to be undone at its end.
    pub flags: ConnFlags,
    /// While the connection is being made, the `TCP_USER_TIMEOUT` that the socket was given; later
    /// the low half of the kernel's receive counter on entering `FIN_WAIT2`, see
    /// [`crate::logic::payload`].
    pub received_mark: u32,
    /// `CLOCK_MONOTONIC` nanoseconds when the SYN was sent, or the datagram socket connected.
    pub started_ns: u64,
}

impl ConnRecord {
    /// Whether the record is about the connection to this peer, and not left over from another.
    #[must_use]
    #[inline(always)]
    pub const fn describes(&self, peer: &IpKey, port: u16) -> bool {
        self.backend_port == port && self.backend_addr.is(peer)
    }
}

/// Sockets that share a group of the `conns` table.
pub const WAYS: usize = 4;

/// Value of `conns_index`: whose the records of a group are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConnGroup {
    /// Cookies of the sockets; 0 where the record is free.
    pub cookies: [u64; WAYS],
}

/// How far a connection got.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stage {
    /// The number.
    pub code: u16,
}

impl Stage {
    /// A backend has been chosen for a TCP connection.
    pub const CHOSEN: Self = Self { code: 0 };
    /// The SYN has been sent.
    pub const CONNECTING: Self = Self { code: 1 };
    /// Established.
    pub const OPEN: Self = Self { code: 2 };
    /// Closed or failed; counted, nothing more to do.
    pub const DONE: Self = Self { code: 3 };
    /// A connected datagram socket: open until it is closed or connected elsewhere.
    pub const DATAGRAM: Self = Self { code: 4 };
}

/// What has to be undone at a connection's end.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConnFlags {
    /// The number.
    pub bits: u16,
}

flags!(ConnFlags);

impl ConnFlags {
    /// The backend's active connections include this one.
    pub const ACTIVE: Self = Self { bits: 1 };
    /// The loads of the service and of the backend include this connection, and its outcome is
    /// told to breakers and outlier detection.
    pub const GUARDED: Self = Self { bits: 2 };
    /// It is a trial of the backend's breaker. The bits from 8 on are the breaker's round.
    pub const TRIAL: Self = Self { bits: 4 };
    /// It is a trial of the service's breaker. The bits from 12 on are the breaker's round.
    pub const SERVICE_TRIAL: Self = Self { bits: 8 };
    /// The service has timeouts: the socket was told.
    pub const TIMED: Self = Self { bits: 16 };
    /// The application has closed the socket while the connection was being made.
    pub const ABANDONED: Self = Self { bits: 32 };

    /// Its data may go from socket to socket, if the backend is on this node.
    pub const ACCELERATED: Self = Self { bits: 64 };
    /// A datagram flow of which the programs have noted the client: its end is to be counted there.
    pub const BY_CLIENT: Self = Self { bits: 128 };

    const ROUND: u16 = 0xf;
    const ROUND_AT: u32 = 8;
    const SERVICE_ROUND_AT: u32 = 12;

    /// With what the backend's breaker gave the connection.
    #[must_use]
    #[inline(always)]
    pub const fn with_ticket(self, ticket: Ticket) -> Self {
        self.with(ticket, Self::TRIAL, Self::ROUND_AT)
    }

    /// With what the service's breaker gave the connection.
    #[must_use]
    #[inline(always)]
    pub const fn with_service_ticket(self, ticket: Ticket) -> Self {
        self.with(ticket, Self::SERVICE_TRIAL, Self::SERVICE_ROUND_AT)
    }

    /// What the backend's breaker gave the connection.
    #[must_use]
    #[inline(always)]
    pub const fn ticket(self) -> Ticket {
        self.of(Self::TRIAL, Self::ROUND_AT)
    }

    /// What the service's breaker gave the connection.
    #[must_use]
    #[inline(always)]
    pub const fn service_ticket(self) -> Ticket {
        self.of(Self::SERVICE_TRIAL, Self::SERVICE_ROUND_AT)
    }

    /// Whether it is a trial of a breaker.
    #[must_use]
    #[inline(always)]
    pub const fn is_trial(self) -> bool {
        self.bits & (Self::TRIAL.bits | Self::SERVICE_TRIAL.bits) != 0
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a round has 4 bits")]
    const fn with(self, ticket: Ticket, flag: Self, at: u32) -> Self {
        let trial = if ticket.trial { flag.bits } else { 0 };
        Self { bits: self.bits | trial | (ticket.round as u16 & Self::ROUND) << at }
    }

    #[inline(always)]
    const fn of(self, flag: Self, at: u32) -> Ticket {
        Ticket { round: (self.bits >> at & Self::ROUND) as u64, trial: self.contains(flag) }
    }
}

/// The only value of `conns_state`; written by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConnsState {
    /// Records that went to the overflow storage since the map was made. While it is 0, the
    /// programs do not look there.
    pub overflowed: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rounds_and_flags_keep_apart(
            (round, trial) in (0..16u64, any::<bool>()),
            (service_round, service_trial) in (0..16u64, any::<bool>()),
            others in 0..4u16,
        ) {
            let ticket = Ticket { round, trial };
            let service = Ticket { round: service_round, trial: service_trial };
            let flags = ConnFlags { bits: others }.with_ticket(ticket).with_service_ticket(service);
            prop_assert_eq!((flags.ticket(), flags.service_ticket()), (ticket, service));
            prop_assert_eq!(flags.bits & 3, others);
            let flags = flags.and(ConnFlags::ABANDONED).and(ConnFlags::TIMED);
            prop_assert_eq!((flags.ticket(), flags.service_ticket()), (ticket, service));
        }
    }
}
