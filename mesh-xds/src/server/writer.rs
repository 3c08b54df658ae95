//! Cuts what is due into responses below the size limit. Receivers refuse larger messages
//! (4 MiB is the usual limit of gRPC), and delta responses may be split anywhere: each stands
//! for itself (xDS protocol, "Grouping Resources into Responses").

use std::sync::Arc;

use prost::{Message as _, length_delimiter_len};

use crate::{
    ads::{Any, DeltaDiscoveryResponse, Resource as WireResource},
    snapshot::Resource,
};

/// Collects the responses of one push.
#[derive(Debug)]
pub(super) struct Writer<'n> {
    limit: usize,
    version: String,
    next_nonce: &'n mut u64,
    done: Vec<DeltaDiscoveryResponse>,
}

/// The response being filled.
#[derive(Debug)]
struct Open {
    response: DeltaDiscoveryResponse,
    bytes: usize,
}

impl<'n> Writer<'n> {
    /// `limit` in encoded bytes; `revision` goes into every response; nonces count on from
    /// `next_nonce`.
    pub(super) fn new(limit: usize, revision: u64, next_nonce: &'n mut u64) -> Self {
        Self { limit, version: revision.to_string(), next_nonce, done: Vec::new() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    pub(super) fn finish(self) -> Vec<DeltaDiscoveryResponse> {
        self.done
    }

    /// At least one response of this type, with these resources, then these removals.
    pub(super) fn write(
        &mut self,
        type_url: &str,
        added: &[(&str, &Arc<Resource>)],
        removed: Vec<String>,
    ) {
        let mut open = self.open(type_url);
        for (name, resource) in added {
            let resource = wire(type_url, name, resource);
            open = self.make_room(open, resource.encoded_len());
            open.response.resources.push(resource);
        }
        for name in removed {
            open = self.make_room(open, name.len());
            open.response.removed_resources.push(name);
        }
        self.done.push(open.response);
    }

    /// A response with room for one more field of this length: the same or a new one.
    fn make_room(&mut self, mut open: Open, len: usize) -> Open {
        // Tags of both fields take one byte.
        let bytes = 1 + length_delimiter_len(len) + len;
        let response = &open.response;
        let filled = !response.resources.is_empty() || !response.removed_resources.is_empty();
        if filled && open.bytes.saturating_add(bytes) > self.limit {
            let type_url = open.response.type_url.clone();
            self.done.push(open.response);
            open = self.open(&type_url);
        }
        open.bytes = open.bytes.saturating_add(bytes);
        open
    }

    fn open(&mut self, type_url: &str) -> Open {
        *self.next_nonce += 1;
        let response = DeltaDiscoveryResponse {
            system_version_info: self.version.clone(),
            type_url: type_url.to_owned(),
            nonce: self.next_nonce.to_string(),
            ..DeltaDiscoveryResponse::default()
        };
        Open { bytes: response.encoded_len(), response }
    }
}

fn wire(type_url: &str, name: &str, resource: &Resource) -> WireResource {
    WireResource {
        name: name.to_owned(),
        version: resource.version.clone(),
        resource: Some(Any { type_url: type_url.to_owned(), value: resource.body.to_vec() }),
        ..WireResource::default()
    }
}
