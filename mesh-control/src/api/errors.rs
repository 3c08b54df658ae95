//! Errors as gRPC statuses. Violations ride in the status details as `mesh.v1.Violations`.

use mesh_api::model::ObjectRef;
use mesh_api::violation::{Reason, Violation};
use mesh_api::wire;
use prost::Message as _;
use tonic::{Code, Status};

use crate::store::StoreError;
use crate::validate::Refusal;
use crate::writer::WriteError;

/// Most bytes of violations in one status: it travels as an HTTP/2 header, clients accept 16 KiB
/// of these in base64.
const MAX_DETAILS: usize = 8 << 10;
/// Most characters of the message, which travels beside the details.
const MAX_TEXT: usize = 1000;
/// Most objects named in one message.
const MAX_NAMED: usize = 8;

/// Why a batch was not stored.
pub(super) fn write_status(error: &WriteError) -> Status {
    match error {
        WriteError::Refused(Refusal::Violations(violations)) => refused(violations),
        WriteError::Refused(Refusal::Absent(references)) => not_found(references),
        WriteError::Store(_) | WriteError::Stopped => Status::unavailable(error.to_string()),
    }
}

/// These objects do not exist.
pub(super) fn not_found(references: &[ObjectRef]) -> Status {
    let named = references.iter().take(MAX_NAMED);
    let named: Vec<String> = named.map(ToString::to_string).collect();
    let verb = if named.len() == 1 { "does" } else { "do" };
    let text = match references.len() - named.len() {
        0 => format!("{} {verb} not exist", named.join(", ")),
        more => format!("{} and {more} more do not exist", named.join(", ")),
    };
    Status::not_found(text)
}

pub(super) fn shutting_down() -> Status {
    Status::unavailable("the control plane is shutting down")
}

/// The store could not be read.
pub(super) fn store_status(error: &StoreError) -> Status {
    tracing::error!(%error, "cannot read the store");
    Status::internal(error.to_string())
}

fn refused(violations: &[Violation]) -> Status {
    let conflicts = violations.iter().all(|it| it.reason.is_conflict());
    let stale = violations.iter().all(|it| it.reason == Reason::Stale);
    let code = match (conflicts, stale) {
        (_, true) => Code::Aborted,
        (true, false) => Code::AlreadyExists,
        (false, false) => Code::InvalidArgument,
    };
    let first = violations.first().map(ToString::to_string);
    let first: String = first.unwrap_or_default().chars().take(MAX_TEXT).collect();
    let text = match violations.len() {
        0 | 1 => first,
        count => format!("{count} problems, the first: {first}"),
    };
    Status::with_details(code, text, details(violations).encode_to_vec().into())
}

/// As many violations as fit, and a last one that says how many did not.
fn details(violations: &[Violation]) -> wire::Violations {
    let mut size = 0;
    let mut fit = Vec::new();
    for violation in violations {
        let wire = wire::Violation::from(violation);
        size += wire.encoded_len() + 8;
        if size > MAX_DETAILS {
            break;
        }
        fit.push(wire);
    }
    let more = violations.len() - fit.len();
    if more > 0 {
        let message = format!("{more} more problems are not listed: mend these first");
        fit.push(wire::Violation {
            message,
            reason: wire::ViolationReason::Invalid.into(),
            ..wire::Violation::default()
        });
    }
    wire::Violations { violations: fit }
}
