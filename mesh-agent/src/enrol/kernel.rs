//! Verdicts and filters in the form that the programs read.

use mesh_common::enrol;
use mesh_common::tunables::TunableFlags;

use super::Verdict;
use super::verdicts::Filters;

impl From<Verdict> for enrol::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::In => Self::IN,
            Verdict::Out => Self::OUT,
        }
    }
}

impl From<enrol::Verdict> for Verdict {
    /// As the programs read it: everything but IN is out.
    fn from(verdict: enrol::Verdict) -> Self {
        if verdict == enrol::Verdict::IN { Self::In } else { Self::Out }
    }
}

impl Filters {
    /// All flags that are about enrolment.
    pub const MASK: u32 = TunableFlags::CGROUP_FILTER.bits
        | TunableFlags::CGROUP_DEFAULT_OUT.bits
        | TunableFlags::NETNS_FILTER.bits
        | TunableFlags::NETNS_DEFAULT_OUT.bits;

    /// What flags say.
    #[must_use]
    pub const fn of(flags: TunableFlags) -> Self {
        Self {
            cgroups: filter(flags, TunableFlags::CGROUP_FILTER, TunableFlags::CGROUP_DEFAULT_OUT),
            namespaces: filter(flags, TunableFlags::NETNS_FILTER, TunableFlags::NETNS_DEFAULT_OUT),
        }
    }

    /// `flags` with enrolment's part set to this.
    #[must_use]
    pub const fn within(self, flags: TunableFlags) -> TunableFlags {
        let cgroups =
            bits(self.cgroups, TunableFlags::CGROUP_FILTER, TunableFlags::CGROUP_DEFAULT_OUT);
        let namespaces =
            bits(self.namespaces, TunableFlags::NETNS_FILTER, TunableFlags::NETNS_DEFAULT_OUT);
        TunableFlags { bits: flags.bits & !Self::MASK | cgroups | namespaces }
    }
}

const fn filter(flags: TunableFlags, on: TunableFlags, out: TunableFlags) -> Option<Verdict> {
    match (flags.contains(on), flags.contains(out)) {
        (false, _) => None,
        (true, true) => Some(Verdict::Out),
        (true, false) => Some(Verdict::In),
    }
}

const fn bits(filter: Option<Verdict>, on: TunableFlags, out: TunableFlags) -> u32 {
    match filter {
        None => 0,
        Some(Verdict::In) => on.bits,
        Some(Verdict::Out) => on.bits | out.bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_the_way_there_and_back() {
        let other = TunableFlags::ACCESS_LOG;
        for cgroups in [None, Some(Verdict::In), Some(Verdict::Out)] {
            for namespaces in [None, Some(Verdict::In), Some(Verdict::Out)] {
                let filters = Filters { cgroups, namespaces };
                let flags = filters.within(TunableFlags { bits: other.bits | Filters::MASK });
                assert_eq!(Filters::of(flags), filters);
                assert!(flags.contains(other));
            }
        }
        for verdict in [Verdict::In, Verdict::Out] {
            assert_eq!(Verdict::from(enrol::Verdict::from(verdict)), verdict);
        }
    }
}
