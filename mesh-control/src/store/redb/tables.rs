//! The tables of the database file: this is its format. A change here is a new [`FORMAT`].

use ::redb::{ReadableTable, StorageError, TableDefinition};

/// Version of everything in this module and in `codec`.
pub(super) const FORMAT: u64 = 1;

/// Time in milliseconds, number of the change's kind, encoded object (empty after a deletion).
pub(super) type Entry = (u64, u8, &'static [u8]);

/// Current objects: "Kind/namespace/name" → (revision of the last change, encoded object).
pub(super) const OBJECTS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("objects");
/// Changes by object and revision.
pub(super) const HISTORY: TableDefinition<'_, (&str, u64), Entry> = TableDefinition::new("history");
/// Changes by revision and place in the batch.
pub(super) const LOG: TableDefinition<'_, (u64, u32), (&str, Entry)> = TableDefinition::new("log");
/// Single numbers.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Key in [`META`]: [`FORMAT`] of the program that made the file.
pub(super) const META_FORMAT: &str = "format";
/// Key in [`META`]: the current revision.
pub(super) const META_REVISION: &str = "revision";
/// Key in [`META`]: the log starts after this revision.
pub(super) const META_TRIMMED: &str = "trimmed";
/// Key in [`META`]: number of entries in the log.
pub(super) const META_LOG_LENGTH: &str = "log-length";

/// A number of [`META`].
pub(super) fn meta(
    table: &impl ReadableTable<&'static str, u64>,
    key: &str,
) -> Result<Option<u64>, StorageError> {
    Ok(table.get(key)?.map(|value| value.value()))
}
