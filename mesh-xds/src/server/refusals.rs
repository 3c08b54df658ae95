//! What the client refuses now, kept from its NACKs until a newer form has been answered.

use std::collections::BTreeSet;

use super::{Rejection, subscription::Subscription};
use crate::{ads::Status, detail};

/// Most refusals that are kept of one stream; the oldest go first.
pub(super) const MAX_REFUSALS: usize = 1024;

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
            let outdated = refusal.loose && refusal.push < answered.push;
            rejection.type_url != answered.type_url || !(retried || outdated)
        });
    }

    /// Add what a NACK says. [`Self::resubscribed`] must follow: the client may have given the
    /// resource up before it answered.
    pub(super) fn refused(
        &mut self,
        answered: Answered<'_>,
        status: &Status,
        subscription: &Subscription,
    ) {
        for (name, message) in detail::decode(status, MAX_REFUSALS) {
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
    }

    /// Forget what the client no longer wants.
    pub(super) fn resubscribed(&mut self, type_url: &str, subscription: &Subscription) {
        self.list.retain(|refusal| {
            let rejection = &refusal.rejection;
            rejection.type_url != type_url || is_wanted(&rejection.name, subscription)
        });
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
fn is_wanted(name: &str, subscription: &Subscription) -> bool {
    match name {
        "" => !subscription.is_empty(),
        name => subscription.covers(name),
    }
}
