//! Durable objects with revisions and history. A batch is one revision; when `commit` has
//! returned, it is on the disk. Current objects are loaded once, at start, into the `World`;
//! afterwards the store is only written to, and asked about the past.
//!
//! Retention: the last [`HISTORY_PER_OBJECT`] changes of each object, and a log of the last
//! [`LOG_LENGTH`] changes of all objects. The history of a deleted object goes when its deletion
//! leaves the log. A watch from before the log starts has to resync.

pub mod redb;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use mesh_api::model::{Object, ObjectRef};

use crate::world::Stored;

/// How many changes of one object are kept.
pub const HISTORY_PER_OBJECT: usize = 100;
/// How many changes of all objects are kept for watches.
pub const LOG_LENGTH: u64 = 100_000;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It did not exist before.
    Created,
    /// It existed.
    Configured,
    /// It does not exist any more.
    Deleted,
}

/// One change to be stored.
#[derive(Clone, Debug)]
pub struct Write {
    /// The object.
    pub reference: ObjectRef,
    /// Its new content; `None` deletes it.
    pub object: Option<Arc<Stored>>,
    /// `resource_version` of what it replaces; `None` means that nothing is there. The commit
    /// fails if something else is stored: the plan was made for another world.
    pub replaces: Option<u64>,
}

/// Changes that become one revision.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The revision: one more than that of the batch before.
    pub revision: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Each object at most once.
    pub writes: Vec<Write>,
}

/// A change that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that holds it.
    pub revision: u64,
    /// Milliseconds since the Unix epoch, by the clock of the control plane that stored it.
    pub time_ms: u64,
    /// The object.
    pub reference: ObjectRef,
    /// What happened.
    pub kind: ChangeKind,
    /// The object as it was then; `None` after a deletion.
    pub object: Option<Object>,
}

/// Answer to "what happened since?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// All changes of the revisions asked for, oldest first, up to and with `upto`.
    Since {
        /// The changes.
        changes: Vec<Change>,
        /// The last revision that is complete in `changes`; there may be later ones.
        upto: u64,
    },
    /// The log does not go back so far, or has never been there: start from the current state.
    Gone,
}

/// The durable part of the control plane. Calls block on the disk.
pub trait Store: Send + Sync {
    /// The current revision and every object.
    fn load(&self) -> Result<(u64, Vec<Stored>), StoreError>;

    /// Stores the batches, all or none, and returns when they are on the disk.
    fn commit(&self, batches: &[Batch]) -> Result<(), StoreError>;

    /// The kept changes of one object, newest first; empty where nothing is known of it.
    fn history(&self, reference: &ObjectRef) -> Result<Vec<Change>, StoreError>;

    /// Changes after a revision: whole revisions, until there are at least `limit` changes.
    /// After a revision of the future nothing is known: the data was replaced.
    fn changes(&self, after: u64, limit: usize) -> Result<Changes, StoreError>;
}

/// Why the store cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made or written.
    #[error(
        "cannot use the data directory {}: {source}: choose another with --data-dir",
        path.display()
    )]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error(
        "{} is in use by another process: stop the other mesh-control, or choose another \
         directory with --data-dir",
        path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The file is not a database, or is damaged.
    #[error("cannot open {}: {source}: restore it from a backup, or move it away", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: ::redb::DatabaseError,
    },
    /// Written by a program with another format.
    #[error(
        "{} has format {found}, this program reads format {supported}: use the program that \
         wrote it",
        path.display()
    )]
    Format {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this program.
        supported: u64,
    },
    /// A stored object cannot be read.
    #[error("stored object {key:?} cannot be read: {problem}")]
    Corrupt {
        /// Its key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The batch was made for another state of the store.
    #[error("{reference} has changed meanwhile: stored is version {stored:?}")]
    Stale {
        /// The object.
        reference: ObjectRef,
        /// Its stored version, if it exists.
        stored: Option<u64>,
    },
    /// The disk or the database failed; whether the last batch is stored is not known.
    #[error("the database failed: {0}")]
    Database(#[source] Box<::redb::Error>),
}

macro_rules! from_redb {
    ($($error:ident),+) => {$(
        impl From<::redb::$error> for StoreError {
            fn from(error: ::redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )+};
}

from_redb!(StorageError, TableError, TransactionError, CommitError);
