//! What the control plane knows about one client, for its status page and for
//! `apply --wait`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{ProtocolError, validate::length};
use crate::{
    ads::{NODE, Node, UserAgentVersionType, text_in},
    snapshot::{Resource, Resources},
};

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Unique name of the node (or proxy); not empty.
    pub id: String,
    /// Version of the client's program; empty if it did not say.
    pub version: String,
}

impl NodeInfo {
    /// What the first request of a stream must say (xDS protocol, "Basic Protocol Overview").
    pub(super) fn of(node: Option<&Node>) -> Result<Self, ProtocolError> {
        let node = node.filter(|node| !node.id.is_empty());
        let node = node.ok_or(ProtocolError::NoNode)?;
        length("node.id", &node.id)?;
        let version = match &node.user_agent_version_type {
            Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
            Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
                build.version.as_ref().map_or_else(String::new, |it| {
                    format!("{}.{}.{}", it.major_number, it.minor_number, it.patch)
                })
            }
            None => String::new(),
        };
        length("node.user_agent_version", &version)?;
        Ok(Self { id: node.id.clone(), version })
    }
}

/// How far a client has got with one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeProgress {
    /// Revision of the newest response; `None` before the first. What a client that comes back
    /// has already counts as sent and acknowledged.
    pub sent: Option<u64>,
    /// The same of the newest response that it acknowledged.
    pub acked: Option<u64>,
}

/// What a client was sent of a type and wants, in the forms that it was sent, refused or not.
#[derive(Clone, Debug)]
pub struct Holding {
    resources: Arc<Resources>,
    /// `None`: everything.
    names: Option<Arc<BTreeSet<String>>>,
}

impl Holding {
    /// Everything if `all`, else these names.
    pub(super) fn new(
        resources: &Arc<Resources>,
        all: bool,
        names: &Arc<BTreeSet<String>>,
    ) -> Self {
        let names = (!all).then(|| Arc::clone(names));
        Self { resources: Arc::clone(resources), names }
    }

    /// All of it, by name.
    #[must_use]
    pub fn resources(&self) -> Box<dyn Iterator<Item = (&str, &Arc<Resource>)> + '_> {
        let Some(names) = &self.names else { return Box::new(self.resources.iter()) };
        Box::new(names.iter().filter_map(|name| Some((name.as_str(), self.resources.get(name)?))))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        if self.names.is_none() { self.resources.len() } else { self.resources().count() }
    }
}

/// The same memory; what is not may be equal all the same.
impl PartialEq for Holding {
    fn eq(&self, other: &Self) -> bool {
        let names = self.names.as_ref().map(Arc::as_ptr);
        Arc::ptr_eq(&self.resources, &other.resources)
            && names == other.names.as_ref().map(Arc::as_ptr)
    }
}

impl Eq for Holding {}

/// A resource that the client refused and therefore does not serve in its current form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Snapshot revision of the refused response.
    pub revision: u64,
    /// Type of the refused response.
    pub type_url: String,
    /// Name of the resource; empty when the client named none.
    pub name: String,
    /// The client's reason.
    pub message: String,
}

/// How far a client has got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Known from the first request on.
    pub node: Option<NodeInfo>,
    /// Name of the node that the client runs on, from `node` in its metadata; empty if it did not
    /// say.
    pub runs_on: String,
    /// Revision of the newest snapshot of which everything due has been handed out; 0 before.
    pub sent_revision: u64,
    /// Revision of the newest commit resource that the client acknowledged: what it serves.
    /// Without a commit type: revision of the newest snapshot of which it has everything that it
    /// wants, acknowledged.
    pub live_revision: Option<u64>,
    /// What it refuses now, oldest first. An entry goes when a newer form of the resource, or
    /// its removal, has been answered.
    pub rejections: Vec<Rejection>,
    /// By type URL; only types that it is subscribed to or has been.
    pub types: BTreeMap<String, TypeProgress>,
    /// The same for what it holds. Not of streams with a commit type, whose clients say as a whole
    /// what they serve.
    pub held: BTreeMap<String, Holding>,
}

impl Progress {
    /// Take over who the client is, from the first request (xDS protocol, "Basic Protocol
    /// Overview": only that one is sure to say it, and looking at it is enough).
    pub(super) fn identify(&mut self, node: Option<&Node>) -> Result<(), ProtocolError> {
        if self.node.is_some() {
            return Ok(());
        }
        let info = NodeInfo::of(node)?;
        let metadata = node.and_then(|node| node.metadata.as_ref());
        let at = metadata.and_then(|metadata| text_in(metadata, NODE)).unwrap_or_default();
        length("node.metadata.node", at)?;
        (self.node, self.runs_on) = (Some(info), at.to_owned());
        Ok(())
    }

    /// A response of a type has been handed out.
    pub(super) fn sent(&mut self, type_url: &str, revision: u64) {
        self.of_type(type_url).sent = Some(revision);
    }

    /// A response of a type has been acknowledged.
    pub(super) fn acked(&mut self, type_url: &str, revision: u64) {
        self.of_type(type_url).acked = Some(revision);
    }

    fn of_type(&mut self, type_url: &str) -> &mut TypeProgress {
        self.types.entry(type_url.to_owned()).or_default()
    }
}
