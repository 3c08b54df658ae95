//! What a node should serve against what its maps hold. The node compares its maps with the objects
//! that it holds; these are compared here with those that are stored, by the hashes of their content.
//! What a node holds instead is found in the history, by its hash as well.

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use mesh_api::convert::from_resource;
use mesh_api::model::{Kind, Object, ObjectName, ObjectRef};
use mesh_api::resource::type_url;
use mesh_api::wire;
use mesh_api::wire::node_answer::Answer;
use mesh_api::wire::node_command::Command;
use mesh_xds::snapshot::Snapshot;
use tokio::sync::watch::Receiver;
use tonic::Status;

use super::{NodesApi, confused};
use crate::api::past;
use crate::snapshot;
use crate::store::Store;

/// Differences in one message.
const PART: usize = 5_000;
/// Objects whose history is read: what a node holds instead of the others is not said.
const READ: usize = 1_000;

/// The answer.
pub(super) type Parts = Pin<Box<dyn Stream<Item = Result<wire::NodeDiff, Status>> + Send>>;

/// What should be, and what was.
#[derive(Clone)]
pub struct Stored {
    /// What nodes are sent.
    pub snapshots: Receiver<Arc<Snapshot>>,
    /// Knows the past.
    pub store: Arc<dyn Store>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").finish_non_exhaustive()
    }
}

/// By type and name.
type Versions = BTreeMap<(String, String), String>;

/// An object that a node does not hold as it is stored.
#[derive(Debug, PartialEq, Eq)]
struct Differing {
    kind: Kind,
    name: String,
    /// Whether it is stored.
    is_stored: bool,
    /// What the node has.
    held: Option<String>,
}

impl NodesApi {
    pub(super) async fn diff(&self, node: &str) -> Result<Parts, Status> {
        let mut answers = self.ask(node, Command::Programmed(wire::GetProgrammed {}))?;
        let mut held = Versions::new();
        let mut whole = wire::NodeDiff::default();
        loop {
            let answer = self.next(node, &mut answers).await?;
            let Answer::Programmed(part) = answer else { return Err(confused(node)) };
            let versions = part.held.into_iter().map(|it| ((it.type_url, it.name), it.version));
            held.extend(versions);
            whole.programmed_revision = part.revision;
            whole.services = part.services;
            whole.differences.extend(part.differences);
            if !part.more {
                break;
            }
        }
        let snapshot = Arc::clone(&self.stored.snapshots.borrow());
        whole.intended_revision = snapshot.revision();
        if let Some(state) = self.nodes.lock().node(node) {
            let rejection = |(revision, message): &(u64, String)| wire::Rejection {
                revision: *revision,
                message: message.clone(),
            };
            whole.rejections = state.rejections.iter().map(rejection).collect();
        }
        for (at, differing) in differing(&snapshot, &held).into_iter().enumerate() {
            let object = self.object(&snapshot, differing, at < READ).await?;
            whole.objects.push(object);
        }
        let parts = parts(whole).into_iter().map(Ok);
        Ok(Box::pin(futures::stream::iter(parts)))
    }

    async fn object(
        &self,
        snapshot: &Snapshot,
        differing: Differing,
        read: bool,
    ) -> Result<wire::ObjectDiff, Status> {
        let Differing { kind, name, is_stored, held } = differing;
        let reference = name.parse::<ObjectName>().map(|name| ObjectRef { kind, name });
        let reference =
            reference.map_err(|error| Status::internal(format!("object {name:?}: {error}")))?;
        let body = snapshot.get(type_url(kind), &name).filter(|_| is_stored);
        let intended = body.and_then(|it| from_resource(kind, &name, &it.body).ok());
        let programmed = match &held {
            Some(version) if read => self.remembered(&reference, version).await?,
            Some(_) | None => None,
        };
        Ok(wire::ObjectDiff {
            object: Some((&reference).into()),
            unknown: held.is_some() && programmed.is_none(),
            intended: intended.as_ref().map(bare),
            programmed: programmed.as_ref().map(bare),
        })
    }

    /// The object as it was when its content had this hash.
    async fn remembered(
        &self,
        reference: &ObjectRef,
        version: &str,
    ) -> Result<Option<Object>, Status> {
        let changes = past::changes_of(&self.stored.store, reference).await?;
        let mut objects = changes.into_iter().filter_map(|change| change.object);
        Ok(objects.find(|object| snapshot::resource(object).version == version))
    }
}

/// As a node has it: labels stay here.
fn bare(object: &Object) -> wire::Object {
    let mut object = wire::Object::from(object);
    if let Some(metadata) = &mut object.metadata {
        metadata.labels.clear();
        metadata.resource_version = 0;
    }
    object
}

/// What a node does not hold as it should.
fn differing(snapshot: &Snapshot, held: &Versions) -> Vec<Differing> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let url = type_url(kind);
        let resources = snapshot.resources(url);
        for (name, resource) in resources.into_iter().flat_map(|it| it.iter()) {
            let has = held.get(&(url.to_owned(), name.to_owned()));
            if has != Some(&resource.version) {
                let (name, held) = (name.to_owned(), has.cloned());
                found.push(Differing { kind, name, is_stored: true, held });
            }
        }
        let is_gone = |name: &str| resources.is_none_or(|it| !it.contains_key(name));
        for ((_, name), version) in held.iter().filter(|((of, name), _)| of == url && is_gone(name))
        {
            let (name, held) = (name.clone(), Some(version.clone()));
            found.push(Differing { kind, name, is_stored: false, held });
        }
    }
    found
}

/// In messages of a size that can be sent.
fn parts(whole: wire::NodeDiff) -> Vec<wire::NodeDiff> {
    let wire::NodeDiff { objects, differences, rejections, .. } = whole;
    let mut objects = objects.into_iter().peekable();
    let mut differences = differences.into_iter().peekable();
    let mut first = Some(rejections);
    let mut parts = Vec::new();
    loop {
        let part = wire::NodeDiff {
            intended_revision: whole.intended_revision,
            programmed_revision: whole.programmed_revision,
            services: whole.services,
            objects: objects.by_ref().take(PART).collect(),
            differences: differences.by_ref().take(PART).collect(),
            rejections: first.take().unwrap_or_default(),
            more: objects.peek().is_some() || differences.peek().is_some(),
        };
        let more = part.more;
        parts.push(part);
        if !more {
            return parts;
        }
    }
}
