//! What has changed between two surveys, so that a page gets all once and then little. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::rows::{Edge, Node, Service, Summary};
use super::survey::Survey;

/// Rows by name.
pub(super) type Rows<T> = BTreeMap<String, Shared<T>>;

/// A row that several surveys and streams have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shared<T>(pub(super) Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Rows that are new or other than before, and names of those that are no more.
#[derive(Debug, Serialize)]
pub(super) struct Change<T> {
    put: Rows<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

impl<T: PartialEq> Change<T> {
    pub(super) fn between(before: &Rows<T>, after: &Rows<T>) -> Self {
        let same = |name: &String, row: &Shared<T>| before.get(name).is_some_and(|it| it == row);
        let put = after.iter().filter(|(name, row)| !same(name, row));
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        Self {
            put: put.map(|(name, row)| (name.clone(), row.clone())).collect(),
            gone: gone.cloned().collect(),
        }
    }
}

/// One event.
#[derive(Debug, Serialize)]
pub(super) struct Changes {
    /// Whether it is all there is, whatever was before.
    full: bool,
    #[serde(flatten)]
    summary: Summary,
    services: Change<Service>,
    nodes: Change<Node>,
    edges: Change<Edge>,
}

impl Changes {
    pub(super) fn all(survey: &Survey) -> Self {
        Self { full: true, ..Self::between(&Survey::default(), survey) }
    }

    pub(super) fn between(before: &Survey, after: &Survey) -> Self {
        Self {
            full: false,
            summary: after.summary.clone(),
            services: Change::between(&before.services, &after.services),
            nodes: Change::between(&before.nodes, &after.nodes),
            edges: Change::between(&before.edges, &after.edges),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(of: &BTreeMap<String, u8>) -> Rows<u8> {
        of.iter().map(|(name, value)| (name.clone(), Shared(Arc::new(*value)))).collect()
    }

    proptest! {
        #[test]
        fn a_change_leads_from_one_to_the_other_and_has_no_more_than_it_needs(
            before in prop::collection::btree_map("[a-d]", 0_u8..3, 0..5),
            after in prop::collection::btree_map("[a-d]", 0_u8..3, 0..5),
        ) {
            let (before, after) = (rows(&before), rows(&after));
            let Change { put, gone } = Change::between(&before, &after);
            for (name, row) in &put {
                prop_assert_ne!(before.get(name), Some(row));
            }
            let mut reached = before;
            for name in gone {
                prop_assert!(reached.remove(&name).is_some());
            }
            reached.extend(put);
            prop_assert_eq!(reached, after);
        }
    }
}
