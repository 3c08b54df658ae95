//! Watches one stream at the server's door and checks every message that passes. It keeps its
//! own, simple account of what the client must have by now.

use std::collections::{BTreeMap, BTreeSet};

use super::{COMMIT, TYPES};
use crate::{
    WILDCARD,
    ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    snapshot::Snapshot,
};

/// Every snapshot ever made, by revision.
pub(super) type Snapshots = BTreeMap<u64, Snapshot>;

#[derive(Default)]
struct Account {
    subscribed: BTreeSet<String>,
    /// Name to version of what the client was told, or claimed.
    told: BTreeMap<String, String>,
}

impl Account {
    fn covers(&self, name: &str) -> bool {
        self.subscribed.contains(WILDCARD) || self.subscribed.contains(name)
    }
}

#[derive(Default)]
pub(super) struct Observer {
    types: BTreeMap<String, Account>,
    /// Nonce to revision.
    unanswered: BTreeMap<String, u64>,
    /// Revisions whose commit was acknowledged.
    committed: BTreeSet<u64>,
}

impl Observer {
    pub(super) fn request(&mut self, request: &DeltaDiscoveryRequest, commits: &Commits) {
        if let Some(revision) = self.unanswered.remove(&request.response_nonce)
            && request.error_detail.is_none()
            && commits.contains(&request.response_nonce)
        {
            self.committed.insert(revision);
        }
        let first = !self.types.contains_key(&request.type_url);
        let account = self.types.entry(request.type_url.clone()).or_default();
        if first {
            let claims = &request.initial_resource_versions;
            account.told = claims.clone().into_iter().collect();
        }
        for name in &request.resource_names_subscribe {
            account.subscribed.insert(name.clone());
            if !first {
                account.told.remove(name); // To be sent whatever the client has.
            }
        }
        for name in &request.resource_names_unsubscribe {
            // Of a name that was not subscribed to, nothing changes.
            if account.subscribed.remove(name) {
                account.told.remove(name);
            }
        }
        let subscribed = account.subscribed.clone();
        if !subscribed.contains(WILDCARD) {
            account.told.retain(|name, _| subscribed.contains(name));
        }
    }

    pub(super) fn responses(&mut self, sent: &[DeltaDiscoveryResponse], snapshots: &Snapshots) {
        for response in sent {
            self.response(response, snapshots);
        }
        let commit_subscribed = self.subscribed(COMMIT);
        if let Some(last) = sent.last() {
            assert!(!commit_subscribed || last.type_url == COMMIT, "the commit ends the push");
        }
    }

    fn response(&mut self, response: &DeltaDiscoveryResponse, snapshots: &Snapshots) {
        let revision: u64 = response.system_version_info.parse().unwrap();
        assert!(self.unanswered.values().all(|other| *other == revision), "two pushes outstanding");
        let nonce = response.nonce.clone();
        assert!(self.unanswered.insert(nonce, revision).is_none(), "nonce used twice");

        let account = self.types.get_mut(&response.type_url).expect("not subscribed");
        for resource in &response.resources {
            assert!(account.covers(&resource.name), "{} is not wanted", resource.name);
            let (name, version) = (resource.name.clone(), resource.version.clone());
            let before = account.told.insert(name, version);
            assert!(
                before.as_ref() != Some(&resource.version) || response.type_url == COMMIT,
                "{} is unchanged",
                resource.name
            );
        }
        for name in &response.removed_resources {
            account.told.remove(name);
        }
        if response.type_url == COMMIT {
            self.check_complete(&snapshots[&revision]);
        }
    }

    /// At a commit, and at rest, the client has been told all of the revision, and nothing else.
    pub(super) fn check_complete(&self, snapshot: &Snapshot) {
        for (type_url, account) in &self.types {
            let resources = snapshot.resources(type_url);
            let wanted: BTreeMap<String, String> = resources
                .into_iter()
                .flat_map(|resources| resources.iter())
                .filter(|(name, _)| account.covers(name))
                .map(|(name, resource)| (name.to_owned(), resource.version.clone()))
                .collect();
            // A claim outside the subscription is nobody's business.
            let told = account.told.iter().filter(|(name, _)| account.covers(name));
            let told: BTreeMap<_, _> = told.map(|(n, v)| (n.clone(), v.clone())).collect();
            assert_eq!(told, wanted, "{type_url} of revision {}", snapshot.revision());
        }
    }

    pub(super) fn check_live(&self, live: Option<u64>) {
        assert!(
            live.is_none_or(|revision| self.committed.contains(&revision)),
            "{live:?} is live, but only {:?} were acknowledged",
            self.committed
        );
    }

    pub(super) fn is_idle(&self) -> bool {
        self.unanswered.is_empty()
    }

    pub(super) fn newest_commit(&self) -> Option<u64> {
        self.committed.last().copied()
    }

    pub(super) fn subscribed(&self, type_url: &str) -> bool {
        assert!(TYPES.contains(&type_url));
        let account = self.types.get(type_url);
        account.is_some_and(|account| !account.subscribed.is_empty())
    }
}

/// Nonces of responses that carry the commit resource.
pub(super) type Commits = BTreeSet<String>;
