//! From verdicts to whether this machine may accelerate connections. Pure.

use std::fmt;

use super::case::{Case, Concern, Outcome, Verdict};

/// Whether connections may be accelerated here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// They may, for services that ask for it.
    Usable {
        /// What programs of such services must not do: it does not work here, or could not be tried.
        limits: Vec<Case>,
    },
    /// They may not.
    Unusable {
        /// Why, in words.
        because: String,
    },
    /// The flag says no.
    Off,
}

impl Acceleration {
    /// Name for metrics, one of [`Self::STATES`].
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Usable { .. } => "usable",
            Self::Unusable { .. } => "unusable",
            Self::Off => "off",
        }
    }

    /// All names.
    pub const STATES: [&'static str; 3] = ["usable", "unusable", "off"];
}

impl fmt::Display for Acceleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable { limits } if limits.is_empty() => f.write_str("usable"),
            Self::Usable { limits } => {
                let limits: Vec<&str> = limits.iter().map(|case| case.name()).collect();
                write!(f, "usable, but for {}", limits.join(", "))
            }
            Self::Unusable { because } => write!(f, "not usable here: {because}"),
            Self::Off => f.write_str("off (--acceleration off)"),
        }
    }
}

/// Judges. A case that was not run, or of which there is no verdict, has not been proven and counts
/// like one that failed.
#[must_use]
pub fn judge(verdicts: &[Verdict]) -> Acceleration {
    let outcome = |case: Case| verdicts.iter().find(|it| it.case == case).map(|it| &it.outcome);
    let unproven = |concern: Concern| {
        let concerned = Case::ALL.into_iter().filter(move |case| case.concern() == concern);
        concerned.filter(|case| outcome(*case) != Some(&Outcome::Passed))
    };
    // Where nothing is redirected nothing else is tried: one reason says it all.
    let because = |case: Case| match outcome(case) {
        Some(outcome) => format!("{case} {outcome}"),
        None => format!("{case} not run"),
    };
    let failed = |case: &Case| matches!(outcome(*case), Some(Outcome::Failed(_)));
    let all: Vec<Case> = unproven(Concern::Everybody).collect();
    let worst: Vec<Case> = all.iter().copied().filter(failed).collect();
    match (worst.is_empty(), all.first()) {
        (true, None) => Acceleration::Usable { limits: unproven(Concern::Some).collect() },
        (true, Some(first)) => Acceleration::Unusable { because: because(*first) },
        (false, _) => {
            let worst: Vec<String> = worst.into_iter().map(because).collect();
            Acceleration::Unusable { because: worst.join("; ") }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdicts(outcome: impl Fn(Case) -> Outcome) -> Vec<Verdict> {
        Case::ALL.into_iter().map(|case| Verdict { case, outcome: outcome(case) }).collect()
    }

    fn failing(cases: &[Case]) -> Vec<Verdict> {
        let seen = |case| {
            if cases.contains(&case) { Outcome::Failed("x".into()) } else { Outcome::Passed }
        };
        verdicts(seen)
    }

    #[test]
    fn what_concerns_some_programs_is_a_limit() {
        assert_eq!(judge(&failing(&[])), Acceleration::Usable { limits: vec![] });
        let judged = judge(&failing(&[Case::SpliceReader, Case::BlockingReaderAfterHalfClose]));
        let limits = vec![Case::BlockingReaderAfterHalfClose, Case::SpliceReader];
        assert_eq!(judged, Acceleration::Usable { limits });
        let text = judged.to_string();
        assert_eq!(text, "usable, but for blocking_reader_after_half_close, splice_reader");
    }

    #[test]
    fn the_reason_names_what_failed() {
        let judged = judge(&failing(&[Case::Peek, Case::HalfClose, Case::Rcvlowat]));
        let because = "half_close failed: x; peek failed: x".to_owned();
        assert_eq!(judged, Acceleration::Unusable { because });
        // Nothing failed, nothing was tried.
        let judged = judge(&verdicts(|_| Outcome::NotRun("no loopback".into())));
        let because = "redirect not run: no loopback".to_owned();
        assert_eq!(judged, Acceleration::Unusable { because });
        let because = "redirect not run".to_owned();
        assert_eq!(judge(&[]), Acceleration::Unusable { because });
    }

    proptest! {
        /// Usable only where every case that concerns everybody has passed, and every limit is told.
        #[test]
        fn nothing_unproven_is_used(picks in prop::collection::vec(0u8..3, Case::ALL.len()), gone in 0usize..20) {
            let outcomes = [Outcome::Passed, Outcome::Failed("x".into()), Outcome::NotRun("y".into())];
            let mut verdicts = verdicts(|case| {
                let index = Case::ALL.iter().position(|it| *it == case).unwrap();
                outcomes[usize::from(picks[index])].clone()
            });
            if gone < verdicts.len() {
                verdicts.remove(gone);
            }
            let passed = |case: &Case| {
                verdicts.iter().any(|it| it.case == *case && it.outcome == Outcome::Passed)
            };
            let of = |concern| Case::ALL.into_iter().filter(move |case| case.concern() == concern);
            match judge(&verdicts) {
                Acceleration::Usable { limits } => {
                    prop_assert!(of(Concern::Everybody).all(|case| passed(&case)));
                    prop_assert!(of(Concern::Some).all(|case| passed(&case) != limits.contains(&case)));
                }
                Acceleration::Unusable { because } => {
                    prop_assert!(!because.is_empty());
                    prop_assert!(!of(Concern::Everybody).all(|case| passed(&case)));
                }
                Acceleration::Off => prop_assert!(false, "nobody said so"),
            }
        }
    }
}
