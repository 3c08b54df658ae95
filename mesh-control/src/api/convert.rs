//! Requests and answers: wire ⇄ model. Objects that do not decode become violations, so that the
//! validation of the rest can be reported together with them.

use mesh_api::model::{Endpoint, Kind, Name, Object, ObjectRef};
use mesh_api::violation::{FieldError, Reason};
use mesh_api::wire;
use tonic::Status;

use super::errors;
use crate::store::{self, ChangeKind};
use crate::validate::{Action, Batch, Change, Expected, Outcome, Refusal, Write};
use crate::world::{Stored, World};
use crate::writer::{Done, WriteError};

/// A batch that stores these objects.
pub(super) fn put_batch(objects: Vec<wire::Object>) -> Batch {
    let mut batch = Batch::default();
    for (index, wire) in objects.into_iter().enumerate() {
        let reference = wire.reference();
        let metadata = wire.metadata.as_ref();
        let expected = match metadata.map_or(0, |metadata| metadata.resource_version) {
            0 => Expected::Any,
            version => Expected::Version(version),
        };
        match Object::try_from(wire) {
            Ok(object) => batch.changes.push(Change { index, write: Write::Put(object), expected }),
            Err(errors) => {
                let errors = errors.into_iter();
                let violations = errors.map(|error| error.of(index, reference.clone()));
                batch.rejected.extend(violations);
                batch.unread.extend(reference);
            }
        }
    }
    batch
}

/// A batch that deletes these objects.
pub(super) fn delete_batch(references: &[wire::ObjectRef]) -> Batch {
    let mut batch = Batch::default();
    for (index, wire) in references.iter().enumerate() {
        match ObjectRef::try_from(wire) {
            Ok(reference) => batch.changes.push(Change {
                index,
                write: Write::Delete(reference),
                expected: Expected::Any,
            }),
            Err(errors) => {
                let errors = errors.into_iter();
                batch.rejected.extend(errors.map(|error| error.of(index, None)));
            }
        }
    }
    batch
}

/// A batch that stores one endpoint.
pub(super) fn register_batch(object: wire::Object) -> Result<Batch, Status> {
    let reference = object.reference();
    match object.kind() {
        Some(Kind::Endpoint) => Ok(put_batch(vec![object])),
        Some(Kind::Service | Kind::ServiceConfig) | None => {
            let error = FieldError {
                field: "spec".to_owned(),
                message: "only an Endpoint can be registered: use Apply for the rest".to_owned(),
                reason: Reason::Invalid,
            };
            let refusal = Refusal::Violations(vec![error.of(0, reference)]);
            Err(errors::write_status(&WriteError::Refused(refusal)))
        }
    }
}

/// A lease does not take over an endpoint that somebody stored for good: it would delete it in
/// the end.
pub(super) fn check_lease(object: &wire::Object, world: &World) -> Result<(), Status> {
    let Some(wire::object::Spec::Endpoint(wire::Endpoint { ttl_ms: 1.., .. })) = &object.spec
    else {
        return Ok(());
    };
    let Some(reference) = object.reference() else { return Ok(()) };
    let stored = world.get(&reference).map(|stored| &stored.object);
    let Some(Object::Endpoint(Endpoint { ttl: None, .. })) = stored else { return Ok(()) };
    let error = FieldError {
        field: "spec.ttl".to_owned(),
        message: "the stored endpoint is permanent: delete it first, register without a ttl, or \
                  choose another name"
            .to_owned(),
        reason: Reason::Conflict,
    };
    let refusal = Refusal::Violations(vec![error.of(0, Some(reference))]);
    Err(errors::write_status(&WriteError::Refused(refusal)))
}

/// The object that a request must name.
pub(super) fn required(reference: Option<&wire::ObjectRef>) -> Result<ObjectRef, Status> {
    let reference = reference.cloned().unwrap_or_default();
    ObjectRef::try_from(&reference).map_err(|errors| {
        let errors = errors.into_iter().map(|error| error.of(0, None));
        let refusal = Refusal::Violations(errors.collect());
        errors::write_status(&WriteError::Refused(refusal))
    })
}

pub(super) fn kind(number: i32) -> Result<Kind, Status> {
    let kind = wire::Kind::try_from(number).ok();
    kind.and_then(wire::Kind::to_model).ok_or_else(|| {
        Status::invalid_argument("kind: required: Service, Endpoint or ServiceConfig")
    })
}

/// Empty means all.
pub(super) fn namespace(text: &str) -> Result<Option<Name>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed.map(Some).map_err(|error| Status::invalid_argument(format!("namespace: {error}")))
}

pub(super) fn object(stored: &Stored) -> wire::Object {
    let mut object = wire::Object::from(&stored.object);
    if let Some(metadata) = &mut object.metadata {
        metadata.resource_version = stored.resource_version;
    }
    object
}

pub(super) fn apply_response(done: &Done, dry_run: bool) -> wire::ApplyResponse {
    let outcomes = done.outcomes.iter();
    wire::ApplyResponse {
        revision: done.revision,
        results: outcomes.map(|outcome| result(outcome, dry_run)).collect(),
        warnings: warnings(done),
    }
}

pub(super) fn warnings(done: &Done) -> Vec<wire::Warning> {
    done.warnings.iter().map(Into::into).collect()
}

pub(super) fn delete_response(done: &Done) -> wire::DeleteResponse {
    let outcomes = done.outcomes.iter();
    wire::DeleteResponse {
        revision: done.revision,
        results: outcomes.map(|outcome| result(outcome, false)).collect(),
    }
}

fn result(outcome: &Outcome, dry_run: bool) -> wire::Result {
    let (action, stored_now) = match outcome.action {
        Action::Created => (wire::Action::Created, false),
        Action::Configured => (wire::Action::Configured, false),
        Action::Unchanged => (wire::Action::Unchanged, true),
        Action::Deleted => (wire::Action::Deleted, false),
    };
    let mut after = outcome.after.as_deref().map(object);
    if dry_run
        && !stored_now
        && let Some(metadata) = after.as_mut().and_then(|after| after.metadata.as_mut())
    {
        // Nobody knows which revision it would be.
        metadata.resource_version = 0;
    }
    wire::Result {
        object: Some((&outcome.reference).into()),
        action: action.into(),
        before: outcome.before.as_deref().map(object),
        after,
    }
}

pub(super) fn change(change: &store::Change) -> wire::Change {
    let action = match change.kind {
        ChangeKind::Created => wire::Action::Created,
        ChangeKind::Configured => wire::Action::Configured,
        ChangeKind::Deleted => wire::Action::Deleted,
    };
    wire::Change {
        revision: change.revision,
        time_ms: change.time_ms,
        action: action.into(),
        object: stored(change).as_ref().map(object),
    }
}

/// The object as it was after a change; `None` after a deletion.
pub(super) fn stored(change: &store::Change) -> Option<Stored> {
    Some(Stored { object: change.object.clone()?, resource_version: change.revision })
}
