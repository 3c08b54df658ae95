//! Bytes of the ring → what they tell. Pure; any bytes are survived.

use std::net::IpAddr;
use std::time::Duration;

use mesh_common::accel::{Path, Paths};
use mesh_common::addr::IpKey;
use mesh_common::backend::BackendIndex;
use mesh_common::event::{Event, EventKind};
use mesh_common::guard::Transition;
use mesh_common::service::ServiceIndex;

use crate::reconcile::BackendKey;

/// What the programs tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A connection ended.
    Connection(Record),
    /// A breaker or an ejection changed.
    Transition(Transition),
}

/// A connection that ended, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether it had been established.
    pub established: bool,
    /// The backend.
    pub backend_key: BackendKey,
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
    /// Which ways went what was sent and what was received, of a connection that could be
    /// accelerated.
    pub paths: Option<(Path, Path)>,
}

/// Decodes a record by its first field; `None` where the bytes are not one.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Told> {
    let mut reader = Reader { bytes };
    match (EventKind { code: reader.u32()? }) {
        EventKind::CLOSED => connection(reader, true).map(Told::Connection),
        EventKind::FAILED => connection(reader, false).map(Told::Connection),
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

fn connection(mut reader: Reader<'_>, established: bool) -> Option<Record> {
    let _service = reader.u32()?;
    let backend_key = (BackendIndex { index: reader.u32()? }, reader.u32()?);
    let (_time, duration) = (reader.u64()?, reader.u64()?);
    let (bytes_sent, bytes_received) = (reader.u64()?, reader.u64()?);
    let (client, frontend, backend) = (reader.ip()?, reader.ip()?, reader.ip()?);
    let (client_port, frontend_port) = (reader.u16()?, reader.u16()?);
    let (backend_port, paths) = (reader.u16()?, Paths { bits: reader.u16()? });
    let (retransmits, _srtt) = (reader.u32()?, reader.u32()?);
    Some(Record {
        established,
        backend_key,
        client: (client, client_port),
        frontend: (frontend, frontend_port),
        backend: (backend, backend_port),
        duration: Duration::from_nanos(duration),
        bytes_sent,
        bytes_received,
        retransmits,
        paths: paths.get(),
    })
}

/// Size of a record, as both sides know it.
pub const SIZE: usize = size_of::<Event>();

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
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A connection of nobody.
    pub(in crate::events) fn record(established: bool) -> Record {
        let kind = if established { EventKind::CLOSED } else { EventKind::FAILED };
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
        assert!(!record.established);
        assert_eq!(record.backend_key, (BackendIndex { index: 9 }, 4));
        assert_eq!(record.retransmits, 3);
        assert_eq!(record.paths, None);
        assert_eq!(record.duration, Duration::from_millis(1500));
        assert_eq!(record.client, ("10.0.0.1".parse().unwrap(), 40_000));
        assert_eq!(decode(&bytes[..SIZE - 1]), None);
        let paths = Paths::new(Path::LEFT, Path::REDIRECTED);
        bytes[102..104].copy_from_slice(&paths.bits.to_ne_bytes());
        let Told::Connection(record) = decode(&bytes).unwrap() else { panic!() };
        assert_eq!(record.paths, Some((Path::LEFT, Path::REDIRECTED)));
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
