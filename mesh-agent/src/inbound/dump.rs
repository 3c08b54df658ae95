//! What the programs keep about connections to this node's endpoints, as `mesh-agent dump` prints it:
//! one line for each endpoint and client.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mesh_common::edge::EdgeCounters;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};

use crate::image::Address;

/// The lines of endpoints that are counted now, sorted.
#[must_use]
pub fn lines(
    locals: &BTreeMap<FrontendKey, EndpointId>,
    mut entries: Vec<(InboundKey, EdgeCounters)>,
) -> String {
    let places: BTreeMap<EndpointId, &FrontendKey> =
        locals.iter().map(|(key, id)| (*id, key)).collect();
    entries.sort_unstable_by_key(|(key, _)| (places.get(&key.endpoint).copied(), *key));
    let mut text = String::new();
    // Writing to a string does not fail.
    for (InboundKey { endpoint, client }, counters) in entries {
        let Some(place) = places.get(&endpoint) else { continue };
        write!(text, "INBOUND {}", Address(&place.addr, place.port)).unwrap_or_default();
        if client == ClientId::UNKNOWN {
            write!(text, " CLIENT=unknown").unwrap_or_default();
        } else {
            write!(text, " CLIENT={}", client.number).unwrap_or_default();
        }
        let EdgeCounters { opened, closed, bytes_sent, bytes_received, .. } = counters;
        write!(text, " OPENED={opened} CLOSED={closed}").unwrap_or_default();
        writeln!(text, " SENT={bytes_sent} RECEIVED={bytes_received}").unwrap_or_default();
    }
    text
}
