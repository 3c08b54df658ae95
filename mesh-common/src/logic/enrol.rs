//! Whether a connection is the mesh's.

use crate::enrol::Verdict;
use crate::tunables::TunableFlags;

/// Decides from the verdicts on the client's cgroup (or its nearest parent that has one) and on
/// its network namespace; both have to be in.
#[must_use]
#[inline(always)]
pub const fn enrolled(
    flags: TunableFlags,
    cgroup: Option<Verdict>,
    namespace: Option<Verdict>,
) -> bool {
    let cgroup = !flags.contains(TunableFlags::CGROUP_FILTER)
        || is_in(cgroup, flags.contains(TunableFlags::CGROUP_DEFAULT_OUT));
    let namespace = !flags.contains(TunableFlags::NETNS_FILTER)
        || is_in(namespace, flags.contains(TunableFlags::NETNS_DEFAULT_OUT));
    cgroup && namespace
}

#[inline(always)]
const fn is_in(verdict: Option<Verdict>, default_out: bool) -> bool {
    match verdict {
        Some(verdict) => verdict.code == Verdict::IN.code,
        None => !default_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn flags(bits: u32) -> TunableFlags {
        TunableFlags { bits }
    }

    #[test]
    fn without_filters_everything_is_in() {
        assert!(enrolled(flags(0), Some(Verdict::OUT), Some(Verdict::OUT)));
    }

    #[test]
    fn both_have_to_be_in() {
        let both = flags(TunableFlags::CGROUP_FILTER.bits | TunableFlags::NETNS_FILTER.bits);
        assert!(enrolled(both, Some(Verdict::IN), Some(Verdict::IN)));
        assert!(!enrolled(both, Some(Verdict::OUT), Some(Verdict::IN)));
        assert!(!enrolled(both, Some(Verdict::IN), Some(Verdict::OUT)));
    }

    #[test]
    fn what_has_no_verdict_follows_the_default() {
        let open = TunableFlags::CGROUP_FILTER;
        let closed = flags(open.bits | TunableFlags::CGROUP_DEFAULT_OUT.bits);
        assert!(enrolled(open, None, None));
        assert!(!enrolled(closed, None, None));
        assert!(enrolled(closed, Some(Verdict::IN), None));
    }
}
