//! The writer with a store that can be told to fail, and a closer look at lease and group.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::readiness::{Readiness, State};
use crate::store::{Change, Changes};
use crate::testing::{endpoint, health_book, leased, model, wire_endpoint};
use crate::xds::Nodes;

/// Remembers nothing but how often it was asked.
#[derive(Default)]
struct FakeStore {
    broken: AtomicBool,
    commits: AtomicUsize,
    batches: AtomicUsize,
}

impl Store for FakeStore {
    fn load(&self) -> Result<(u64, Vec<crate::world::Stored>), StoreError> {
        Ok((0, Vec::new()))
    }

    fn commit(&self, batches: &[store::Batch]) -> Result<(), StoreError> {
        if self.broken.load(Ordering::Relaxed) {
            let source = std::io::Error::other("no space left on device");
            return Err(redb::StorageError::Io(source).into());
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.batches.fetch_add(batches.len(), Ordering::Relaxed);
        Ok(())
    }

    fn history(&self, _: &ObjectRef) -> Result<Vec<Change>, StoreError> {
        Ok(Vec::new())
    }

    fn changes(&self, _: u64, _: usize) -> Result<Changes, StoreError> {
        Ok(Changes::Gone)
    }
}

struct Parts {
    store: Arc<FakeStore>,
    readiness: Arc<Readiness>,
    leases: Arc<LeaseBook>,
    worlds: tokio::sync::watch::Receiver<Arc<World>>,
    writer: Writer,
    handle: WriterHandle,
}

fn parts() -> Parts {
    let metrics = Arc::new(Metrics::new());
    let store = Arc::new(FakeStore::default());
    let readiness = Arc::new(Readiness::default());
    readiness.set(State::Ready);
    let leases = Arc::new(LeaseBook::default());
    let nodes = Arc::new(Nodes::new(Arc::clone(&metrics)));
    let health = health_book(&metrics);
    let publisher =
        Publisher::new(Arc::default(), nodes, Arc::clone(&readiness), health, Arc::default());
    let worlds = publisher.worlds();
    let as_store: Arc<dyn Store> = Arc::<FakeStore>::clone(&store);
    let (writer, handle) =
        Writer::new(as_store, Arc::default(), Arc::clone(&leases), publisher, metrics);
    Parts { store, readiness, leases, worlds, writer, handle }
}

type Answer = oneshot::Receiver<Result<Done, WriteError>>;

fn job(request: Request) -> (Job, Answer) {
    let (reply, answer) = oneshot::channel();
    (Job { request, span: Span::none(), reply }, answer)
}

fn put(text: &str) -> (Job, Answer) {
    job(Request::Write(Batch::put([endpoint(text, "web", "v1")])))
}

#[test]
fn a_group_is_one_commit_with_a_revision_for_each() {
    let mut parts = parts();
    let (jobs, answers): (Vec<Job>, Vec<Answer>) =
        [put("shop/a"), put("shop/b"), put("shop/a"), put("shop/c")].into_iter().unzip();
    parts.writer.work(jobs);
    let revisions = answers.into_iter().map(|mut it| it.try_recv().unwrap().unwrap().revision);
    // The third says what the first has said already.
    assert_eq!(revisions.collect::<Vec<_>>(), [1, 2, 2, 3]);
    assert_eq!(parts.store.commits.load(Ordering::Relaxed), 1);
    assert_eq!(parts.store.batches.load(Ordering::Relaxed), 3);
    assert_eq!(parts.worlds.borrow().revision(), 3);
}

#[test]
fn a_failed_commit_answers_everybody_and_stops_writing() {
    let mut parts = parts();
    let (first, mut ok) = put("shop/a");
    parts.writer.work(vec![first]);
    assert!(ok.try_recv().unwrap().is_ok());

    parts.store.broken.store(true, Ordering::Relaxed);
    let (write, mut failed) = put("shop/b");
    let absent = endpoint("shop/gone", "web", "v1").reference();
    let (bad, mut refused) = job(Request::Write(Batch::delete([absent])));
    parts.writer.work(vec![write, bad]);
    assert!(matches!(failed.try_recv().unwrap(), Err(WriteError::Store(_))));
    assert!(matches!(refused.try_recv().unwrap(), Err(WriteError::Refused(_))));
    assert_eq!(parts.worlds.borrow().revision(), 1, "nothing is published");
    assert_eq!(parts.readiness.get(), State::StoreFailed);

    // The disk is back, but what it holds is not known.
    parts.store.broken.store(false, Ordering::Relaxed);
    let (write, mut failed) = put("shop/c");
    parts.writer.work(vec![write]);
    let error = failed.try_recv().unwrap().unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(error.to_string().contains("restarted"), "{error}");
}

#[test]
fn a_renewed_lease_does_not_expire_behind_its_renewal() {
    let mut parts = parts();
    let ttl = Duration::from_secs(1);
    let lease = || {
        let object = leased(wire_endpoint("shop/e", "web", "v1"), ttl);
        job(Request::Write(Batch::put([model(object)])))
    };
    let (register, _answer) = lease();
    parts.writer.work(vec![register]);
    let name = crate::testing::name("shop/e");
    let long_ago = Instant::now().checked_sub(10 * ttl).unwrap();
    parts.leases.lock().set(&name, Some(ttl), long_ago);

    // Overdue, but registered again just before the expiry is decided.
    let (register, _answer) = lease();
    let (expire, mut expired) = job(Request::ExpireLeases);
    parts.writer.work(vec![register, expire]);
    assert!(expired.try_recv().unwrap().unwrap().outcomes.is_empty());

    parts.leases.lock().set(&name, Some(ttl), long_ago);
    let (expire, mut expired) = job(Request::ExpireLeases);
    parts.writer.work(vec![expire]);
    assert_eq!(expired.try_recv().unwrap().unwrap().outcomes.len(), 1);
    assert!(parts.leases.lock().is_empty());

    // If it cannot be stored, the endpoint is still there and has a lease again.
    let (register, _answer) = lease();
    parts.writer.work(vec![register]);
    parts.leases.lock().set(&name, Some(ttl), long_ago);
    parts.store.broken.store(true, Ordering::Relaxed);
    let (expire, mut expired) = job(Request::ExpireLeases);
    parts.writer.work(vec![expire]);
    assert!(expired.try_recv().unwrap().is_err());
    assert_eq!(parts.leases.lock().len(), 1);
}

#[test]
fn it_ends_with_its_last_handle() {
    let Parts { writer, handle, .. } = parts();
    drop(handle);
    writer.run();
}
