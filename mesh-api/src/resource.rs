//! xDS resources: type URLs and content-hash versions.

use std::fmt::Write as _;

use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::model::Kind;

/// Prefix of every type URL.
pub const TYPE_PREFIX: &str = "type.googleapis.com/";
/// Type URL of [`crate::wire::Service`].
pub const SERVICE: &str = "type.googleapis.com/mesh.v1.Service";
/// Type URL of [`crate::wire::Endpoint`].
pub const ENDPOINT: &str = "type.googleapis.com/mesh.v1.Endpoint";
/// Type URL of [`crate::wire::ServiceConfig`].
pub const SERVICE_CONFIG: &str = "type.googleapis.com/mesh.v1.ServiceConfig";
/// Type URL of [`crate::wire::EndpointHealth`]; not part of a push that a revision ends.
pub const HEALTH: &str = "type.googleapis.com/mesh.v1.EndpointHealth";
/// Type URL of [`crate::wire::Revision`]; pushed last, see there.
pub const REVISION: &str = "type.googleapis.com/mesh.v1.Revision";
/// Name of the only resource of type [`REVISION`].
pub const REVISION_NAME: &str = "revision";

/// What agents subscribe to, in push order: what is referred to comes first, the revision last.
pub const AGENT_TYPES: [&str; 4] = [ENDPOINT, SERVICE_CONFIG, SERVICE, REVISION];

/// What agents subscribe to besides: sent as soon as it changes, outside of any revision.
pub const ASIDE_TYPES: [&str; 1] = [HEALTH];

/// The type URL that carries a kind.
#[must_use]
pub const fn type_url(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => SERVICE,
        Kind::Endpoint => ENDPOINT,
        Kind::ServiceConfig => SERVICE_CONFIG,
    }
}

/// Version of a resource: a hash of its canonical bytes, so that every replica, also after a
/// restart, gives the same content the same version. 64 bits in hexadecimal.
#[must_use]
pub fn version_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// Bytes and version of a message. Maps encode in key order, so equal messages hash equally.
#[must_use]
pub fn encode<M: Message>(message: &M) -> (Vec<u8>, String) {
    let bytes = message.encode_to_vec();
    let version = version_of(&bytes);
    (bytes, version)
}
