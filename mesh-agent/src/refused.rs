//! What an answer to a report means for the next one.

use tonic::Code;

/// Whether the same report will not be taken later either.
#[must_use]
pub const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Unimplemented
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::ResourceExhausted
    )
}
