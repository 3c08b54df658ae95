//! What the client machine hands out.

use thiserror::Error;

use crate::ads::DeltaDiscoveryRequest;

/// A resource as received; the body is not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Name of the resource.
    pub name: String,
    /// The server's version of it.
    pub version: String,
    /// The encoded message.
    pub body: Vec<u8>,
}

/// One response, to be applied and then answered with
/// [`ack`](super::DeltaClient::ack) or [`nack`](super::DeltaClient::nack).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Type of all resources in it, one of those subscribed to.
    pub type_url: String,
    /// Pairs the answer with the response.
    pub nonce: String,
    /// Snapshot revision it belongs to.
    pub revision: u64,
    /// New and changed resources; each replaces the one of its name.
    pub added: Vec<Received>,
    /// Names of resources that no longer exist, or never did.
    pub removed: Vec<String>,
    /// `(name, reason)` of resources whose envelope is broken. They are not in `added`;
    /// [`ack`](super::DeltaClient::ack) turns into a NACK that names them.
    pub malformed: Vec<(String, String)>,
    /// Number of the stream it came from: an answer must not reach a later stream, where the
    /// same nonce means something else.
    pub(super) stream: u64,
}

/// Why a whole response is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// A type nobody subscribed to.
    #[error("response of type {0:?}, which was not subscribed to")]
    UnknownType(String),
    /// Nothing to answer with.
    #[error("response without nonce")]
    NoNonce,
    /// The version of the whole response is the store revision in decimal.
    #[error("system_version_info {0:?} is not a revision (a decimal number)")]
    Revision(String),
    /// One name twice: the outcome would depend on the order.
    #[error("resource {0:?} is named twice in one response")]
    Duplicate(String),
}

/// A response that cannot be used at all; nothing of it may be applied.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("the control plane sent a malformed response: {reason}")]
pub struct Rejected {
    /// The NACK to send. Boxed: requests are large.
    pub request: Box<DeltaDiscoveryRequest>,
    /// What is wrong.
    #[source]
    pub reason: Malformed,
}
