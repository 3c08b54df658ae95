//! Why a client of a service is not accelerated. Pure.

use super::evidence::{Evidence, Verdict};
use super::judge::Cause;

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// What was seen speaks against it, or nothing was.
    Sign(Cause),
    /// Something did, not long ago.
    Paused,
    /// No connection is long-lived and chatty.
    NotChatty,
    /// It has to be seen more often.
    Looking,
}

impl Why {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let causes = Cause::ALL.into_iter().map(|(cause, _)| cause);
        let signs = causes.filter(|cause| cause.is_against() || *cause == Cause::Blind);
        signs.map(Self::Sign).chain([Self::Paused, Self::NotChatty, Self::Looking])
    }

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign(cause) => cause.name(),
            Self::Paused => "paused",
            Self::NotChatty => "not_chatty",
            Self::Looking => "looking",
        }
    }

    /// Why a client of which this was seen is not accelerated; `paused` after a sign against.
    #[must_use]
    pub const fn of(found: &Evidence, paused: bool) -> Self {
        match found.verdict() {
            Verdict::Against(cause) => Self::Sign(cause),
            Verdict::For | Verdict::Neither if paused => Self::Paused,
            Verdict::Neither if found.chatty == 0 => Self::NotChatty,
            Verdict::For | Verdict::Neither => Self::Looking,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Why::all().map(Why::name).collect();
        assert_eq!(names.len(), 11);
        assert!(!names.contains("idle") && !names.contains("service"), "{names:?}");
    }

    #[test]
    fn a_sign_is_named_before_a_pause_and_that_before_what_is_missing() {
        let quiet = Evidence::default();
        let good = Evidence { chatty: 1, ..quiet };
        let unsure = Evidence { unsure: 1, ..good };
        let blocks = Evidence { blocking_servers: 1, ..good };
        for (found, paused, why) in [
            (quiet, false, Why::NotChatty),
            (quiet, true, Why::Paused),
            (good, false, Why::Looking),
            (unsure, false, Why::Looking),
            (good, true, Why::Paused),
            (blocks, false, Why::Sign(Cause::BlockingServer)),
            (blocks, true, Why::Sign(Cause::BlockingServer)),
        ] {
            assert_eq!(Why::of(&found, paused), why);
        }
    }
}
