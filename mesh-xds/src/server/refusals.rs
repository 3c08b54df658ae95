//! What the client refuses now, kept from its NACKs until a newer form has been answered.

use std::collections::BTreeSet;

use super::Rejection;
use crate::{ads::Status, detail};

/// Most refusals that are kept of one stream; the oldest go first.
pub(super) const MAX_REFUSALS: usize = 1024;

/// What a subscription says about a resource.
pub(super) trait Wanted {
    /// Whether the client wants nothing of the type any more.
    fn is_empty(&self) -> bool;
    /// Whether it wants this resource.
    fn covers(&self, name: &str) -> bool;
    /// Whether it was sent this resource and wants it.
    fn holds(&self, name: &str) -> bool;
}

#[derive(Debug)]
struct Refusal {
    rejection: Rejection,
    /// Number of the push it answered.
    push: u64,
    /// It names no resource of the type, so that only a later answer can supersede it.
    loose: bool,
}

/// The refusals of one stream.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    list: Vec<Refusal>,
}

/// Which response an answer is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    pub(super) type_url: &'a str,
    pub(super) revision: u64,
    pub(super) push: u64,
    /// Refused names that were in the response again.
    pub(super) retried: &'a [String],
    /// Whether nothing that was refused without a name can be left.
    pub(super) settles: bool,
    /// The only resource of the response.
    pub(super) only: Option<&'a str>,
}

impl Refusals {
    /// Which of these names are refused now.
    pub(super) fn among(
        &self,
        type_url: &str,
        names: impl Iterator<Item: AsRef<str>>,
    ) -> Vec<String> {
        let of_type = self.list.iter().map(|refusal| &refusal.rejection);
        let refused: BTreeSet<&str> = of_type
            .filter(|rejection| rejection.type_url == type_url)
            .map(|rejection| rejection.name.as_str())
            .collect();
        if refused.is_empty() {
            return Vec::new();
        }
        names
            .filter(|name| refused.contains(name.as_ref()))
            .map(|name| name.as_ref().to_owned())
            .collect()
    }

    /// An answer supersedes what was said before about the same resources.
    pub(super) fn answered(&mut self, answered: Answered<'_>) {
        self.list.retain(|refusal| {
            let rejection = &refusal.rejection;
            let retried = answered.retried.contains(&rejection.name);
            let later = refusal.push < answered.push;
            let outdated = refusal.loose && later && answered.settles;
            rejection.type_url != answered.type_url || !(retried || outdated)
        });
    }

    /// Add what a NACK says, and return the names that it gives. [`Self::resubscribed`] must
    /// follow: the client may have given the resource up before it answered.
    pub(super) fn refused(
        &mut self,
        answered: Answered<'_>,
        status: &Status,
        subscription: &impl Wanted,
    ) -> Vec<String> {
        let is_name = |word: &str| subscription.holds(word);
        let rejected = detail::decode(status, answered.only, is_name, MAX_REFUSALS);
        let names = rejected.iter().map(|(name, _)| name.clone());
        let names = names.filter(|name| !name.is_empty()).collect();
        for (name, message) in rejected {
            self.list.retain(|r| !r.is(answered.type_url, &name));
            self.list.push(Refusal {
                loose: !subscription.holds(&name),
                push: answered.push,
                rejection: Rejection {
                    revision: answered.revision,
                    type_url: answered.type_url.to_owned(),
                    name,
                    message,
                },
            });
        }
        let surplus = self.list.len().saturating_sub(MAX_REFUSALS);
        self.list.drain(..surplus);
        names
    }

    /// Forget what the client no longer wants.
    pub(super) fn resubscribed(&mut self, type_url: &str, subscription: &impl Wanted) {
        self.list.retain(|refusal| {
            let rejection = &refusal.rejection;
            rejection.type_url != type_url || is_wanted(&rejection.name, subscription)
        });
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether anything of a type is refused.
    pub(super) fn concern(&self, type_url: &str) -> bool {
        self.list.iter().any(|refusal| refusal.rejection.type_url == type_url)
    }

    /// What is refused of a type.
    pub(super) fn names(&self, type_url: &str) -> Vec<String> {
        let rejections = self.list.iter().map(|refusal| &refusal.rejection);
        rejections.filter(|it| it.type_url == type_url).map(|it| it.name.clone()).collect()
    }

    pub(super) fn rejections(&self) -> Vec<Rejection> {
        self.list.iter().map(|r| r.rejection.clone()).collect()
    }
}

impl Refusal {
    fn is(&self, type_url: &str, name: &str) -> bool {
        self.rejection.type_url == type_url && self.rejection.name == name
    }
}

/// Whether the client still wants what it refused; without a name, whether it wants anything.
fn is_wanted(name: &str, subscription: &impl Wanted) -> bool {
    match name {
        "" => !subscription.is_empty(),
        name => subscription.covers(name),
    }
}
