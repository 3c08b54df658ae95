//! [`Store`] on one redb file. Every commit is one transaction and one fsync; a crash at any
//! moment leaves the state of the last commit, which redb finds again when it opens the file.

mod codec;
mod compact;
mod tables;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use ::redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, WriteTransaction,
};
use mesh_api::model::ObjectRef;

use super::{Batch, Change, ChangeKind, Changes, Store, StoreError, Write};
use crate::world::Stored;
use tables::{FORMAT, HISTORY, LOG, META, OBJECTS, meta};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "mesh.redb";
/// redb's page cache; the objects themselves are in the `World`.
const CACHE_BYTES: usize = 64 << 20;

/// The embedded store.
pub struct RedbStore {
    database: Database,
    limits: Limits,
}

/// Retention; the defaults are what the module's documentation promises.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Changes kept per object.
    pub history: usize,
    /// Changes kept in the log.
    pub log: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { history: super::HISTORY_PER_OBJECT, log: super::LOG_LENGTH }
    }
}

impl RedbStore {
    /// Opens or creates the store in a directory, which is made if it does not exist. Only one
    /// process at a time can have it open.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let path = directory.join(FILE_NAME);
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_repair_callback(|session| {
                tracing::info!(
                    progress = session.progress(),
                    "the last run did not shut down: checking the database"
                );
            })
            .create(&path)
            .map_err(|source| open_error(&path, source))?;
        // The file's name must survive a crash as well as its content.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        let store = Self { database, limits };
        store.check_format(path)?;
        Ok(store)
    }

    /// Writes the format into a new file, refuses that of another.
    fn check_format(&self, path: PathBuf) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        let found = {
            let mut table = transaction.open_table(META)?;
            transaction.open_table(OBJECTS)?;
            transaction.open_table(HISTORY)?;
            transaction.open_table(LOG)?;
            let found = meta(&table, tables::META_FORMAT)?;
            if found.is_none() {
                table.insert(tables::META_FORMAT, FORMAT)?;
            }
            found
        };
        match found {
            None => Ok(transaction.commit()?),
            Some(FORMAT) => Ok(()),
            Some(found) => Err(StoreError::Format { path, found, supported: FORMAT }),
        }
    }
}

fn open_error(path: &Path, source: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match source {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        DatabaseError::Storage(::redb::StorageError::Io(source)) => {
            StoreError::Directory { path, source }
        }
        source @ (DatabaseError::LockProtocolMismatch
        | DatabaseError::RepairAborted
        | DatabaseError::UpgradeRequired(_)
        | DatabaseError::TransactionInProgress
        | DatabaseError::Storage(_)
        | _) => StoreError::Open { path, source },
    }
}

impl Store for RedbStore {
    fn load(&self) -> Result<(u64, Vec<Stored>), StoreError> {
        let transaction = self.database.begin_read()?;
        let revision = meta(&transaction.open_table(META)?, tables::META_REVISION)?.unwrap_or(0);
        let mut objects = Vec::new();
        for entry in transaction.open_table(OBJECTS)?.iter()? {
            let (key, value) = entry?;
            let (resource_version, bytes) = value.value();
            objects.push(Stored { object: codec::decode(key.value(), bytes)?, resource_version });
        }
        Ok((revision, objects))
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        for batch in batches {
            write_batch(&transaction, batch, self.limits)?;
        }
        compact::trim_log(&transaction, self.limits.log)?;
        Ok(transaction.commit()?)
    }

    fn history(&self, reference: &ObjectRef) -> Result<Vec<Change>, StoreError> {
        let key = codec::key(reference);
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(HISTORY)?;
        let range = table.range((key.as_str(), 0)..=(key.as_str(), u64::MAX))?;
        let mut changes = Vec::new();
        for entry in range.rev() {
            let (at, value) = entry?;
            changes.push(codec::change(at.value().1, &key, value.value())?);
        }
        Ok(changes)
    }

    fn changes(&self, after: u64, limit: usize) -> Result<Changes, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(META)?;
        let revision = meta(&table, tables::META_REVISION)?.unwrap_or(0);
        let trimmed = meta(&table, tables::META_TRIMMED)?.unwrap_or(0);
        if after > revision || after < trimmed {
            return Ok(Changes::Gone);
        }
        let log = transaction.open_table(LOG)?;
        let mut changes: Vec<Change> = Vec::new();
        let mut upto = revision;
        for entry in log.range((after + 1, 0)..)? {
            let (at, value) = entry?;
            let (at, _) = at.value();
            let last = changes.last().map(|change| change.revision);
            if let Some(last) = last
                && last != at
                && changes.len() >= limit
            {
                upto = last;
                break;
            }
            let (key, value) = value.value();
            changes.push(codec::change(at, key, value)?);
        }
        Ok(Changes::Since { changes, upto })
    }
}

fn write_batch(
    transaction: &WriteTransaction,
    batch: &Batch,
    limits: Limits,
) -> Result<(), StoreError> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let mut history = transaction.open_table(HISTORY)?;
    let mut log = transaction.open_table(LOG)?;
    for (write, at) in batch.writes.iter().zip(0_u32..) {
        let key = codec::key(&write.reference);
        let stored = objects.get(key.as_str())?.map(|found| found.value().0);
        if stored != write.replaces {
            return Err(StoreError::Stale { reference: write.reference.clone(), stored });
        }
        let kind = kind_of(write);
        let bytes =
            write.object.as_ref().map_or_else(Vec::new, |stored| codec::encode(&stored.object));
        if write.object.is_some() {
            objects.insert(key.as_str(), (batch.revision, bytes.as_slice()))?;
        } else {
            objects.remove(key.as_str())?;
        }
        let value = (batch.time_ms, codec::kind_number(kind), bytes.as_slice());
        history.insert((key.as_str(), batch.revision), value)?;
        log.insert((batch.revision, at), (key.as_str(), value))?;
        compact::trim_history(&mut history, &key, limits.history)?;
    }
    let mut table = transaction.open_table(META)?;
    let written = u64::try_from(batch.writes.len()).unwrap_or(u64::MAX);
    let length = meta(&table, tables::META_LOG_LENGTH)?.unwrap_or(0);
    table.insert(tables::META_LOG_LENGTH, length.saturating_add(written))?;
    table.insert(tables::META_REVISION, batch.revision)?;
    Ok(())
}

const fn kind_of(write: &Write) -> ChangeKind {
    match (&write.object, write.replaces) {
        (None, _) => ChangeKind::Deleted,
        (Some(_), None) => ChangeKind::Created,
        (Some(_), Some(_)) => ChangeKind::Configured,
    }
}
