//! One watch. It reads the store's log from where it is, a limited piece at a time, and waits for
//! the world when it has caught up. A slow client holds up nothing but itself: it is not polled,
//! no queue grows for it, and if the log has moved on beyond it, it gets a resync.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;
use mesh_api::model::{Kind, Name, ObjectRef};
use mesh_api::wire;
use mesh_api::wire::watch_event::Event;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Api, convert, errors, past};
use crate::store::{Change, Changes, Store};
use crate::world::{Stored, World};

/// Changes read at once; a larger batch comes whole.
const PIECE: usize = 1000;

pub(super) struct Watch {
    store: Arc<dyn Store>,
    worlds: Receiver<Arc<World>>,
    shutdown: CancellationToken,
    filter: Filter,
    /// Everything up to this revision is sent or in `queue`.
    upto: u64,
    queue: VecDeque<Item>,
    /// Whether to start from the current objects.
    fresh: bool,
    /// Whether the log is to be read before waiting for the next revision.
    behind: bool,
    failed: bool,
}

struct Filter {
    kinds: Vec<Kind>,
    namespace: Option<Name>,
}

enum Item {
    Resync(u64),
    /// Of a resync: shared with the world until it is sent.
    Existing(u64, Arc<Stored>),
    Change(Box<Change>),
    Bookmark(u64),
}

impl Watch {
    pub(super) fn new(api: &Api, request: &wire::WatchRequest) -> Result<Self, Status> {
        let kinds = request.kinds.iter().map(|kind| convert::kind(*kind));
        let mut kinds = kinds.collect::<Result<Vec<Kind>, Status>>()?;
        if kinds.is_empty() {
            kinds.extend(Kind::ALL);
        }
        kinds.sort_unstable();
        kinds.dedup();
        let namespace = convert::namespace(&request.namespace)?;
        Ok(Self {
            store: Arc::clone(&api.store),
            worlds: api.worlds.clone(),
            shutdown: api.shutdown.clone(),
            filter: Filter { kinds, namespace },
            upto: request.from_revision,
            queue: VecDeque::new(),
            fresh: request.from_revision == 0,
            behind: true,
            failed: false,
        })
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<wire::WatchEvent, Status>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let item = watch.next().await?;
            Some((item, watch))
        })
    }

    async fn next(&mut self) -> Option<Result<wire::WatchEvent, Status>> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Some(Ok(event(&item)));
            }
            if let Err(status) = self.advance().await {
                self.failed = true;
                return Some(Err(status));
            }
        }
    }

    async fn advance(&mut self) -> Result<(), Status> {
        if !self.behind {
            tokio::select! {
                changed = self.worlds.changed() => changed.map_err(|_closed| errors::shutting_down())?,
                () = self.shutdown.cancelled() => return Err(errors::shutting_down()),
            }
        }
        // Before the log is read, so that what comes meanwhile wakes us again.
        let world = Arc::clone(&self.worlds.borrow_and_update());
        if self.fresh {
            self.resync(&world);
            return Ok(());
        }
        match past::changes(&self.store, self.upto, PIECE).await? {
            Changes::Since { changes, upto } => {
                let filter = &self.filter;
                let changes = changes.into_iter();
                let changes = changes.filter(|change| filter.takes(&change.reference));
                let changes = changes.map(|change| Item::Change(Box::new(change)));
                self.queue.extend(changes);
                if upto > self.upto || self.behind {
                    self.queue.push_back(Item::Bookmark(upto));
                }
                self.upto = upto;
                self.behind = upto < world.revision();
            }
            Changes::Gone => self.resync(&world),
        }
        Ok(())
    }

    fn resync(&mut self, world: &World) {
        let revision = world.revision();
        self.queue.push_back(Item::Resync(revision));
        for kind in &self.filter.kinds {
            let objects = world.list(*kind, self.filter.namespace.as_ref());
            let objects = objects.map(|stored| Item::Existing(revision, Arc::clone(stored)));
            self.queue.extend(objects);
        }
        self.queue.push_back(Item::Bookmark(revision));
        self.upto = revision;
        self.behind = false;
        self.fresh = false;
    }
}

impl Filter {
    fn takes(&self, reference: &ObjectRef) -> bool {
        let namespace = self.namespace.as_ref();
        self.kinds.contains(&reference.kind)
            && namespace.is_none_or(|it| reference.name.namespace == *it)
    }
}

fn event(item: &Item) -> wire::WatchEvent {
    let (revision, event) = match item {
        Item::Resync(revision) => (*revision, Event::Resync(wire::Resync {})),
        Item::Existing(revision, stored) => (*revision, Event::Put(convert::object(stored))),
        Item::Change(change) => {
            let event = convert::stored(change).map_or_else(
                || Event::Deleted((&change.reference).into()),
                |stored| Event::Put(convert::object(&stored)),
            );
            (change.revision, event)
        }
        Item::Bookmark(revision) => (*revision, Event::Bookmark(wire::Bookmark {})),
    };
    wire::WatchEvent { revision, event: Some(event) }
}
