//! Keeps the past bounded, a little with every commit, so that no commit has to do it all.

use ::redb::{ReadableTable as _, Table, WriteTransaction};

use super::tables::{Entry, HISTORY, LOG, META, META_LOG_LENGTH, META_TRIMMED, OBJECTS, meta};
use crate::store::StoreError;

/// Drops what an object has beyond its `keep` newest changes.
pub(super) fn trim_history(
    history: &mut Table<'_, (&'static str, u64), Entry>,
    key: &str,
    keep: usize,
) -> Result<(), StoreError> {
    let mut old = Vec::new();
    for entry in history.range((key, 0)..=(key, u64::MAX))?.rev().skip(keep) {
        old.push(entry?.0.value().1);
    }
    for revision in old {
        history.remove((key, revision))?;
    }
    Ok(())
}

/// Drops the oldest revisions until at most `keep` changes are left in the log.
pub(super) fn trim_log(transaction: &WriteTransaction, keep: u64) -> Result<(), StoreError> {
    let mut table = transaction.open_table(META)?;
    let mut length = meta(&table, META_LOG_LENGTH)?.unwrap_or(0);
    if length <= keep {
        return Ok(());
    }
    let mut log = transaction.open_table(LOG)?;
    let objects = transaction.open_table(OBJECTS)?;
    let mut history = transaction.open_table(HISTORY)?;
    let mut trimmed = 0;
    // Whole revisions only: a watch gets all of a batch or a resync.
    while let Some((revision, key)) = oldest(&log)? {
        if revision.0 != trimmed && length <= keep {
            break;
        }
        trimmed = revision.0;
        log.remove(revision)?;
        length = length.saturating_sub(1);
        if objects.get(key.as_str())?.is_none() {
            forget_deleted(&mut history, &key, trimmed)?;
        }
    }
    table.insert(META_TRIMMED, trimmed)?;
    table.insert(META_LOG_LENGTH, length)?;
    Ok(())
}

type LogKey = (u64, u32);

fn oldest(
    log: &Table<'_, LogKey, (&'static str, Entry)>,
) -> Result<Option<(LogKey, String)>, StoreError> {
    let first = log.first()?;
    Ok(first.map(|(at, value)| (at.value(), value.value().0.to_owned())))
}

/// The history of an object that is gone, if nothing happened to it after `revision`.
fn forget_deleted(
    history: &mut Table<'_, (&'static str, u64), Entry>,
    key: &str,
    revision: u64,
) -> Result<(), StoreError> {
    let later = history.range((key, revision + 1)..=(key, u64::MAX))?.next();
    if later.transpose()?.is_some() {
        return Ok(());
    }
    trim_history(history, key, 0)
}
