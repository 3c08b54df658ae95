//! One test per rule of the protocol, against a stream driven by hand.

mod lanes;
mod limits;
mod pushes;
mod refusals;
mod stages;
mod subscriptions;

use super::*;
use crate::{
    WILDCARD,
    ads::{Node, Status, UserAgentVersionType},
    snapshot::Resource,
};

const A: &str = "type/a";
const B: &str = "type/b";
const COMMIT: &str = "type/commit";

fn config() -> StreamConfig {
    StreamConfig {
        max_response_bytes: 1 << 20,
        push_order: &[B, A, COMMIT],
        commit_type: Some(COMMIT),
        staged: &[],
        warmed: None,
    }
}

/// Resources as `(type, name, body)`; the commit resource is added.
fn snapshot(revision: u64, resources: &[(&str, &str, &str)]) -> Arc<Snapshot> {
    let commit = Resource::from_body(revision.to_string().into_bytes());
    let mut builder = Snapshot::builder(revision).insert(COMMIT, "revision", commit);
    for (type_url, name, body) in resources {
        builder = builder.insert(type_url, *name, Resource::from_body(body.as_bytes()));
    }
    Arc::new(builder.build())
}

fn node() -> Node {
    Node {
        id: "node-1".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion("1.2".to_owned())),
        ..Node::default()
    }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A request with a node, which later requests may carry as well.
fn request(type_url: &str, subscribe: &[&str], unsubscribe: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node()),
        type_url: type_url.to_owned(),
        resource_names_subscribe: strings(subscribe),
        resource_names_unsubscribe: strings(unsubscribe),
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn nack(response: &DeltaDiscoveryResponse, name: &str, reason: &str) -> DeltaDiscoveryRequest {
    let rejected = [(name.to_owned(), reason.to_owned())];
    DeltaDiscoveryRequest { error_detail: Some(crate::detail::encode(&rejected)), ..ack(response) }
}

/// Responses as `type +added -removed`.
fn show(responses: &[DeltaDiscoveryResponse]) -> Vec<String> {
    let line = |response: &DeltaDiscoveryResponse| {
        let type_url = response.type_url.trim_start_matches("type/").to_owned();
        let added = response.resources.iter().map(|r| format!("+{}", r.name));
        let removed = response.removed_resources.iter().map(|n| format!("-{n}"));
        let words = std::iter::once(type_url).chain(added).chain(removed);
        words.collect::<Vec<_>>().join(" ")
    };
    responses.iter().map(line).collect()
}

/// A stream without commit type that subscribed to everything of A and has answered.
fn settled(snapshot: &Arc<Snapshot>) -> DeltaStream {
    let mut stream = DeltaStream::new(StreamConfig { commit_type: None, ..config() });
    let responses = stream.on_request(request(A, &[WILDCARD], &[]), snapshot);
    ack_all(&mut stream, &responses.unwrap(), snapshot);
    stream
}

/// ACK everything; what follows is returned.
fn ack_all(
    stream: &mut DeltaStream,
    responses: &[DeltaDiscoveryResponse],
    latest: &Arc<Snapshot>,
) -> Vec<DeltaDiscoveryResponse> {
    let answers =
        responses.iter().map(|response| stream.on_request(ack(response), latest).unwrap());
    answers.flatten().collect()
}
