//! The last good state on disk: what a node serves when it starts and the control plane is away.
//!
//! One `DeltaDiscoveryResponse` per type, length-delimited, behind a magic line. Written to a
//! temporary file, synced and renamed, so that a crash leaves the old or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mesh_xds::ads::{Any, DeltaDiscoveryResponse, Resource};
use mesh_xds::client::Received;
use prost::Message as _;

use crate::maps::Held;

const MAGIC: &[u8] = b"mesh-agent last-good 1\n";
const FILE: &str = "last-good";

/// Why the copy could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system says no.
    #[error("cannot use {}: {source}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content is not what was written.
    #[error("{} is damaged and is not used; it is replaced at the next update", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

/// Version and body by type and name.
pub type Resources = BTreeMap<String, BTreeMap<String, (String, Vec<u8>)>>;

/// A complete state: everything accepted at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastGood {
    /// The control plane's revision.
    pub revision: u64,
    /// Number of the update on this node; see [`crate::maps::Held`].
    pub commit: u64,
    /// The resources.
    pub resources: Resources,
}

impl LastGood {
    /// Takes over what a batch changed.
    pub fn update(
        &mut self,
        held: Held,
        accepted: Vec<(String, Received)>,
        removed: Vec<(String, String)>,
    ) {
        self.revision = held.revision;
        self.commit = held.commit;
        for (type_url, name) in removed {
            if let Some(resources) = self.resources.get_mut(&type_url) {
                resources.remove(&name);
            }
        }
        for (type_url, Received { name, version, body }) in accepted {
            self.resources.entry(type_url).or_default().insert(name, (version, body));
        }
    }

    /// Version of a resource, if it is known.
    #[must_use]
    pub fn version(&self, type_url: &str, name: &str) -> Option<&str> {
        let (version, _) = self.resources.get(type_url)?.get(name)?;
        Some(version)
    }

    /// Reads the copy; `None` where there is none yet.
    pub fn load(directory: &Path) -> Result<Option<Self>, CacheError> {
        let path = directory.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CacheError::File { path, source }),
        };
        decode(&bytes).map(Some).ok_or(CacheError::Damaged { path })
    }

    /// Writes the copy.
    pub fn save(&self, directory: &Path) -> Result<(), CacheError> {
        let path = directory.join(FILE);
        let write = || -> io::Result<()> {
            fs::create_dir_all(directory)?;
            let temporary = directory.join("last-good.new");
            let mut file = File::create(&temporary)?;
            file.write_all(&self.encode())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| CacheError::File { path: path.clone(), source })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let header = DeltaDiscoveryResponse {
            system_version_info: self.revision.to_string(),
            nonce: self.commit.to_string(),
            ..DeltaDiscoveryResponse::default()
        };
        bytes.extend(header.encode_length_delimited_to_vec());
        for (type_url, resources) in &self.resources {
            let resource = |(name, (version, body)): (&String, &(String, Vec<u8>))| Resource {
                name: name.clone(),
                version: version.clone(),
                resource: Some(Any { type_url: type_url.clone(), value: body.clone() }),
                ..Resource::default()
            };
            let response = DeltaDiscoveryResponse {
                type_url: type_url.clone(),
                resources: resources.iter().map(resource).collect(),
                ..DeltaDiscoveryResponse::default()
            };
            bytes.extend(response.encode_length_delimited_to_vec());
        }
        bytes
    }
}

fn decode(bytes: &[u8]) -> Option<LastGood> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let header = DeltaDiscoveryResponse::decode_length_delimited(&mut rest).ok()?;
    let mut state = LastGood {
        revision: header.system_version_info.parse().ok()?,
        commit: header.nonce.parse().ok()?,
        ..LastGood::default()
    };
    while !rest.is_empty() {
        let response = DeltaDiscoveryResponse::decode_length_delimited(&mut rest).ok()?;
        let resources = state.resources.entry(response.type_url).or_default();
        for Resource { name, version, resource, .. } in response.resources {
            resources.insert(name, (version, resource?.value));
        }
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(LastGood::load(directory.path()).unwrap(), None);
        let mut state = LastGood::default();
        let received =
            Received { name: "default/a".into(), version: "1f".into(), body: vec![1, 2, 3] };
        state.update(Held { revision: 7, commit: 9 }, vec![("type".into(), received)], Vec::new());
        state.save(directory.path()).unwrap();
        assert_eq!(LastGood::load(directory.path()).unwrap(), Some(state));
    }

    #[test]
    fn a_truncated_file_is_damaged() {
        let mut state = LastGood::default();
        let received = Received { name: "n".into(), version: "v".into(), body: vec![0; 100] };
        state.update(Held::default(), vec![("type".into(), received)], Vec::new());
        let bytes = state.encode();
        for length in 0..bytes.len() {
            let cut = decode(&bytes[..length]);
            assert!(cut.is_none_or(|cut| cut.resources.is_empty()), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes: Vec<u8>, magic: bool) {
            if magic {
                bytes.splice(0..0, MAGIC.iter().copied());
            }
            let decoded = decode(&bytes);
            prop_assert!(magic || decoded.is_none());
        }
    }
}
