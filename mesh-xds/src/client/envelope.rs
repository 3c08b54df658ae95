//! Looks at a response from outside: is it for us, and are the resources what it says they are?
//! What is in their bodies is the caller's to judge.

use std::collections::BTreeSet;

use super::{Malformed, Push, Received};
use crate::ads::{DeltaDiscoveryResponse, Resource};

/// The revision of a response that is usable as a whole.
pub(super) fn check(
    response: &DeltaDiscoveryResponse,
    mut subscribed: impl Iterator<Item: AsRef<str>>,
) -> Result<u64, Malformed> {
    if !subscribed.any(|type_url| type_url.as_ref() == response.type_url) {
        return Err(Malformed::UnknownType(response.type_url.clone()));
    }
    if response.nonce.is_empty() {
        return Err(Malformed::NoNonce);
    }
    let Ok(revision) = response.system_version_info.parse() else {
        return Err(Malformed::Revision(response.system_version_info.clone()));
    };
    // xDS protocol, "Duplicate Resource Names": clients should NACK such responses.
    let mut names = BTreeSet::new();
    let added = response.resources.iter().map(|resource| &resource.name);
    match added.chain(&response.removed_resources).find(|name| !names.insert(*name)) {
        Some(name) => Err(Malformed::Duplicate(name.clone())),
        None => Ok(revision),
    }
}

/// Take a checked response out of its envelope.
pub(super) fn open(response: DeltaDiscoveryResponse, revision: u64, stream: u64) -> Push {
    let mut push = Push {
        type_url: response.type_url,
        nonce: response.nonce,
        revision,
        added: Vec::with_capacity(response.resources.len()),
        removed: response.removed_resources,
        malformed: Vec::new(),
        stream,
    };
    for resource in response.resources {
        match received(&push.type_url, resource) {
            Ok(received) => push.added.push(received),
            Err(malformed) => push.malformed.push(malformed),
        }
    }
    push
}

/// One resource, or its name and what is wrong with it. A resource without a body would be a
/// heartbeat (xDS protocol, "TTL"); nobody sends us lifetimes, so it is an error here.
fn received(type_url: &str, resource: Resource) -> Result<Received, (String, String)> {
    let (name, version) = (resource.name, resource.version);
    if name.is_empty() {
        return Err((name, "a resource has no name".to_owned()));
    }
    match resource.resource {
        Some(any) if any.type_url == type_url => Ok(Received { name, version, body: any.value }),
        Some(any) => Err((name, format!("its body is of type {:?}", any.type_url))),
        None => Err((name, "it has no body".to_owned())),
    }
}
