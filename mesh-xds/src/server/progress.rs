//! What the control plane knows about one client, for its status page and for
//! `apply --wait`.

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Unique name of the node (or proxy); not empty.
    pub id: String,
    /// Version of the client's program; empty if it did not say.
    pub version: String,
}

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
    /// Revision of the newest snapshot of which everything due has been handed out; 0 before.
    pub sent_revision: u64,
    /// Revision of the newest commit resource that the client acknowledged: what it serves.
    /// Without a commit type: revision of the newest push that it acknowledged completely.
    pub live_revision: Option<u64>,
    /// What it refuses now, oldest first. An entry goes when a newer form of the resource, or
    /// its removal, has been answered.
    pub rejections: Vec<Rejection>,
}
