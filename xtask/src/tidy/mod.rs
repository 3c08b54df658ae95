//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md that can be seen by reading files. Each
//! check is a function from sources to violations, tested on small strings.

mod arrows;
mod docs;
mod layers;
mod lexer;
mod names;
mod rust;
mod sizes;
mod source;
mod text;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{cli, ui};
use source::Source;

/// Files that are not ours to word: licences, and what cargo writes.
const FOREIGN: [&str; 2] = ["LICENSE", "Cargo.lock"];
/// Kinds of files that are checked as text.
const TEXT: [&str; 9] = ["rs", "toml", "md", "proto", "yaml", "yml", "json", "sh", "txt"];
/// Hidden folders that are part of the project; others belong to tools.
const HIDDEN: [&str; 2] = [".cargo", ".ci"];
/// Folders that builds and runs make.
const MADE: [&str; 2] = ["target", "mesh-data"];

/// Checks everything, prints what it finds, and fails if that is anything.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let root = &workspace.root;
    let mut sources = Vec::new();
    collect(root, Path::new(""), &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));

    let mut found = Vec::new();
    for source in &sources {
        found.extend(text::check(source));
        if source.is_rust() {
            found.extend(rust::check(source));
            found.extend(layers::check(source));
        }
    }
    found.extend(names::check(&sources));
    found.extend(arrows::check(workspace, &sources));
    found.extend(docs::check(&sources, &cli::task_names(), |path| root.join(path).exists()));
    found.sort();

    sizes::show(&sources);
    for violation in &found {
        ui::say(violation);
    }
    if !found.is_empty() {
        bail!("{} violations of the house rules (above, with what to do)", found.len());
    }
    ui::step("tidy", format_args!("{} files, no violations", sources.len()));
    Ok(())
}

/// Reads all text files below `folder` (relative to `root`).
fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let absolute = root.join(folder);
    let entries =
        fs::read_dir(&absolute).with_context(|| format!("cannot read {}", absolute.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", absolute.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = folder.join(name.as_ref());
        let kind = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_dir() {
            let hidden = name.starts_with('.') && !HIDDEN.contains(&name.as_ref());
            if !hidden && !MADE.contains(&name.as_ref()) {
                collect(root, &path, sources)?;
            }
        } else if kind.is_file() && is_ours(&path, &name) {
            let text = fs::read_to_string(root.join(&path))
                .with_context(|| format!("{} is not UTF-8 text", path.display()))?;
            sources.push(Source::new(path.to_string_lossy(), text));
        }
    }
    Ok(())
}

fn is_ours(path: &Path, name: &str) -> bool {
    let foreign = FOREIGN.iter().any(|foreign| name.starts_with(foreign));
    let script = path.starts_with(".ci/");
    let extension = path.extension().is_some_and(|e| TEXT.iter().any(|text| e == *text));
    !foreign && (extension || script)
}
