//! The last good state on disk: what a node serves when it starts and the control plane is away.
//!
//! A redb file, so that one changed endpoint costs one small transaction, and a crash leaves the
//! state of the last commit. The state is not kept in memory a second time.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use mesh_xds::client::Received;
use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::maps::Held;

/// Name of the file in the state directory.
pub const FILE: &str = "last-good.redb";
/// redb's page cache: changes are small, and the whole state is read once, at the start.
const CACHE_BYTES: usize = 4 << 20;

/// (type, name) → (version, body).
const RESOURCES: TableDefinition<'static, (&str, &str), (&str, &[u8])> =
    TableDefinition::new("resources");
/// [`REVISION`] and [`COMMIT`].
const HELD: TableDefinition<'static, &str, u64> = TableDefinition::new("held");
const REVISION: &str = "revision";
const COMMIT: &str = "commit";

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The file system says no.
    #[error("cannot use {}: {source}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// redb says no.
    #[error("cannot use {}: {source}", .path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<redb::Error>,
    },
}

/// The file.
#[derive(Debug)]
pub struct LastGood {
    database: Database,
    path: PathBuf,
}

/// What is to be written: by type and name, the version and body, or `None` where it is gone.
#[derive(Debug, Default)]
pub struct Changes {
    /// `None`: no update, but what belongs to none, such as health.
    held: Option<Held>,
    resources: BTreeMap<Key, Option<Value>>,
}

/// Type and name.
type Key = (String, String);
/// Version and body.
type Value = (String, Vec<u8>);

impl Changes {
    /// What one update accepted and removed; without `held`, what came beside the updates.
    #[must_use]
    pub fn new(
        held: impl Into<Option<Held>>,
        accepted: Vec<(String, Received)>,
        removed: Vec<(String, String)>,
    ) -> Self {
        let gone = removed.into_iter().map(|key| (key, None));
        let there = accepted.into_iter().map(|(type_url, received)| {
            ((type_url, received.name), Some((received.version, received.body)))
        });
        Self { held: held.into(), resources: gone.chain(there).collect() }
    }

    /// Adds those of a later update.
    pub fn merge(&mut self, later: Self) {
        self.held = later.held.or(self.held);
        self.resources.extend(later.resources);
    }

    /// Number of resources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether nothing has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_none() && self.resources.is_empty()
    }
}

impl LastGood {
    /// Opens the file in a directory, both made where they do not exist. A damaged file is set
    /// aside: the control plane sends what was in it again.
    pub fn open(directory: &Path) -> Result<Self, LastGoodError> {
        let path = directory.join(FILE);
        let failed = |source| LastGoodError::File { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let database = match Self::create(&path) {
            Ok(database) => database,
            Err(
                error @ (redb::Error::Corrupted(_)
                | redb::Error::UpgradeRequired(_)
                | redb::Error::RepairAborted
                | redb::Error::TableTypeMismatch { .. }),
            ) => Self::replace(&path, &error)?,
            // What has no database's header is an I/O error of this kind.
            Err(redb::Error::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Self::replace(&path, &redb::Error::Io(error))?
            }
            Err(source) => {
                return Err(LastGoodError::Database { path, source: Box::new(source) });
            }
        };
        // The file's name must survive a crash as well as its content.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(Self { database, path })
    }

    fn replace(path: &Path, error: &redb::Error) -> Result<Database, LastGoodError> {
        let aside = path.with_extension("damaged");
        tracing::warn!(
            %error, path = %path.display(), aside = %aside.display(),
            "the last good state is damaged: it is set aside and not used"
        );
        fs::rename(path, &aside).map_err(|source| LastGoodError::File { path: aside, source })?;
        Self::create(path).map_err(|source| LastGoodError::Database {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    fn create(path: &Path) -> Result<Database, redb::Error> {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(RESOURCES)?;
        transaction.open_table(HELD)?;
        transaction.commit()?;
        Ok(database)
    }

    /// Which update the state is of; all 0 before the first.
    pub fn held(&self) -> Result<Held, LastGoodError> {
        let read = || -> Result<Held, redb::Error> {
            let table = self.database.begin_read()?.open_table(HELD)?;
            let number = |key| -> Result<u64, redb::Error> {
                Ok(table.get(key)?.map_or(0, |value| value.value()))
            };
            Ok(Held { revision: number(REVISION)?, commit: number(COMMIT)? })
        };
        read().map_err(|source| self.error(source))
    }

    /// Calls `each` with type, name, version and body of every resource, by type and name.
    pub fn each(&self, mut each: impl FnMut(&str, &str, &str, &[u8])) -> Result<(), LastGoodError> {
        let mut read = || -> Result<(), redb::Error> {
            let table = self.database.begin_read()?.open_table(RESOURCES)?;
            for entry in table.iter()? {
                let (key, value) = entry?;
                let ((type_url, name), (version, body)) = (key.value(), value.value());
                each(type_url, name, version, body);
            }
            Ok(())
        };
        read().map_err(|source| self.error(source))
    }

    /// Writes changes; when it returns, they survive a crash.
    pub fn write(&self, changes: &Changes) -> Result<(), LastGoodError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(RESOURCES)?;
                for ((type_url, name), value) in &changes.resources {
                    let key = (type_url.as_str(), name.as_str());
                    match value {
                        Some((version, body)) => {
                            table.insert(key, (version.as_str(), body.as_slice()))?;
                        }
                        None => drop(table.remove(key)?),
                    }
                }
                if let Some(of) = changes.held {
                    let mut held = transaction.open_table(HELD)?;
                    held.insert(REVISION, of.revision)?;
                    held.insert(COMMIT, of.commit)?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|source| self.error(source))
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<(), LastGoodError> {
        let clear = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.delete_table(RESOURCES)?;
            transaction.delete_table(HELD)?;
            transaction.open_table(RESOURCES)?;
            transaction.open_table(HELD)?;
            transaction.commit()?;
            Ok(())
        };
        clear().map_err(|source| self.error(source))
    }

    fn error(&self, source: redb::Error) -> LastGoodError {
        LastGoodError::Database { path: self.path.clone(), source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(name: &str, version: &str) -> (String, Received) {
        let (name, version) = (name.to_owned(), version.to_owned());
        ("type".to_owned(), Received { name, version, body: vec![1, 2, 3] })
    }

    fn content(state: &LastGood) -> Vec<(String, String)> {
        let mut content = Vec::new();
        state
            .each(|type_url, name, version, body| {
                assert_eq!((type_url, body), ("type", &[1, 2, 3][..]));
                content.push((name.to_owned(), version.to_owned()));
            })
            .unwrap();
        content
    }

    #[test]
    fn what_is_written_is_read_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let state = LastGood::open(directory.path()).unwrap();
        assert_eq!(state.held().unwrap(), Held::default());
        let first = Held { revision: 7, commit: 9 };
        let mut changes =
            Changes::new(first, vec![received("a", "1"), received("b", "1")], Vec::new());
        let second = Held { revision: 8, commit: 10 };
        let gone = ("type".to_owned(), "a".to_owned());
        changes.merge(Changes::new(second, vec![received("b", "2")], vec![gone]));
        state.write(&changes).unwrap();
        // What belongs to no update leaves it as it is.
        state.write(&Changes::new(None, vec![received("c", "1")], Vec::new())).unwrap();
        drop(state);
        let state = LastGood::open(directory.path()).unwrap();
        assert_eq!(state.held().unwrap(), second);
        let expected = [("b".to_owned(), "2".to_owned()), ("c".to_owned(), "1".to_owned())];
        assert_eq!(content(&state), expected);
        state.clear().unwrap();
        assert_eq!((state.held().unwrap(), content(&state)), (Held::default(), Vec::new()));
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for damage in [&b"this is not a database"[..], &[0; 8192]] {
            fs::write(&path, damage).unwrap();
            let state = LastGood::open(directory.path()).unwrap();
            assert_eq!(state.held().unwrap(), Held::default());
            assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), damage);
        }
    }
}
