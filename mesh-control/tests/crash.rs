//! The promise of the store: `kill -9` at any moment loses no acknowledged write, stores no half
//! of a batch, and never gives a revision twice. The real program is killed 50 times under a
//! stream of writes, a few of the times while it starts.
#![cfg(test)]

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mesh_api::wire;
use mesh_api::wire::control_client::ControlClient;
use mesh_api::wire::object::Spec;
use tempfile::TempDir;
use tonic::transport::Channel;

const KILLS: u32 = 50;
const WRITERS: usize = 4;
/// Every so many operations of a writer are a deletion.
const DELETE_EVERY: u64 = 4;

/// What one writer knows. It always changes its two endpoints together.
#[derive(Clone, Debug, Default)]
struct Log {
    /// Number and revision of the last acknowledged operation.
    acknowledged: Option<(u64, u64)>,
    /// Number of the last operation that was sent.
    sent: u64,
}

fn names(writer: usize) -> [String; 2] {
    [format!("w{writer}-a"), format!("w{writer}-b")]
}

const fn deletes(operation: u64) -> bool {
    operation.is_multiple_of(DELETE_EVERY)
}

fn endpoint(name: &str, operation: u64) -> wire::Object {
    wire::Object {
        metadata: Some(wire::Metadata {
            namespace: "crash".to_owned(),
            name: name.to_owned(),
            ..wire::Metadata::default()
        }),
        spec: Some(Spec::Endpoint(wire::Endpoint {
            service: "web".to_owned(),
            version: operation.to_string(),
            address: "127.0.0.2".to_owned(),
            ..wire::Endpoint::default()
        })),
    }
}

/// Killed when dropped: a failed test leaves no process behind.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

struct Program {
    killed: Killed,
    address: String,
    _stderr: BufReader<std::process::ChildStderr>,
}

fn spawn(data: &Path) -> Killed {
    let child = Command::new(env!("CARGO_BIN_EXE_mesh-control"))
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn();
    Killed(child.unwrap())
}

fn start(data: &Path) -> Program {
    let mut killed = spawn(data);
    let mut stderr = BufReader::new(killed.0.stderr.take().unwrap());
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended:\n{seen}");
        seen.push_str(&line);
        if let Some((_, rest)) = line.split_once("grpc=") {
            let address = rest.split_whitespace().next().unwrap();
            return Program { killed, address: format!("http://{address}"), _stderr: stderr };
        }
    }
}

/// Writes until the connection breaks.
async fn write(mut api: ControlClient<Channel>, writer: usize, mut log: Log) -> Log {
    let names = names(writer);
    loop {
        log.sent = log.acknowledged.map_or(0, |(last, _)| last).max(log.sent) + 1;
        let answer = if deletes(log.sent) {
            let reference = |name: &String| wire::ObjectRef {
                kind: wire::Kind::Endpoint.into(),
                namespace: "crash".to_owned(),
                name: name.clone(),
            };
            let request = wire::DeleteRequest {
                objects: names.iter().map(reference).collect(),
                dry_run: false,
            };
            let answer = api.delete(request).await;
            answer.map(|answer| answer.into_inner().revision)
        } else {
            let request = wire::ApplyRequest {
                objects: names.iter().map(|name| endpoint(name, log.sent)).collect(),
                dry_run: false,
            };
            let answer = api.apply(request).await;
            answer.map(|answer| answer.into_inner().revision)
        };
        match answer {
            Ok(revision) => {
                let before = log.acknowledged.map_or(0, |(_, revision)| revision);
                assert!(revision > before, "writer {writer}: {revision} after {before}");
                log.acknowledged = Some((log.sent, revision));
            }
            // The writes between two deletions were all lost with their kills.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(_) => return log,
        }
    }
}

/// Number and revision of the operation that a writer's endpoints show; `None`: both are gone.
fn shown(objects: &[wire::Object], writer: usize) -> Option<(u64, u64)> {
    let operations = names(writer).map(|name| {
        let object = objects.iter().find(|it| it.metadata.as_ref().unwrap().name == name)?;
        let Some(Spec::Endpoint(spec)) = &object.spec else {
            panic!("an endpoint");
        };
        let revision = object.metadata.as_ref().unwrap().resource_version;
        Some((spec.version.parse::<u64>().unwrap(), revision))
    });
    let [a, b] = operations;
    assert_eq!(a, b, "writer {writer}: half of a batch is stored");
    a
}

/// Compares what is stored with what was acknowledged; returns the current revision. An
/// operation that was under way and has been seen stored counts as acknowledged from now on.
async fn verify(api: &mut ControlClient<Channel>, logs: &mut [Log]) -> u64 {
    let request = wire::ListRequest { kind: wire::Kind::Endpoint.into(), namespace: String::new() };
    let listed = api.list(request).await.unwrap().into_inner();
    for (writer, log) in logs.iter_mut().enumerate() {
        let acknowledged = log.acknowledged.unwrap_or_default();
        assert!(listed.revision >= acknowledged.1);
        let newest = check_history(api, writer, acknowledged).await;
        match shown(&listed.objects, writer) {
            Some(shown) if shown == acknowledged => {}
            Some((operation, revision)) => {
                assert_eq!(operation, log.sent, "writer {writer}: {log:?}");
                assert!(revision > acknowledged.1, "writer {writer}: {log:?}");
                log.acknowledged = Some((operation, revision));
            }
            None if acknowledged.0 == 0 || deletes(acknowledged.0) => {}
            None => {
                assert!(
                    deletes(log.sent) && newest > acknowledged.1,
                    "writer {writer}: an acknowledged write is gone: {log:?}"
                );
                log.acknowledged = Some((log.sent, newest));
            }
        }
    }
    listed.revision
}

/// The acknowledged operation is in the history with its revision, whatever came after. Returns
/// the newest revision.
async fn check_history(
    api: &mut ControlClient<Channel>,
    writer: usize,
    (operation, revision): (u64, u64),
) -> u64 {
    if operation == 0 {
        return 0;
    }
    let [name, _] = names(writer);
    let object = Some(wire::ObjectRef {
        kind: wire::Kind::Endpoint.into(),
        namespace: "crash".to_owned(),
        name,
    });
    let history = api.history(wire::HistoryRequest { object }).await.unwrap();
    let changes = history.into_inner().changes;
    let change = changes.iter().find(|change| change.revision == revision);
    let change = change.unwrap_or_else(|| panic!("revision {revision} is not in the history"));
    match &change.object {
        Some(object) => {
            let Some(Spec::Endpoint(spec)) = &object.spec else {
                panic!("an endpoint");
            };
            assert_eq!(spec.version, operation.to_string());
        }
        None => assert!(deletes(operation)),
    }
    let revisions: BTreeSet<u64> = changes.iter().map(|change| change.revision).collect();
    assert_eq!(revisions.len(), changes.len(), "a revision was given twice");
    changes.first().unwrap().revision
}

#[tokio::test]
async fn fifty_kills_lose_nothing() {
    let started = Instant::now();
    let random = RandomState::new();
    let data = TempDir::new().unwrap();
    let mut logs = vec![Log::default(); WRITERS];
    let mut revision = 0;
    let mut sent = 0;
    for round in 0..KILLS {
        let random = random.hash_one(round);
        if round % 10 == 9 {
            // While it starts, and repairs what the last kill has left.
            let starting = spawn(data.path());
            tokio::time::sleep(Duration::from_micros(random % 40_000)).await;
            drop(starting);
            continue;
        }
        let program = start(data.path());
        let api = ControlClient::connect(program.address.clone()).await.unwrap();
        let now = verify(&mut api.clone(), &mut logs).await;
        assert!(now >= revision, "revision {now} after {revision}");
        revision = now;

        let before = logs.clone();
        let mut writers = tokio::task::JoinSet::new();
        for (writer, log) in logs.iter().cloned().enumerate() {
            let api = api.clone();
            writers.spawn(async move { (writer, write(api, writer, log).await) });
        }
        tokio::time::sleep(Duration::from_micros(5_000 + random % 150_000)).await;
        drop(program.killed);
        for (writer, log) in writers.join_all().await {
            let last = |log: &Log| log.acknowledged.unwrap_or_default();
            sent += log.sent - before[writer].sent;
            if last(&log).0 > last(&before[writer]).0 {
                assert!(last(&log).1 > revision, "revision used again: {log:?}");
            }
            logs[writer] = log;
        }
    }
    let program = start(data.path());
    let mut api = ControlClient::connect(program.address.clone()).await.unwrap();
    let revision = verify(&mut api, &mut logs).await;
    drop(program);
    assert!(sent > 500, "only {sent} writes: this proves little");
    println!(
        "{KILLS} kills in {:.1?}, {sent} writes sent, {revision} revisions, nothing lost",
        started.elapsed()
    );
}
