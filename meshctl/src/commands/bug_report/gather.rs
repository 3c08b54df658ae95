//! What goes into the report, from the control plane and from each node. What cannot be had is noted, and
//! the rest goes on.

use mesh_api::manifest::Manifest;
use mesh_api::model::Kind;
use mesh_api::wire;
use serde::Serialize;

use super::archive::Files;
use crate::client::Client;
use crate::commands::diff::node;
use crate::commands::health::{Endpoint, Guard};
use crate::commands::status;
use crate::failure::Failure;
use crate::output::{json, note, objects};
use crate::traffic::{By, Column, Found};

/// The name by which the control plane is asked for its own.
const OWN: &str = "control-plane";
/// Objects whose changes are in the report: those that changed last.
const HISTORIES: usize = 200;
/// Changes of each.
const CHANGES: usize = 20;

/// Everything. Fails only where the control plane is not there.
pub(super) async fn all(
    client: &mut Client,
    files: &mut Files,
    wanted: &[String],
    since_ms: u64,
) -> Result<(), Failure> {
    note("control plane");
    let response = client.status(wire::StatusRequest {}).await?;
    let known: Vec<String> = response.nodes.iter().map(|node| node.node.clone()).collect();
    put(files, &[OWN, "status.json"], json(&status::Status::from(response)));
    bundle(client, files, OWN, since_ms, &[OWN]).await;
    stored(client, files).await;
    seen(client, files).await;
    let nodes = if wanted.is_empty() { &known[..] } else { wanted };
    for (at, name) in nodes.iter().enumerate() {
        note(&format!("node {name} ({} of {})", at + 1, nodes.len()));
        bundle(client, files, name, since_ms, &["nodes", name]).await;
        let diff = client.diff_node(name).await;
        let diff = diff.and_then(|diff| json(&node::Report::new(name, diff)?));
        put(files, &["nodes", name, "diff.json"], diff);
    }
    Ok(())
}

/// A file, or a note why there is none.
fn put(files: &mut Files, path: &[&str], content: Result<String, Failure>) {
    match content {
        Ok(content) => files.add(path, &content),
        Err(failure) => files.miss(&path.join("/"), &failure.to_string()),
    }
}

/// What a program knows of itself.
async fn bundle(client: &mut Client, files: &mut Files, node: &str, since_ms: u64, to: &[&str]) {
    match client.bundle(node, since_ms).await {
        Ok(parts) => {
            for (name, content) in parts {
                files.add(&[to, &[&name]].concat(), &content);
            }
        }
        Err(failure) => files.miss(&to.join("/"), &failure.to_string()),
    }
}

/// Objects, and how the newest have come about.
async fn stored(client: &mut Client, files: &mut Files) {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let file = format!("{}.json", crate::target::word(kind));
        let request =
            wire::ListRequest { kind: wire::Kind::from(kind).into(), namespace: String::new() };
        match client.list(request).await {
            Ok(response) => {
                let found: Vec<_> = response.objects.iter().collect();
                put(files, &[OWN, "objects", &file], objects::json(&found, true));
                all.extend(response.objects);
            }
            Err(failure) => files.miss(&file, &failure.to_string()),
        }
    }
    let revision = |it: &wire::Object| it.metadata.as_ref().map_or(0, |it| it.resource_version);
    all.sort_by_key(|object| std::cmp::Reverse(revision(object)));
    let mut entries = Vec::new();
    let mut failed = None;
    for object in all.iter().take(HISTORIES).filter_map(wire_reference) {
        let request = wire::HistoryRequest { object: Some(object.clone()) };
        match client.history(request).await {
            Ok(history) => entries.push((object, history.changes)),
            // It may just have been deleted.
            Err(Failure::NotFound { .. }) => {}
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    let entries = entries.iter().map(|(object, changes)| History::new(object, changes));
    put(files, &[OWN, "history.json"], json(&entries.collect::<Vec<_>>()));
    if let Some(failure) = failed {
        files.miss("history.json", &failure.to_string());
    }
}

fn wire_reference(object: &wire::Object) -> Option<wire::ObjectRef> {
    let metadata = object.metadata.as_ref()?;
    Some(crate::target::reference(object.kind()?, &metadata.namespace, &metadata.name))
}

/// Health and traffic, as the control plane knows them.
async fn seen(client: &mut Client, files: &mut Files) {
    let health = client.health(wire::ListHealthRequest::default()).await;
    let health = health.and_then(|health| {
        let wire::ListHealthResponse { endpoints, guards } = health.unwrap_or_default();
        let endpoints: Vec<Endpoint> = endpoints.into_iter().map(Endpoint::from).collect();
        let guards: Vec<Guard> = guards.into_iter().flat_map(Guard::of_node).collect();
        json(&Health { endpoints, guards })
    });
    put(files, &[OWN, "health.json"], health);
    for by in [By::Edge, By::Version] {
        let request = wire::StatRequest { by: by.wire().into(), ..wire::StatRequest::default() };
        let stat = client.stat(request).await;
        let stat = stat.and_then(|stat| json(&Found::new(by, Column::Name, stat)));
        put(files, &[OWN, &format!("traffic-by-{}.json", by.as_str())], stat);
    }
}

#[derive(Serialize)]
struct Health {
    endpoints: Vec<Endpoint>,
    guards: Vec<Guard>,
}

/// How an object has changed, newest first.
#[derive(Serialize)]
struct History<'a> {
    object: String,
    namespace: &'a str,
    changes: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    revision: u64,
    time: String,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Manifest<'a>>,
}

impl<'a> History<'a> {
    fn new(object: &'a wire::ObjectRef, changes: &'a [wire::Change]) -> Self {
        let change = |it: &'a wire::Change| Change {
            revision: it.revision,
            time: crate::output::time::utc(it.time_ms),
            action: crate::output::action(it.action()),
            object: it.object.as_ref().map(Manifest),
        };
        Self {
            object: crate::output::subject(Some(object)),
            namespace: &object.namespace,
            changes: changes.iter().take(CHANGES).map(change).collect(),
        }
    }
}
