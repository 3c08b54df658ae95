//! Where the eBPF object comes from: built into the agent, or a file.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The object that `cargo xtask build-ebpf` made before the agent was built; empty where it was
/// not there (see `build.rs`).
static EMBEDDED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mesh.bpf.o"));

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The agent was built without one.
    #[error(
        "this agent was built without the eBPF programs: run `cargo xtask build-ebpf` and build \
         it again, or pass --bpf-object FILE"
    )]
    NotBuilt,
    /// The file is something else.
    #[error("{} is not an eBPF object: pass what `cargo xtask build-ebpf` made", .0.display())]
    NotElf(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the eBPF object {}: {source}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The object's bytes: of the file if one is given, else the built-in one.
pub fn object(file: Option<&Path>) -> Result<Vec<u8>, ObjectError> {
    let Some(path) = file else {
        return if EMBEDDED.is_empty() {
            Err(ObjectError::NotBuilt)
        } else {
            Ok(EMBEDDED.to_vec())
        };
    };
    let bytes =
        fs::read(path).map_err(|source| ObjectError::File { path: path.to_owned(), source })?;
    if bytes.starts_with(b"\x7fELF") {
        Ok(bytes)
    } else {
        Err(ObjectError::NotElf(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_object_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mesh.bpf.o");
        assert!(matches!(object(Some(&path)), Err(ObjectError::File { .. })));
        fs::write(&path, "text").unwrap();
        assert!(matches!(object(Some(&path)), Err(ObjectError::NotElf(named)) if named == path));
        fs::write(&path, b"\x7fELF").unwrap();
        assert_eq!(object(Some(&path)).unwrap(), b"\x7fELF");
    }
}
