//! Golden scripts: a file of sections that tell what is applied and what the maps then hold.
//!
//! ```text
//! # What this shows.
//! -- apply
//! <manifests>
//! -- maps
//! <mesh-agent dump>
//! -- delete Service default/web
//! -- maps
//! ```
//! With `MESH_UPDATE_GOLDEN=1` the expected dumps are written anew.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, bail};

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store these manifests.
    Apply(String),
    /// Delete an object: kind and namespace/name.
    Delete { kind: String, name: String },
    /// The maps hold this, as sorted lines.
    Maps(String),
}

/// One file.
#[derive(Clone, Debug)]
pub struct Script {
    path: PathBuf,
    /// What stands before the first section.
    intro: String,
    /// The sections in order.
    pub steps: Vec<Step>,
}

/// All scripts of this crate, sorted by name.
pub fn all() -> anyhow::Result<Vec<Script>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| Script::read(path)).collect()
}

impl Script {
    /// Reads one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let text = format!("\n{text}");
        let mut sections = text.split("\n-- ");
        let intro = sections.next().unwrap_or_default().trim_start().to_owned();
        let steps = sections
            .map(step)
            .collect::<anyhow::Result<_>>()
            .with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_path_buf(), intro, steps })
    }

    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Is the expectation to be written anew?
    #[must_use]
    pub fn updating() -> bool {
        env::var_os("MESH_UPDATE_GOLDEN").is_some()
    }

    /// Writes the file back.
    pub fn write(&self) -> anyhow::Result<()> {
        let mut text = self.intro.trim_end().to_owned();
        for step in &self.steps {
            let (head, body) = match step {
                Step::Apply(manifests) => ("apply".to_owned(), manifests.as_str()),
                Step::Delete { kind, name } => (format!("delete {kind} {name}"), ""),
                Step::Maps(lines) => ("maps".to_owned(), lines.as_str()),
            };
            text.push_str("\n-- ");
            text.push_str(&head);
            if !body.is_empty() {
                text.push('\n');
                text.push_str(body.trim_end());
            }
        }
        text.push('\n');
        fs::write(&self.path, text).with_context(|| format!("write {}", self.path.display()))
    }
}

fn step(section: &str) -> anyhow::Result<Step> {
    let (head, body) = section.split_once('\n').unwrap_or((section, ""));
    let words: Vec<&str> = head.split_whitespace().collect();
    match words.as_slice() {
        ["apply"] => Ok(Step::Apply(body.to_owned())),
        ["maps"] => Ok(Step::Maps(body.to_owned())),
        ["delete", kind, name] => {
            Ok(Step::Delete { kind: (*kind).to_owned(), name: (*name).to_owned() })
        }
        _ => bail!("unknown section {head:?}"),
    }
}

/// A dump without blank lines and trailing space, to compare.
#[must_use]
pub fn normal(dump: &str) -> String {
    let lines = dump.lines().map(str::trim_end);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}
