//! What the agent does to the words itself, by the same functions as the programs.

use mesh_common::backend::BackendIndex;
use mesh_common::logic::outlier;
use mesh_common::policy::OutlierPolicy;
use mesh_common::service::ServiceIndex;

use crate::maps::guards::{GuardStore, Word, change};

/// Ejects a backend, unless it is ejected, or as many of its service are as may be. Returns its
/// word.
pub fn eject(
    store: &impl GuardStore,
    (service, backend): (ServiceIndex, BackendIndex),
    policy: &OutlierPolicy,
    now_ms: u64,
) -> Option<u64> {
    if outlier::is_ejected(store.read(Word::Outlier(backend))) {
        return None;
    }
    // The place first, so that there are never more.
    let most = u64::from(policy.max_ejected);
    change(store, Word::Ejected(service), |ejected| (ejected < most).then_some(ejected + 1))?;
    let ejected = change(store, Word::Outlier(backend), |word| {
        (!outlier::is_ejected(word)).then(|| outlier::eject(word, policy, now_ms))
    });
    if ejected.is_none() {
        fewer(store, service);
    }
    ejected.map(|(_, word)| word)
}

/// Takes a backend back, if its word is such that it is to be. Returns the new one.
pub fn take_back(
    store: &impl GuardStore,
    (service, backend): (ServiceIndex, BackendIndex),
    is_due: impl Fn(u64) -> bool,
) -> Option<u64> {
    let (_, word) = change(store, Word::Outlier(backend), |word| {
        (outlier::is_ejected(word) && is_due(word)).then(|| outlier::back(word))
    })?;
    fewer(store, service);
    Some(word)
}

fn fewer(store: &impl GuardStore, service: ServiceIndex) {
    // Never below 0: an index that went to another service begins at 0.
    change(store, Word::Ejected(service), |ejected| ejected.checked_sub(1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::memory::guards::MemoryGuards;

    const SERVICE: ServiceIndex = ServiceIndex { index: 1 };
    const POLICY: OutlierPolicy =
        OutlierPolicy { consecutive_failures: 0, base_ms: 1_000, max_ms: 5_000, max_ejected: 1 };

    #[test]
    fn no_more_are_ejected_than_may_be_and_each_comes_back_once() {
        let store = MemoryGuards::default();
        let of = |index| (SERVICE, BackendIndex { index });
        let ejected = eject(&store, of(1), &POLICY, 10_000);
        assert_eq!(ejected.map(outlier::time), Some(11_000));
        assert_eq!(eject(&store, of(1), &POLICY, 10_001), None, "it is");
        assert_eq!(eject(&store, of(2), &POLICY, 10_002), None, "the only place is taken");
        assert_eq!(store.read(Word::Ejected(SERVICE)), 1);

        let over = |now| move |word| outlier::time(word) <= now;
        assert_eq!(take_back(&store, of(1), over(10_999)), None);
        assert!(take_back(&store, of(1), over(11_000)).is_some());
        assert_eq!(take_back(&store, of(1), over(11_000)), None);
        assert_eq!(store.read(Word::Ejected(SERVICE)), 0);
        assert!(eject(&store, of(2), &POLICY, 11_000).is_some());
    }
}
