//! Questions about the past: they go to the disk, off the threads that serve requests.

use std::sync::Arc;

use mesh_api::model::{Object, ObjectRef};
use tonic::Status;

use super::errors;
use crate::store::{Change, Changes, Store, StoreError};

/// The kept changes of an object, newest first; at least one.
pub(super) async fn history(
    store: &Arc<dyn Store>,
    reference: &ObjectRef,
) -> Result<Vec<Change>, Status> {
    let changes = changes_of(store, reference).await?;
    if changes.is_empty() {
        return Err(errors::not_found(std::slice::from_ref(reference)));
    }
    Ok(changes)
}

/// The same, of an object of which nothing may be known.
pub(super) async fn changes_of(
    store: &Arc<dyn Store>,
    reference: &ObjectRef,
) -> Result<Vec<Change>, Status> {
    let wanted = reference.clone();
    off_thread(store, move |store| store.history(&wanted)).await
}

/// What has happened since a revision.
pub(super) async fn changes(
    store: &Arc<dyn Store>,
    after: u64,
    limit: usize,
) -> Result<Changes, Status> {
    off_thread(store, move |store| store.changes(after, limit)).await
}

async fn off_thread<T: Send + 'static>(
    store: &Arc<dyn Store>,
    ask: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Status> {
    let store = Arc::clone(store);
    let answer = tokio::task::spawn_blocking(move || ask(&*store)).await;
    match answer {
        Ok(answer) => answer.map_err(|error| errors::store_status(&error)),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

/// An object as it was at a revision; at revision 0, before its last change. `changes` is its
/// history, newest first.
pub(super) fn state_at(
    reference: &ObjectRef,
    changes: &[Change],
    revision: u64,
) -> Result<Object, Status> {
    let at = if revision == 0 {
        changes.get(1)
    } else {
        changes.iter().find(|change| change.revision <= revision)
    };
    let when = match revision {
        0 => "before its last change".to_owned(),
        revision => format!("at revision {revision}"),
    };
    match at {
        Some(Change { object: Some(object), .. }) => Ok(object.clone()),
        Some(_) => Err(Status::failed_precondition(format!(
            "{reference} did not exist {when}: delete it, if that is meant"
        ))),
        None => {
            let oldest = changes.last().map_or(0, |change| change.revision);
            Err(Status::failed_precondition(format!(
                "nothing is known of {reference} {when}: its history begins at revision {oldest}"
            )))
        }
    }
}
