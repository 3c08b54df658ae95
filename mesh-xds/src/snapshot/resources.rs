//! The index of one type: an ordered map in chunks that versions share. A change copies one
//! chunk and the list of chunks, and a comparison of two versions skips the chunks they share,
//! so both cost what has changed and not what there is.

use std::{collections::HashSet, sync::Arc};

use super::Resource;

/// Most entries of a chunk. A change copies one chunk, so smaller is cheaper there; the list of
/// chunks is copied as well, so larger is. 100,000 entries make some 600 chunks.
const MOST: usize = 256;

type Entry = (Arc<str>, Arc<Resource>);
type Chunk = Vec<Entry>;

/// The resources of one type by name. Cloning is cheap and shares all chunks.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// In order, none of them empty.
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

impl Resources {
    /// Number of resources.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let chunk = self.chunks.get(self.chunk_of(name))?;
        let (_, resource) = chunk.get(position(chunk, name).ok()?)?;
        Some(resource)
    }

    /// Whether there is a resource of this name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Resource>)> {
        entries(self.chunks.iter())
    }

    /// Those that may differ from another version: all but what stands in chunks that both
    /// share. In order of their names.
    pub fn apart_from<'a>(
        &'a self,
        other: &Self,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Resource>)> + use<'a> {
        let shared: HashSet<*const Chunk> = other.chunks.iter().map(Arc::as_ptr).collect();
        entries(self.chunks.iter().filter(move |chunk| !shared.contains(&Arc::as_ptr(chunk))))
    }

    /// Adds or replaces a resource.
    pub fn insert(&mut self, name: &str, resource: Arc<Resource>) {
        let at = self.chunk_of(name);
        let Some(chunk) = self.chunks.get_mut(at).map(Arc::make_mut) else {
            self.chunks.push(Arc::new(vec![(name.into(), resource)]));
            self.len += 1;
            return;
        };
        match position(chunk, name) {
            Ok(found) => {
                if let Some((_, old)) = chunk.get_mut(found) {
                    *old = resource;
                }
            }
            Err(free) => {
                chunk.insert(free, (name.into(), resource));
                self.len += 1;
                if chunk.len() > MOST {
                    let rest = chunk.split_off(MOST / 2);
                    self.chunks.insert(at + 1, Arc::new(rest));
                }
            }
        }
    }

    /// Removes a resource; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let at = self.chunk_of(name);
        let found = self.chunks.get(at).and_then(|chunk| position(chunk, name).ok());
        let (Some(found), Some(chunk)) = (found, self.chunks.get_mut(at)) else {
            return false;
        };
        let chunk = Arc::make_mut(chunk);
        chunk.remove(found);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        true
    }

    /// The chunk that has the name or would get it; 0 where there is none.
    fn chunk_of(&self, name: &str) -> usize {
        let after = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(|(first, _)| **first <= *name));
        after.saturating_sub(1)
    }
}

fn position(chunk: &Chunk, name: &str) -> Result<usize, usize> {
    chunk.binary_search_by(|(other, _)| (**other).cmp(name))
}

fn entries<'a>(
    chunks: impl Iterator<Item = &'a Arc<Chunk>>,
) -> impl Iterator<Item = (&'a str, &'a Arc<Resource>)> {
    chunks.flat_map(|chunk| chunk.iter().map(|(name, resource)| (&**name, resource)))
}

/// Equal content is equal, however it is cut into chunks.
impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for Resources {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn resource(version: u8) -> Arc<Resource> {
        Arc::new(Resource::new(version.to_string(), vec![version]))
    }

    fn apply(
        index: &mut Resources,
        model: &mut BTreeMap<String, Arc<Resource>>,
        change: (u16, u8),
    ) {
        let name = change.0.to_string();
        if change.1 == 0 {
            assert_eq!(index.remove(&name), model.remove(&name).is_some());
        } else {
            index.insert(&name, resource(change.1));
            model.insert(name, resource(change.1));
        }
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(changes in prop::collection::vec((0..900u16, 0..4u8), 0..900)) {
            let (mut index, mut model) = (Resources::default(), BTreeMap::new());
            for change in changes {
                apply(&mut index, &mut model, change);
            }
            prop_assert_eq!(index.len(), model.len());
            prop_assert!(index.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
            for name in 0..900u16 {
                let name = name.to_string();
                prop_assert_eq!(index.get(&name), model.get(&name));
            }
            prop_assert!(index.iter().eq(model.iter().map(|(name, r)| (name.as_str(), r))));
        }

        #[test]
        fn what_two_versions_do_not_share_has_every_difference(
            first in prop::collection::vec((0..900u16, 1..4u8), 0..900),
            then in prop::collection::vec((0..900u16, 0..4u8), 0..5),
        ) {
            let (mut index, mut model) = (Resources::default(), BTreeMap::new());
            for change in first {
                apply(&mut index, &mut model, change);
            }
            let (old, old_model) = (index.clone(), model.clone());
            for change in then {
                apply(&mut index, &mut model, change);
            }
            let new: BTreeMap<&str, _> = index.apart_from(&old).collect();
            let gone: BTreeMap<&str, _> = old.apart_from(&index).collect();
            for (name, resource) in &model {
                if old_model.get(name) != Some(resource) {
                    prop_assert_eq!(new.get(name.as_str()), Some(&resource));
                }
            }
            for name in old_model.keys().filter(|name| !model.contains_key(*name)) {
                prop_assert!(gone.contains_key(name.as_str()));
            }
            prop_assert!(new.len() <= 6 * MOST);
        }
    }
}
