//! Bytes of the ring → event. Pure; any bytes are survived.

use std::net::IpAddr;
use std::time::Duration;

use mesh_common::addr::IpKey;
use mesh_common::event::{Event, EventKind};

/// A connection that ended, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether it had been established.
    pub established: bool,
    /// Index of the service.
    pub service: u32,
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
}

/// Decodes a record; `None` where the bytes are not one.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Record> {
    let mut reader = Reader { bytes };
    let kind = reader.u32()?;
    let established = if kind == EventKind::CLOSED.code {
        true
    } else if kind == EventKind::FAILED.code {
        false
    } else {
        return None;
    };
    let service = reader.u32()?;
    let (_backend, _generation) = (reader.u32()?, reader.u32()?);
    let (_time, duration) = (reader.u64()?, reader.u64()?);
    let (bytes_sent, bytes_received) = (reader.u64()?, reader.u64()?);
    let (client, frontend, backend) = (reader.ip()?, reader.ip()?, reader.ip()?);
    let (client_port, frontend_port) = (reader.u16()?, reader.u16()?);
    let (backend_port, _pad) = (reader.u16()?, reader.u16()?);
    let (retransmits, _srtt) = (reader.u32()?, reader.u32()?);
    Some(Record {
        established,
        service,
        client: (client, client_port),
        frontend: (frontend, frontend_port),
        backend: (backend, backend_port),
        duration: Duration::from_nanos(duration),
        bytes_sent,
        bytes_received,
        retransmits,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_where_the_kernel_puts_them() {
        let mut bytes = vec![0u8; SIZE];
        bytes[0] = 2;
        bytes[4] = 9;
        bytes[24..32].copy_from_slice(&1_500_000_000u64.to_ne_bytes());
        bytes[58..64].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        bytes[96..98].copy_from_slice(&40_000u16.to_ne_bytes());
        bytes[104] = 3;
        let record = decode(&bytes).unwrap();
        assert!(!record.established);
        assert_eq!((record.service, record.retransmits), (9, 3));
        assert_eq!(record.duration, Duration::from_millis(1500));
        assert_eq!(record.client, ("10.0.0.1".parse().unwrap(), 40_000));
        assert_eq!(decode(&bytes[..SIZE - 1]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            if bytes.len() < SIZE {
                assert_eq!(decode(&bytes), None);
            }
        }
    }
}
