//! Violations and warnings: model ⇄ wire.

use crate::model::ObjectRef;
use crate::violation::{Reason, Violation, Warning};
use crate::wire;

impl From<&Violation> for wire::Violation {
    fn from(violation: &Violation) -> Self {
        let reason = match violation.reason {
            Reason::Invalid => wire::ViolationReason::Invalid,
            Reason::NotSupported => wire::ViolationReason::NotSupported,
            Reason::Duplicate => wire::ViolationReason::Duplicate,
            Reason::MissingReference => wire::ViolationReason::MissingReference,
            Reason::Conflict => wire::ViolationReason::Conflict,
            Reason::Stale => wire::ViolationReason::Stale,
        };
        Self {
            object: violation.object.as_ref().map(Into::into),
            index: u32::try_from(violation.index).unwrap_or(u32::MAX),
            field: violation.field.clone(),
            message: violation.message.clone(),
            reason: reason.into(),
        }
    }
}

impl From<&wire::Violation> for Violation {
    fn from(violation: &wire::Violation) -> Self {
        let reason = match violation.reason() {
            wire::ViolationReason::Unspecified | wire::ViolationReason::Invalid => Reason::Invalid,
            wire::ViolationReason::NotSupported => Reason::NotSupported,
            wire::ViolationReason::Duplicate => Reason::Duplicate,
            wire::ViolationReason::MissingReference => Reason::MissingReference,
            wire::ViolationReason::Conflict => Reason::Conflict,
            wire::ViolationReason::Stale => Reason::Stale,
        };
        Self {
            object: violation.object.as_ref().and_then(|object| ObjectRef::try_from(object).ok()),
            index: usize::try_from(violation.index).unwrap_or(usize::MAX),
            field: violation.field.clone(),
            message: violation.message.clone(),
            reason,
        }
    }
}

impl From<&Warning> for wire::Warning {
    fn from(warning: &Warning) -> Self {
        Self {
            object: warning.object.as_ref().map(Into::into),
            index: u32::try_from(warning.index).unwrap_or(u32::MAX),
            field: warning.field.clone(),
            message: warning.message.clone(),
        }
    }
}

impl From<&wire::Warning> for Warning {
    fn from(warning: &wire::Warning) -> Self {
        Self {
            object: warning.object.as_ref().and_then(|object| ObjectRef::try_from(object).ok()),
            index: usize::try_from(warning.index).unwrap_or(usize::MAX),
            field: warning.field.clone(),
            message: warning.message.clone(),
        }
    }
}
