//! Bytes of the ring → what they tell. Pure; any bytes are survived.

use std::mem::offset_of;
use std::net::IpAddr;
use std::time::Duration;

use mesh_common::accel::{Path, Paths};
use mesh_common::addr::IpKey;
use mesh_common::backend::BackendIndex;
use mesh_common::edge::FailureCause;
use mesh_common::event::{Event, EventKind};
use mesh_common::guard::Transition;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use crate::reconcile::BackendKey;

/// What the programs tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Something became of a connection.
    Connection(Record),
    /// A breaker or an ejection changed.
    Transition(Transition),
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It is established.
    Opened,
    /// It had been established, and has ended.
    Closed,
    /// It was not established.
    Failed(FailureCause),
    /// The service did not let it be made.
    Refused(Reason),
}

/// What became of a connection, and which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub happened: Happened,
    /// When, by `CLOCK_MONOTONIC`.
    pub time: Duration,
    /// The service.
    pub service: ServiceIndex,
    /// The backend; none where it was refused.
    pub backend_key: BackendKey,
    /// Id of the client's cgroup; 0 where it is not known.
    pub cgroup: u64,
    /// Whether it is of datagrams.
    pub is_udp: bool,
    /// The client.
    pub client: (IpAddr, u16),
    /// What it connected to.
    pub frontend: (IpAddr, u16),
    /// Where it went.
    pub backend: (IpAddr, u16),
    /// From SYN to the end.
    pub duration: Duration,
    /// Payload bytes sent and acknowledged.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Smoothed round-trip time; 0 where none was measured.
    pub srtt: Duration,
    /// Which ways went what was sent and what was received, of a connection that could be
    /// accelerated.
    pub paths: Option<(Path, Path)>,
}

/// Decodes a record by its first field; `None` where the bytes are not one.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Told> {
    let mut reader = Reader { bytes };
    match (EventKind { code: reader.u32()? }) {
        kind @ (EventKind::CLOSED | EventKind::FAILED | EventKind::OPENED | EventKind::REFUSED) => {
            connection(reader, kind).map(Told::Connection)
        }
        kind @ (EventKind::BREAKER | EventKind::OUTLIER) => {
            transition(reader, kind).map(Told::Transition)
        }
        _ => None,
    }
}

fn transition(mut reader: Reader<'_>, kind: EventKind) -> Option<Transition> {
    Some(Transition {
        kind,
        service: ServiceIndex { index: reader.u32()? },
        backend: BackendIndex { index: reader.u32()? },
        generation: reader.u32()?,
        time_ns: reader.u64()?,
        before: reader.u64()?,
        after: reader.u64()?,
    })
}

fn connection(mut reader: Reader<'_>, kind: EventKind) -> Option<Record> {
    let service = ServiceIndex { index: reader.u32()? };
    let backend_key = (BackendIndex { index: reader.u32()? }, reader.u32()?);
    let (time, duration) = (reader.u64()?, reader.u64()?);
    let (bytes_sent, bytes_received) = (reader.u64()?, reader.u64()?);
    let (client, frontend, backend) = (reader.ip()?, reader.ip()?, reader.ip()?);
    let (client_port, frontend_port) = (reader.u16()?, reader.u16()?);
    let (backend_port, paths) = (reader.u16()?, Paths { bits: reader.u16()? });
    let (retransmits, srtt) = (reader.u32()?, reader.u32()?);
    // Programs of an earlier version do not say these.
    let cgroup = reader.u64().unwrap_or_default();
    let (cause, protocol) = (reader.u32().unwrap_or_default(), reader.u32().unwrap_or_default());
    let happened = match kind {
        EventKind::OPENED => Happened::Opened,
        EventKind::CLOSED => Happened::Closed,
        EventKind::REFUSED => Happened::Refused(Reason { code: cause }),
        _ => Happened::Failed(FailureCause { code: cause }),
    };
    Some(Record {
        happened,
        time: Duration::from_nanos(time),
        service,
        backend_key,
        cgroup,
        is_udp: protocol == UDP,
        client: (client, client_port),
        frontend: (frontend, frontend_port),
        backend: (backend, backend_port),
        duration: Duration::from_nanos(duration),
        bytes_sent,
        bytes_received,
        retransmits,
        srtt: Duration::from_micros(srtt.into()),
        paths: paths.get(),
    })
}

/// IANA's number.
const UDP: u32 = 17;

/// Least size of a record: what programs have said from the first version on.
pub const SIZE: usize = offset_of!(Event, cgroup);

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    fn ip(&mut self) -> Option<IpAddr> {
        Some(IpKey { octets: self.take()? }.to_ip())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A connection of nobody.
    pub(crate) fn record(kind: EventKind) -> Record {
        let mut bytes = vec![0u8; SIZE];
        bytes[..4].copy_from_slice(&kind.code.to_ne_bytes());
        let Some(Told::Connection(record)) = decode(&bytes) else { panic!() };
        record
    }

    #[test]
    fn fields_are_where_the_kernel_puts_them() {
        let mut bytes = vec![0u8; SIZE];
        bytes[0] = 2;
        bytes[8] = 9;
        bytes[12] = 4;
        bytes[24..32].copy_from_slice(&1_500_000_000u64.to_ne_bytes());
        bytes[58..64].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        bytes[96..98].copy_from_slice(&40_000u16.to_ne_bytes());
        bytes[104] = 3;
        let Told::Connection(record) = decode(&bytes).unwrap() else { panic!() };
        assert_eq!(record.happened, Happened::Failed(FailureCause::GIVEN_UP));
        assert_eq!(record.backend_key, (BackendIndex { index: 9 }, 4));
        assert_eq!(record.retransmits, 3);
        assert_eq!(record.paths, None);
        assert_eq!(record.duration, Duration::from_millis(1500));
        assert_eq!(record.client, ("10.0.0.1".parse().unwrap(), 40_000));
        assert_eq!(decode(&bytes[..SIZE - 1]), None);
        assert_eq!((record.cgroup, record.is_udp), (0, false));
        let paths = Paths::new(Path::LEFT, Path::REDIRECTED);
        bytes[102..104].copy_from_slice(&paths.bits.to_ne_bytes());
        let Told::Connection(record) = decode(&bytes).unwrap() else { panic!() };
        assert_eq!(record.paths, Some((Path::LEFT, Path::REDIRECTED)));
        bytes[0] = 6;
        bytes.extend(77u64.to_ne_bytes());
        bytes.extend([Reason::BREAKER_OPEN.code, 17].into_iter().flat_map(u32::to_ne_bytes));
        assert_eq!(bytes.len(), size_of::<Event>());
        let Told::Connection(record) = decode(&bytes).unwrap() else { panic!() };
        assert_eq!(record.happened, Happened::Refused(Reason::BREAKER_OPEN));
        assert_eq!((record.cgroup, record.is_udp), (77, true));
    }

    #[test]
    fn the_first_field_tells_transitions_from_connections() {
        let fields = [4u32, 3, 7, 5].into_iter().flat_map(u32::to_ne_bytes);
        let words = [90u64, 1, 2].into_iter().flat_map(u64::to_ne_bytes);
        let bytes: Vec<u8> = fields.chain(words).collect();
        let expected = Transition {
            kind: EventKind::OUTLIER,
            service: ServiceIndex { index: 3 },
            backend: BackendIndex { index: 7 },
            generation: 5,
            time_ns: 90,
            before: 1,
            after: 2,
        };
        assert_eq!(decode(&bytes), Some(Told::Transition(expected)));
        assert_eq!(bytes.len(), size_of::<Transition>());
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            if let Some(Told::Connection(_)) = decode(&bytes) {
                assert!(bytes.len() >= SIZE);
            }
        }
    }
}
