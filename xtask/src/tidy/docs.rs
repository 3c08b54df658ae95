//! Documents that must exist, and links between them that must lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::source::{Source, Violation};

/// Documents that people look for.
const REQUIRED: [&str; 6] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "mesh-ebpf/LICENSE-GPL-2.0",
];

/// All breaches. `exists` answers for paths from the root.
pub(super) fn check(
    sources: &[Source],
    commands: &[String],
    exists: impl Fn(&Path) -> bool,
) -> Vec<Violation> {
    let missing = REQUIRED.iter().filter(|path| !exists(Path::new(path)));
    let mut found: Vec<_> = missing
        .map(|path| Violation {
            path: (*path).to_owned(),
            line: 1,
            message: "missing: people look for it".to_owned(),
        })
        .collect();
    for source in sources.iter().filter(|source| source.is_markdown()) {
        for (number, line) in (1..).zip(source.text.lines()) {
            for link in links(line) {
                if !target(&source.path, link).is_some_and(|target| exists(&target)) {
                    found.push(
                        source.violation(number, format!("`{link}` leads nowhere: correct it")),
                    );
                }
            }
            for task in tasks(line).filter(|task| !commands.iter().any(|command| command == task)) {
                let message = format!("`cargo xtask {task}` does not exist: correct it");
                found.push(source.violation(number, message));
            }
        }
    }
    found
}

/// Relative targets of `[text](target)`, anchors cut off.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let (to, _) = rest.split_once(')')?;
        let path = to.split('#').next().unwrap_or_default();
        (!path.is_empty() && !to.contains("://") && !to.starts_with("mailto:")).then_some(path)
    })
}

/// Names after `cargo xtask`.
fn tasks(line: &str) -> impl Iterator<Item = &str> {
    line.split("cargo xtask ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-');
        let task = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('-');
        (!task.is_empty()).then_some(task)
    })
}

/// Where a link in `document` leads, from the root; `None` if out of the repository.
fn target(document: &str, link: &str) -> Option<PathBuf> {
    let mut path = Path::new(document).parent()?.to_path_buf();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let sources = [Source::new(path, text)];
        let there = |path: &Path| !path.ends_with("gone.md");
        let found = check(&sources, &["test".to_owned(), "build-ebpf".to_owned()], there);
        found.into_iter().map(|v| v.message).collect()
    }

    #[test]
    fn links_lead_somewhere() {
        assert_eq!(
            messages("README.md", "[a](docs/a.md#part) [b](https://x/gone.md) [c](#here)\n").len(),
            0
        );
        assert_eq!(
            messages("README.md", "[a](docs/a.md) [b](gone.md)\n"),
            ["`gone.md` leads nowhere: correct it"]
        );
        assert_eq!(messages("docs/a.md", "[up](../README.md) [out](../../x.md)\n").len(), 1);
    }

    #[test]
    fn commands_exist() {
        assert_eq!(
            messages("README.md", "`cargo xtask test`, then `cargo xtask build-ebpf`\n").len(),
            0
        );
        assert_eq!(messages("README.md", "run cargo xtask tests\n").len(), 1);
    }
}
