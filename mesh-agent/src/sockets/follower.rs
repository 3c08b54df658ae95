//! Follows which backends are removed, and has their sockets ended when they are due. Its thread
//! waits for namespaces and the kernel, which must hold up neither maps nor network.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use tokio::sync::watch;

use super::drain::Removal;
use super::stale::Records;
use super::terminator::{Terminator, Totals};
use crate::maps::MapError;
use crate::maps::kernel::conns::ConnTable;

/// Works until nobody can say any more what is removed. Each list that arrives is complete.
pub fn run(pin_path: &Path, lists: &Receiver<Vec<Removal>>, totals: &watch::Sender<Totals>) {
    let started = Instant::now();
    let mut terminator = Terminator::default();
    let mut removed = Vec::new();
    loop {
        let list = match terminator.next() {
            Some(next) => lists.recv_timeout(next.saturating_sub(started.elapsed())),
            None => lists.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
        };
        match list {
            Ok(list) => {
                removed = list;
                // Who chose a backend before it was marked has noted it by then.
                if let Err(error) = crate::bpf::grace() {
                    tracing::warn!("cannot wait for programs that run: {error}");
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Of several that wait, the last says it all.
        removed = lists.try_iter().last().unwrap_or(removed);
        terminator.run(started.elapsed(), &removed, |due| match records(pin_path, due) {
            Ok(records) => Some(records),
            Err(error) => {
                tracing::error!("cannot tell which sockets point to removed endpoints: {error}");
                None
            }
        });
        totals.send_replace(terminator.totals());
    }
}

/// The records about sockets of these backends.
fn records(
    pin_path: &Path,
    due: &std::collections::BTreeSet<super::drain::BackendId>,
) -> Result<Records, MapError> {
    let table = ConnTable::open(pin_path)?;
    let overflow = ConnTable::overflow(pin_path)?;
    Ok(Records { overflow, ..Records::read(due, table.groups(), |place| table.record(place)) })
}
