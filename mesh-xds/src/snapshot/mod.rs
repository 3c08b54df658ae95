//! What a server serves at one moment: an immutable tree of resources behind `Arc`s. A change
//! copies a part of one type's index, shares every unchanged body and all other types, and a
//! comparison of two snapshots skips whatever they share.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mesh_api::resource::version_of;

mod resources;
#[cfg(test)]
mod tests;

pub use resources::Resources;

/// One resource, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Content hash of `body`: equal content has an equal version on every replica and after
    /// every restart, so nobody is sent again what it already has.
    pub version: String,
    /// The encoded message, without the `Any` around it.
    pub body: Arc<[u8]>,
}

impl Resource {
    /// A resource whose version is the content hash of its body.
    #[must_use]
    pub fn from_body(body: impl Into<Arc<[u8]>>) -> Self {
        let body = body.into();
        Self { version: version_of(&body), body }
    }

    /// A resource with a version that the caller computed, with
    /// [`mesh_api::resource::encode`] for example.
    #[must_use]
    pub fn new(version: impl Into<String>, body: impl Into<Arc<[u8]>>) -> Self {
        Self { version: version.into(), body: body.into() }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({}, {} bytes)", self.version, self.body.len())
    }
}

/// Everything served at one store revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    revision: u64,
    types: BTreeMap<String, Arc<Resources>>,
}

impl Snapshot {
    /// Start a snapshot of this store revision; 0 is the empty store.
    #[must_use]
    pub const fn builder(revision: u64) -> Builder {
        Builder { snapshot: Self { revision, types: BTreeMap::new() } }
    }

    /// Start from a previous snapshot: every type is shared until it is changed.
    #[must_use]
    pub fn edit(previous: &Self, revision: u64) -> Builder {
        Builder { snapshot: Self { revision, types: previous.types.clone() } }
    }

    /// The store revision this was built from.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Type URLs, in alphabetical order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// The resources of a type; `None` when the snapshot has never held one.
    #[must_use]
    pub fn resources(&self, type_url: &str) -> Option<&Arc<Resources>> {
        self.types.get(type_url)
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, type_url: &str, name: &str) -> Option<&Arc<Resource>> {
        self.types.get(type_url)?.get(name)
    }

    /// Number of resources of all types.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.values().map(|resources| resources.len()).sum()
    }

    /// Whether there is no resource at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.values().all(|resources| resources.is_empty())
    }
}

/// Builds a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct Builder {
    snapshot: Snapshot,
}

impl Builder {
    /// Add or replace a resource.
    #[must_use]
    pub fn insert(
        mut self,
        type_url: &str,
        name: impl AsRef<str>,
        resource: impl Into<Arc<Resource>>,
    ) -> Self {
        Arc::make_mut(self.type_mut(type_url)).insert(name.as_ref(), resource.into());
        self
    }

    /// Remove a resource; nothing happens if it is absent.
    #[must_use]
    pub fn remove(mut self, type_url: &str, name: &str) -> Self {
        if let Some(resources) = self.snapshot.types.get_mut(type_url)
            && resources.contains_key(name)
        {
            Arc::make_mut(resources).remove(name);
        }
        self
    }

    /// Take a whole type from another snapshot, sharing it; replaces what was there.
    #[must_use]
    pub fn type_from(mut self, previous: &Snapshot, type_url: &str) -> Self {
        match previous.types.get(type_url) {
            Some(resources) => {
                let shared = Arc::clone(resources);
                self.snapshot.types.insert(type_url.to_owned(), shared);
            }
            None => {
                self.snapshot.types.remove(type_url);
            }
        }
        self
    }

    /// Have other resources stand in the place of those of the same names.
    #[must_use]
    pub fn instead(mut self, type_url: &str, others: &Arc<Resources>) -> Self {
        if let Some(resources) = self.snapshot.types.get_mut(type_url) {
            *resources = Arc::new(resources.with_instead(Arc::clone(others)));
        }
        self
    }

    /// The finished snapshot.
    #[must_use]
    pub fn build(self) -> Snapshot {
        self.snapshot
    }

    fn type_mut(&mut self, type_url: &str) -> &mut Arc<Resources> {
        self.snapshot.types.entry(type_url.to_owned()).or_default()
    }
}
