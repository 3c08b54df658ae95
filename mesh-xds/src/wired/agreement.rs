//! What must hold when nothing moves any more.

use std::collections::BTreeMap;

use super::{
    A, B, COMMIT, REVISION, TYPES,
    network::{BAD, Network, refused},
};
use crate::{WILDCARD, snapshot::Resource};

fn is_bad(resource: &Resource) -> bool {
    *resource.body == *BAD.as_bytes()
}

impl Network {
    fn covers(&self, type_url: &str, name: &str) -> bool {
        let names = &self.subscribed[type_url];
        names.contains(WILDCARD) || names.contains(name)
    }

    /// The client knows exactly what it wants of the snapshot, except what it refused.
    pub(super) fn check_known(&self) {
        let known: BTreeMap<(&str, &str), &str> = self
            .client
            .known()
            .map(|(type_url, name, version)| ((type_url, name), version))
            .collect();
        for (type_url, name) in known.keys() {
            assert!(self.covers(type_url, name), "{name} was given up");
            assert!(self.latest.get(type_url, name).is_some(), "{name} is gone");
        }
        for type_url in [A, B] {
            let resources = self.latest.resources(type_url).into_iter();
            for (name, resource) in resources.flat_map(|resources| resources.iter()) {
                let version = known.get(&(type_url, name)).copied();
                let newest = Some(resource.version.as_str());
                if !self.covers(type_url, name) {
                    assert_eq!(version, None);
                } else if is_bad(resource) {
                    assert_ne!(version, newest);
                } else {
                    assert_eq!(version, newest, "{type_url} {name}");
                }
            }
        }
    }

    /// The server knows that it is done, and equal content in new memory moves nothing.
    pub(super) fn check_quiet(&mut self) {
        self.rebuild();
        let link = self.link.as_mut().unwrap();
        assert!(link.observer.is_idle());
        link.observer.check_complete(&self.latest);
        assert!(link.server.on_snapshot(&self.latest).is_empty());

        let link = self.link.as_ref().unwrap();
        let (progress, revision) = (link.server.progress(), self.latest.revision());
        if self.covers(COMMIT, REVISION) {
            assert_eq!(progress.live_revision, link.observer.newest_commit());
        }
        if TYPES.iter().any(|type_url| link.observer.subscribed(type_url)) {
            assert_eq!(progress.sent_revision, revision);
        }
        if self.covers(COMMIT, REVISION) && !refused(revision) {
            assert_eq!(progress.live_revision, Some(revision));
        }
    }

    /// The server's list of refusals is what the client refuses: no more, no less.
    pub(super) fn check_refusals(&self) {
        let rejections = &self.link.as_ref().unwrap().server.progress().rejections;
        let mut listed: Vec<(&str, &str)> = rejections
            .iter()
            .map(|rejection| (rejection.type_url.as_str(), rejection.name.as_str()))
            .collect();
        listed.sort_unstable();
        let mut refuses = Vec::new();
        for type_url in TYPES {
            let resources = self.latest.resources(type_url).into_iter();
            for (name, resource) in resources.flat_map(|resources| resources.iter()) {
                let refuses_it = match type_url {
                    COMMIT => refused(self.latest.revision()),
                    _ => is_bad(resource),
                };
                if refuses_it && self.covers(type_url, name) {
                    refuses.push((type_url, name));
                }
            }
        }
        assert_eq!(listed, refuses);
    }
}
