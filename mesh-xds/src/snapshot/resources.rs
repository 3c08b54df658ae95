//! The index of one type: an ordered map in chunks that versions share. A change copies one
//! chunk and the list of chunks, and a comparison of two versions skips the chunks they share,
//! so both cost what has changed and not what there is.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

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
    /// What stands in the place of some of them, by the same names.
    instead: Option<Arc<Self>>,
}

impl Resources {
    /// These with others in the place of those of the same names. Both are shared: few clients that
    /// are told something else of a few names cost little more than these few.
    #[must_use]
    pub fn with_instead(&self, others: Arc<Self>) -> Self {
        Self { instead: (!others.is_empty()).then_some(others), ..self.clone() }
    }

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
        self.entry(name).map(|(_, resource)| resource)
    }

    fn entry(&self, name: &str) -> Option<(&str, &Arc<Resource>)> {
        let chunk = self.chunks.get(self.chunk_of(name))?;
        let (name, resource) = chunk.get(position(chunk, name).ok()?)?;
        Some(self.seen((name, resource)))
    }

    /// An entry of a chunk, or what stands in its place.
    fn seen<'a>(
        &'a self,
        (name, resource): (&'a str, &'a Arc<Resource>),
    ) -> (&'a str, &'a Arc<Resource>) {
        let instead = self.instead.as_ref().and_then(|others| others.get(name));
        (name, instead.unwrap_or(resource))
    }

    /// Whether there is a resource of this name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Resource>)> {
        entries(self.chunks.iter()).map(|entry| self.seen(entry))
    }

    /// Those that may differ from another version: all but what stands in chunks that both
    /// share. In order of their names.
    pub fn apart_from<'a>(
        &'a self,
        other: &Self,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Resource>)> + use<'a> {
        let shared: HashSet<*const Chunk> = other.chunks.iter().map(Arc::as_ptr).collect();
        let chunks = self.chunks.iter().filter(move |chunk| !shared.contains(&Arc::as_ptr(chunk)));
        let mut found: Vec<_> = entries(chunks).map(|entry| self.seen(entry)).collect();
        if self.instead.is_some() || other.instead.is_some() {
            let (ours, theirs) = (self.others(), other.others());
            let names = ours.apart_from(&theirs).chain(theirs.apart_from(&ours));
            let names: BTreeSet<&str> = names.map(|(name, _)| name).collect();
            let more = names.into_iter().filter_map(|name| self.entry(name));
            // Each once, and in order.
            found = found.into_iter().chain(more).collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        found.into_iter()
    }

    /// What stands in the place of some.
    fn others(&self) -> Self {
        self.instead.as_deref().cloned().unwrap_or_default()
    }

    /// Adds or replaces a resource. What stands in its place goes on to.
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

        #[test]
        fn others_stand_in_the_place_of_some(
            first in prop::collection::vec((0..900u16, 1..4u8), 0..900),
            then in prop::collection::vec((0..900u16, 0..4u8), 0..5),
            others in prop::collection::vec((0..900u16, 4..8u8), 0..20),
            other_then in prop::collection::vec((0..900u16, prop_oneof![Just(0), 4..8u8]), 0..5),
        ) {
            let (mut index, mut instead) = (Resources::default(), Resources::default());
            let (mut model, mut instead_model) = (BTreeMap::new(), BTreeMap::new());
            let both = |index: &Resources, instead: &Resources| {
                index.with_instead(Arc::new(instead.clone()))
            };
            let merged = |model: &BTreeMap<String, Arc<Resource>>, instead: &BTreeMap<_, _>| {
                let pick = |(name, it): (&String, &_)| {
                    (name.clone(), Arc::clone(instead.get(name).unwrap_or(it)))
                };
                model.iter().map(pick).collect::<BTreeMap<_, _>>()
            };
            for change in first {
                apply(&mut index, &mut model, change);
            }
            for it in others {
                apply(&mut instead, &mut instead_model, it);
            }
            let (old, old_model) = (both(&index, &instead), merged(&model, &instead_model));
            for change in then {
                apply(&mut index, &mut model, change);
            }
            for it in other_then {
                apply(&mut instead, &mut instead_model, it);
            }
            let (new, new_model) = (both(&index, &instead), merged(&model, &instead_model));
            for (index, model) in [(&old, &old_model), (&new, &new_model)] {
                prop_assert_eq!(index.len(), model.len());
                prop_assert!(index.iter().eq(model.iter().map(|(name, it)| (name.as_str(), it))));
            }
            let apart: Vec<_> = new.apart_from(&old).collect();
            prop_assert!(apart.is_sorted_by(|(one, _), (other, _)| one < other));
            let apart: BTreeMap<&str, _> = apart.into_iter().collect();
            for (name, resource) in &new_model {
                if old_model.get(name) != Some(resource) {
                    prop_assert_eq!(apart.get(name.as_str()), Some(&resource));
                }
            }
            let gone: BTreeMap<&str, _> = old.apart_from(&new).collect();
            for name in old_model.keys().filter(|name| !new_model.contains_key(*name)) {
                prop_assert!(gone.contains_key(name.as_str()));
            }
        }
    }
}
