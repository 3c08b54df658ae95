//! Why a stream must end.

use thiserror::Error;

/// The client broke the protocol; end the stream with `INVALID_ARGUMENT` and this message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProtocolError {
    /// The first request of a stream carries the node.
    #[error("the first request of a stream must carry a node with an id")]
    NoNode,
    /// A field is longer than [`MAX_NAME_BYTES`](super::MAX_NAME_BYTES).
    #[error("{field} is {len} bytes long; at most {max} are allowed", max = super::MAX_NAME_BYTES)]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A request without a type.
    #[error("a request must carry a type_url")]
    NoType,
    /// More types than [`MAX_TYPES`](super::MAX_TYPES).
    #[error("a stream may subscribe to at most {max} types", max = super::MAX_TYPES)]
    TooManyTypes,
    /// An empty resource name.
    #[error("resource names must not be empty")]
    EmptyName,
    /// More names than [`MAX_NAMES`](super::MAX_NAMES).
    #[error("{count} resource names in {field}; at most {max} are allowed", max = super::MAX_NAMES)]
    TooManyNames {
        /// Which field, or "subscriptions" for all those of the stream.
        field: &'static str,
        /// How many.
        count: usize,
    },
    /// An answer that names a response of another type.
    #[error("nonce {nonce:?} belongs to a response of type {sent}, not {answered}")]
    WrongType {
        /// The nonce.
        nonce: String,
        /// Type of the response.
        sent: String,
        /// Type of the answer.
        answered: String,
    },
}
