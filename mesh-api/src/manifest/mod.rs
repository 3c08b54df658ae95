//! Manifests: the Kubernetes-shaped YAML that people write.
//!
//! ```yaml
//! apiVersion: mesh.dev/v1alpha1
//! kind: Service
//! metadata: {name: reviews, namespace: default}
//! spec:
//!   vips: [10.96.0.10]
//!   ports: [{port: 80, targetPort: 8080}]
//! ```
//!
//! Text goes `tree` (YAML with positions) → `envelope` (apiVersion, kind, metadata) → `de`
//! (the spec, by serde) → [`Located`]. Every step reports all that is wrong, not the first.

mod check;
mod de;
pub mod duration;
mod envelope;
mod holds;
mod located;
mod problem;
#[cfg(test)]
mod tests;
mod tree;
mod write;

pub use check::duplicates;
pub(crate) use de::shorten;
pub use located::Located;
pub use problem::{Problem, Problems};
pub use write::{Manifest, WriteError, any_to_yaml, to_yaml};

/// The `apiVersion` of every manifest.
pub const API_VERSION: &str = "mesh.dev/v1alpha1";

/// The namespace of a manifest that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Largest manifest file, in bytes: 4 MiB, some 15,000 endpoints.
pub const MAX_BYTES: usize = 4 << 20;

/// Most problems that one file reports; a file this wrong is often not a manifest at all.
const MAX_PROBLEMS: usize = 50;

/// Checks the size and the encoding of a file's bytes; `file` is the name shown in problems.
pub fn decode<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Problems> {
    if bytes.len() > MAX_BYTES {
        return Err(too_large(file).into());
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        Problem::in_file(file, "not UTF-8 text: save the manifest as UTF-8").at_line(line).into()
    })
}

/// Reads all objects of a file. Empty documents are skipped, a `List` is flattened, and each
/// object keeps all rules that can be checked without knowing the others.
///
/// `file` is the name shown in problems.
pub fn parse(file: &str, text: &str) -> Result<Vec<Located>, Problems> {
    if text.len() > MAX_BYTES {
        return Err(too_large(file).into());
    }
    let documents = tree::load(file, text)?;
    let mut found = Vec::new();
    let mut problems = Problems::default();
    for document in documents {
        for object in envelope::read(file, document) {
            match object {
                Ok(object) => found.push(object),
                Err(more) => problems.extend(more),
            }
        }
        if problems.len() > MAX_PROBLEMS {
            break;
        }
    }
    problems.tidy(MAX_PROBLEMS);
    problems.into_result(found)
}

fn too_large(file: &str) -> Problem {
    let message = format!("larger than a manifest may be ({MAX_BYTES} bytes): split it");
    Problem::in_file(file, message)
}
