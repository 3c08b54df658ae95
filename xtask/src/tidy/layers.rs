//! Which words may stand where: the arrows of ARCHITECTURE.md below the level of crates.

use super::source::{Source, Violation, has_word};

/// The modules that decide and do nothing else.
const PURE: [&str; 18] = [
    "mesh-agent/src/compile",
    "mesh-agent/src/diff",
    "mesh-agent/src/enrol/glob",
    "mesh-agent/src/enrol/kernel",
    "mesh-agent/src/enrol/plan",
    "mesh-agent/src/enrol/rules",
    "mesh-agent/src/enrol/tree",
    "mesh-agent/src/enrol/verdicts",
    "mesh-agent/src/image",
    "mesh-agent/src/workload/identity",
    "mesh-agent/src/workload/inventory",
    "mesh-api/src/model",
    "mesh-control/src/health/aggregate",
    "mesh-control/src/health/target",
    "mesh-control/src/snapshot",
    "mesh-control/src/validate",
    "mesh-health/src/schedule",
    "mesh-health/src/threshold",
];

/// Words that are forbidden in some places.
struct Rule {
    words: &'static [&'static str],
    places: Places,
    mend: &'static str,
}

enum Places {
    /// Forbidden here.
    In(&'static [&'static str]),
    /// Forbidden below the first, but not in the others.
    OnlyIn { below: &'static [&'static str], allowed: &'static [&'static str] },
}

const RULES: [Rule; 5] = [
    Rule {
        words: &["aya", "prost", "tonic", "axum", "redb"],
        places: Places::In(&PURE),
        mend: "this module knows only the model: convert at the edge (convert, xds, maps)",
    },
    Rule {
        words: &[
            "tokio",
            "async",
            ".await",
            "std::fs",
            "std::net::TcpStream",
            "std::thread",
            "std::env",
            "std::process",
            "Instant::now",
            "SystemTime",
        ],
        places: Places::In(&PURE),
        mend: "this module does no I/O, reads no clock and is not async: take the value as an argument",
    },
    Rule {
        words: &["aya"],
        places: Places::OnlyIn {
            below: &[
                "mesh-agent/src/",
                "mesh-common/src/",
                "mesh-control/",
                "mesh-api/",
                "mesh-health/",
                "mesh-xds/",
                "meshctl/",
            ],
            allowed: &[
                "mesh-agent/src/bpf/",
                "mesh-agent/src/events/ring",
                "mesh-agent/src/maps/kernel",
                "mesh-common/src/layout",
            ],
        },
        mend: "aya is named only in maps/kernel, bpf/ and events/ring: go through MapStore",
    },
    Rule {
        words: &["envoy_types"],
        places: Places::OnlyIn { below: &[""], allowed: &["mesh-xds/"] },
        mend: "only mesh-xds names envoy-types: use mesh_xds::ads",
    },
    Rule {
        words: &["std::time", "std::fs", "std::net", "std::thread", "alloc::alloc"],
        places: Places::In(&["mesh-common/src/logic"]),
        mend: "decisions run in the kernel too: pass time and randomness in",
    },
];

/// All breaches in one file, tests excepted.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.places.cover(source)) {
        for (line, code) in source.code() {
            for word in rule.words.iter().filter(|word| has_word(code, word)) {
                found.push(source.violation(line, format!("`{word}` here: {}", rule.mend)));
            }
        }
    }
    found
}

impl Places {
    fn cover(&self, source: &Source) -> bool {
        match self {
            Self::In(places) => source.is_in(places),
            Self::OnlyIn { below, allowed } => {
                let below = below.iter().any(|prefix| source.path.starts_with(prefix));
                below && !source.is_in(allowed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).into_iter().map(|v| v.line).collect()
    }

    #[test]
    fn pure_modules_know_no_clock_and_no_wire() {
        let text = "use std::time::Duration;\nlet now = Instant::now();\nuse prost::Message;\n";
        assert_eq!(lines("mesh-agent/src/compile/ids.rs", text), [3, 2]);
        assert_eq!(lines("mesh-agent/src/reconcile.rs", text), NONE);
    }

    #[test]
    fn words_in_comments_and_tests_are_free() {
        let text = "// no tokio\nfn f() {}\n#[cfg(test)]\nmod tests {\n use std::fs;\n}\n";
        assert_eq!(lines("mesh-agent/src/diff.rs", text), NONE);
        assert_eq!(lines("mesh-agent/src/compile/tests.rs", "use std::fs;\n"), NONE);
    }

    #[test]
    fn libraries_have_one_door() {
        assert_eq!(lines("mesh-agent/src/app.rs", "use aya::Ebpf;\n"), [1]);
        assert_eq!(lines("mesh-agent/src/bpf/load.rs", "use aya::Ebpf;\n"), NONE);
        assert_eq!(lines("mesh-agent/src/maps/kernel/batch.rs", "use aya::Ebpf;\n"), NONE);
        assert_eq!(lines("mesh-control/src/xds/mod.rs", "use envoy_types::pb;\n"), [1]);
        assert_eq!(lines("mesh-xds/src/ads.rs", "pub use envoy_types::pb;\n"), NONE);
    }
}
