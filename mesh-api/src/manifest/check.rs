//! What can only be seen over several objects, before the control plane sees them.

use std::collections::BTreeMap;

use super::{Located, Problems};

/// The objects that are named twice in one batch, also over several files.
pub fn duplicates(objects: &[Located]) -> Result<(), Problems> {
    let mut first = BTreeMap::new();
    let mut problems = Problems::default();
    for object in objects {
        let Some(earlier) = first.insert(object.reference(), object) else {
            continue;
        };
        let line = earlier.line("metadata.name");
        let message = format!("already given at {}:{line}", earlier.file());
        problems.push(object.problem("metadata.name", message));
        first.insert(earlier.reference(), earlier);
    }
    problems.into_result(())
}
