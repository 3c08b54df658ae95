//! May this batch be stored? Pure: the world and a batch go in; out comes the world after it, or
//! everything that is wrong, at once. Objects come in checked by themselves (`mesh_api::convert`);
//! here they are checked against each other.

mod conflicts;
mod listeners;
mod references;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use mesh_api::MAX_BATCH;
use mesh_api::model::{Object, ObjectRef};
use mesh_api::violation::{Reason, Violation, Warning};

use crate::world::{Stored, World};

/// What to do with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create or replace it.
    Put(Object),
    /// Delete it; it must exist.
    Delete(ObjectRef),
}

/// Which stored version a change was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is stored, or nothing.
    Any,
    /// This `resource_version` and no other.
    Version(u64),
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the request, from 0.
    pub index: usize,
    /// What to do.
    pub write: Write,
    /// On which condition.
    pub expected: Expected,
}

impl Change {
    /// Kind and name of the object.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        match &self.write {
            Write::Put(object) => object.reference(),
            Write::Delete(reference) => reference.clone(),
        }
    }
}

/// Changes that are stored as one revision, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes, in the order of the request.
    pub changes: Vec<Change>,
    /// What decoding found wrong already; if there is anything, nothing is stored.
    pub rejected: Vec<Violation>,
    /// Names of the objects that did not decode. References to them are not reported as missing.
    pub unread: BTreeSet<ObjectRef>,
}

impl Batch {
    /// A batch that deletes these objects.
    #[must_use]
    pub fn delete(references: impl IntoIterator<Item = ObjectRef>) -> Self {
        let change = |(index, reference)| Change {
            index,
            write: Write::Delete(reference),
            expected: Expected::Any,
        };
        Self {
            changes: references.into_iter().enumerate().map(change).collect(),
            ..Self::default()
        }
    }

    /// A batch that stores these objects, whatever was stored before.
    #[must_use]
    pub fn put(objects: impl IntoIterator<Item = Object>) -> Self {
        let change =
            |(index, object)| Change { index, write: Write::Put(object), expected: Expected::Any };
        Self { changes: objects.into_iter().enumerate().map(change).collect(), ..Self::default() }
    }
}

/// What a change amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// There was nothing of this name.
    Created,
    /// It was different.
    Configured,
    /// It was the same: not stored again.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// One change, decided.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The object.
    pub reference: ObjectRef,
    /// What the change amounts to.
    pub action: Action,
    /// What was stored.
    pub before: Option<Arc<Stored>>,
    /// What is stored then.
    pub after: Option<Arc<Stored>>,
}

/// A batch that may be stored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The world after it; its revision is one higher, unless nothing changes.
    pub world: World,
    /// One for each change, in order.
    pub outcomes: Vec<Outcome>,
    /// What does not work yet, though it is stored; in the order of the changes.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Whether there is anything to store.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        let mut outcomes = self.outcomes.iter();
        outcomes.any(|outcome| outcome.action != Action::Unchanged)
    }
}

/// Why a batch may not be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rules are broken; not empty.
    #[error("{} problems", .0.len())]
    Violations(Vec<Violation>),
    /// These were to be deleted and do not exist; not empty.
    #[error("{} objects do not exist", .0.len())]
    Absent(Vec<ObjectRef>),
}

/// Decides a batch.
pub fn plan(world: &World, batch: &Batch) -> Result<Plan, Refusal> {
    let mut found = batch.rejected.clone();
    if batch.changes.len() > MAX_BATCH {
        found.push(Violation {
            object: None,
            index: MAX_BATCH,
            field: "objects".to_owned(),
            message: format!(
                "{} objects in one request: send at most {MAX_BATCH} at a time",
                batch.changes.len()
            ),
            reason: Reason::Invalid,
        });
        return Err(Refusal::Violations(found));
    }
    let references: Vec<ObjectRef> = batch.changes.iter().map(Change::reference).collect();
    duplicates(batch, &references, &mut found);
    let absent = stale_and_absent(world, batch, &references, &mut found);
    let mut plan = apply(world, batch, references);
    listeners::allot(world, &mut plan, batch, &mut found);
    conflicts::check(world, &plan, batch, &mut found);
    references::check(&plan, batch, &mut found);
    if !found.is_empty() {
        found.sort_by_key(|violation| violation.index);
        return Err(Refusal::Violations(found));
    }
    if !absent.is_empty() {
        return Err(Refusal::Absent(absent));
    }
    plan.warnings = warnings::collect(&plan, batch);
    Ok(plan)
}

fn duplicates(batch: &Batch, references: &[ObjectRef], found: &mut Vec<Violation>) {
    let mut seen = BTreeMap::new();
    for (change, reference) in batch.changes.iter().zip(references) {
        if let Some(first) = seen.insert(reference, change.index) {
            found.push(violation(
                change.index,
                reference,
                "metadata.name",
                Reason::Duplicate,
                format!("named twice in one request: object {first} is the same"),
            ));
        }
    }
}

/// Reports stale changes; returns the deletions of what does not exist.
fn stale_and_absent(
    world: &World,
    batch: &Batch,
    references: &[ObjectRef],
    found: &mut Vec<Violation>,
) -> Vec<ObjectRef> {
    let mut absent = Vec::new();
    for (change, reference) in batch.changes.iter().zip(references) {
        let stored = world.get(reference).map(|stored| stored.resource_version);
        match change.expected {
            Expected::Version(expected) if stored != Some(expected) => {
                let is = match stored {
                    Some(stored) => format!("the stored one is {stored}"),
                    None => "the object does not exist".to_owned(),
                };
                found.push(violation(
                    change.index,
                    reference,
                    "metadata.resourceVersion",
                    Reason::Stale,
                    format!("{expected} is out of date, {is}: read the object again"),
                ));
            }
            Expected::Any | Expected::Version(_) => {}
        }
        if stored.is_none() && matches!(change.write, Write::Delete(_)) {
            absent.push(reference.clone());
        }
    }
    absent
}

/// The world after the batch, before it is known whether it may be.
fn apply(world: &World, batch: &Batch, references: Vec<ObjectRef>) -> Plan {
    let mut next = world.clone();
    let revision = world.revision().saturating_add(1);
    let mut outcomes = Vec::with_capacity(batch.changes.len());
    for (change, reference) in batch.changes.iter().zip(references) {
        let before = next.get(&reference).cloned();
        let action = match &change.write {
            Write::Put(object) => {
                let object = listeners::kept(object, before.as_deref());
                if before.as_ref().is_some_and(|before| before.object == *object) {
                    Action::Unchanged
                } else {
                    let object = object.into_owned();
                    next.put(Stored { object, resource_version: revision });
                    if before.is_some() { Action::Configured } else { Action::Created }
                }
            }
            Write::Delete(_) => {
                next.remove(&reference);
                Action::Deleted
            }
        };
        outcomes.push(Outcome { action, before, after: next.get(&reference).cloned(), reference });
    }
    let mut plan = Plan { world: next, outcomes, warnings: Vec::new() };
    if plan.changes_something() {
        plan.world.set_revision(revision);
    }
    plan
}

fn violation(
    index: usize,
    object: &ObjectRef,
    field: impl Into<String>,
    reason: Reason,
    message: impl Into<String>,
) -> Violation {
    Violation {
        object: Some(object.clone()),
        index,
        field: field.into(),
        message: message.into(),
        reason,
    }
}
