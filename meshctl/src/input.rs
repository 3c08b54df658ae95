//! Reads the manifests that `-f` names: files, directories, standard input.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mesh_api::manifest::{self, Located, MAX_BYTES, Problems};

use crate::failure::Failure;

/// How standard input is called in messages.
const STDIN: &str = "<stdin>";

/// The objects of all files, in order. Says everything that is wrong with any of them.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Located>, Failure> {
    let mut objects = Vec::new();
    let mut problems = Problems::default();
    for file in files(paths)? {
        let (name, bytes) = contents(&file)?;
        let parsed = manifest::decode(&name, &bytes).and_then(|text| manifest::parse(&name, text));
        match parsed {
            Ok(found) => objects.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    if let Err(found) = manifest::duplicates(&objects) {
        problems.extend(found);
    }
    problems.into_result(())?;
    if objects.is_empty() {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::usage(format!("no objects in {}", names.join(", "))));
    }
    Ok(objects)
}

/// The files: those of a directory by name, without what is below it.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error| cannot_read(path, &error);
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let extension = file.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("yaml" | "yml" | "json")) && !file.is_dir() {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(Failure::usage(format!(
                "{}: no file ends with .yaml, .yml or .json",
                path.display()
            )));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Name and bytes of a file; of one that is too large, only enough to see that it is.
fn contents(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    if path.as_os_str() == "-" {
        let limited = &mut io::stdin().lock().take(limit.saturating_add(1));
        limited.read_to_end(&mut bytes).map_err(|error| Failure::io(STDIN, error))?;
        return Ok((STDIN.to_owned(), bytes));
    }
    let name = path.display().to_string();
    let unreadable = |error| cannot_read(path, &error);
    File::open(path)
        .map_err(unreadable)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok((name, bytes))
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {error}", path.display()))
}
