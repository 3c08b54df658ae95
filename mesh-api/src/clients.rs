//! What clients are called in reports and metrics, where a name can also stand for several of them or
//! for none.

use std::borrow::Cow;

/// Those that are counted together, because there are too many.
pub const OTHER: &str = "other";
/// Those of whom it is not known who they are.
pub const UNKNOWN: &str = "unknown";

/// As a workload of this name is called: by its name, unless that stands for something else.
#[must_use]
pub fn name_of(workload: &str) -> Cow<'_, str> {
    if workload == OTHER || workload == UNKNOWN {
        Cow::Owned(format!("workload/{workload}"))
    } else {
        Cow::Borrowed(workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_workload_is_called_like_those_that_are_counted_together() {
        let names = ["other", "unknown", "other.service", "shop"].map(name_of);
        assert_eq!(names, ["workload/other", "workload/unknown", "other.service", "shop"]);
    }
}
