//! A push, collected until it is complete: pure.
//!
//! The control plane sends the resource of type `Revision` last, so what was collected until
//! then is one consistent state of the world, and is applied as one.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::convert::from_resource;
use mesh_api::model::{Kind, ObjectName, ObjectRef};
use mesh_api::resource;
use mesh_xds::ads::DeltaDiscoveryRequest;
use mesh_xds::client::{DeltaClient, Push, Received};

use crate::compile::Rejection;
use crate::world::Change;

/// Responses that belong together.
#[derive(Debug, Default)]
pub struct Batch {
    pushes: Vec<Push>,
    changes: Vec<Change>,
    /// Resources that are not valid, with the reason.
    invalid: BTreeMap<(String, String), String>,
}

/// What the maps made of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Everything that does not fit now, whenever it arrived.
    pub rejections: Vec<Rejection>,
    /// Why the maps do not hold the world at all.
    pub error: Option<String>,
}

/// What to send, and what to remember.
#[derive(Debug)]
pub struct Answers {
    /// An ACK or NACK for each response, in order.
    pub requests: Vec<DeltaDiscoveryRequest>,
    /// Accepted resources: type, and what was received.
    pub accepted: Vec<(String, Received)>,
    /// Removed resources: type and name.
    pub removed: Vec<(String, String)>,
}

impl Batch {
    /// Adds a response. `Some` with the revision once the batch is complete.
    pub fn add(&mut self, push: Push) -> Option<u64> {
        let complete = (push.type_url == resource::REVISION).then_some(push.revision);
        if let Some(kind) = kind_of(&push.type_url) {
            for received in &push.added {
                match from_resource(kind, &received.name, &received.body) {
                    Ok(object) => self.changes.push(Change::Put(object)),
                    Err(error) => {
                        let key = (push.type_url.clone(), received.name.clone());
                        self.invalid.insert(key, error.to_string());
                    }
                }
            }
            for name in &push.removed {
                // A name that cannot be parsed was never accepted.
                if let Ok(name) = name.parse::<ObjectName>() {
                    self.changes.push(Change::Remove(ObjectRef { kind, name }));
                }
            }
        }
        self.pushes.push(push);
        complete
    }

    /// The changes, to be applied once; the batch keeps what it needs for the answers.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Answers every response. A resource that is valid is accepted as a fact: it is in the
    /// world, on disk, and claimed on the next stream. One that is not is rejected by name, and
    /// what was known of it stays, so that the control plane corrects it on the next stream. The revision is accepted only if all facts are live in the
    /// maps; otherwise its rejection names each that is not, and why.
    #[must_use]
    pub fn answer(self, client: &mut DeltaClient, outcome: &Outcome) -> Answers {
        let Self { pushes, changes: _, invalid } = self;
        let mut answers =
            Answers { requests: Vec::new(), accepted: Vec::new(), removed: Vec::new() };
        for push in pushes {
            let rejected = if push.type_url == resource::REVISION {
                let reasons = not_live(&invalid, outcome);
                if reasons.is_empty() {
                    Vec::new()
                } else {
                    vec![(resource::REVISION_NAME.to_owned(), reasons.join("; "))]
                }
            } else {
                let reason = |received: &Received| {
                    let key = (push.type_url.clone(), received.name.clone());
                    invalid.get(&key).map(|reason| (received.name.clone(), reason.clone()))
                };
                push.added.iter().filter_map(reason).collect::<Vec<_>>()
            };
            answers.requests.push(if rejected.is_empty() {
                client.ack(&push)
            } else {
                client.nack(&push, &rejected)
            });
            let Push { type_url, added, removed, .. } = push;
            let names: BTreeSet<&str> = rejected.iter().map(|(name, _)| name.as_str()).collect();
            let good = added.into_iter().filter(|received| !names.contains(received.name.as_str()));
            answers.accepted.extend(good.map(|received| (type_url.clone(), received)));
            answers.removed.extend(removed.into_iter().map(|name| (type_url.clone(), name)));
        }
        answers
    }
}

/// The kind that a type carries; `None` for the revision.
#[must_use]
pub fn kind_of(type_url: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| resource::type_url(*kind) == type_url)
}

fn not_live(invalid: &BTreeMap<(String, String), String>, outcome: &Outcome) -> Vec<String> {
    let rejected = outcome.rejections.iter().map(|r| format!("{}: {}", r.object, r.message));
    invalid.values().cloned().chain(rejected).chain(outcome.error.clone()).collect()
}
