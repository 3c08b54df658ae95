//! Names that kernel and user space share are spelled in one file only.

use std::collections::BTreeSet;

use super::source::{Source, Violation};

/// The file that spells them.
const NAMES: &str = "mesh-common/src/names.rs";
/// Where a map's name as a literal would be a second spelling; elsewhere `"services"` is a word.
const MAP_USERS: [&str; 4] =
    ["mesh-agent/src/bpf/", "mesh-agent/src/events/", "mesh-agent/src/maps/", "mesh-ebpf/src/"];
/// Where no shared name at all may be spelled.
const PROGRAM_USERS: [&str; 3] = ["mesh-agent/src/", "mesh-ebpf/src/", "mesh-common/src/"];

/// All breaches in the repository.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let Some(names) = sources.iter().find(|source| source.path == NAMES) else {
        let message = "missing: names of maps, programs and pins belong there".to_owned();
        return vec![Violation { path: NAMES.to_owned(), line: 1, message }];
    };
    let names: BTreeSet<_> = names.literals().map(|(_, name)| name).collect();
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && source.path != NAMES) {
        for (line, literal) in source.literals() {
            let (distinct, map_user) = (is_distinct(literal), source.is_in(&MAP_USERS));
            if names.contains(literal) && (map_user || distinct && source.is_in(&PROGRAM_USERS)) {
                let message = format!("`\"{literal}\"` is spelled here: use its const of {NAMES}");
                found.push(source.violation(line, message));
            }
        }
    }
    found
}

/// A name that can mean nothing else.
fn is_distinct(name: &str) -> bool {
    name.starts_with("mesh_") || name.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(others: &[(&str, &str)]) -> Vec<String> {
        let names =
            "pub const EVENTS: &str = \"events\";\npub const CONNECT4: &str = \"mesh_connect4\";\n";
        let mut sources = vec![Source::new(NAMES, names)];
        sources.extend(others.iter().map(|(path, text)| Source::new(*path, *text)));
        check(&sources).into_iter().map(|v| v.path).collect()
    }

    #[test]
    fn a_second_spelling_is_found() {
        let program = ("mesh-agent/src/app.rs", "f(\"mesh_connect4\")\n");
        let map = ("mesh-agent/src/maps/kernel.rs", "f(\"events\")\n");
        let word = ("mesh-agent/src/admin.rs", "f(\"events\")\n");
        assert_eq!(
            paths(&[program, map, word]),
            ["mesh-agent/src/app.rs", "mesh-agent/src/maps/kernel.rs"]
        );
    }

    #[test]
    fn the_file_itself_must_be_there() {
        assert_eq!(check(&[]).len(), 1);
    }
}
