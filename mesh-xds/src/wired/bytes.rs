//! Arbitrary bytes and arbitrary messages into both machines: whatever arrives, nobody panics.

use std::sync::Arc;

use proptest::{
    collection::{hash_map, vec},
    prelude::*,
    sample::select,
};
use prost::Message as _;

use super::{A, B, COMMIT, TYPES};
use crate::{
    WILDCARD,
    ads::{Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource as Wire, Status},
    client::DeltaClient,
    server::{DeltaStream, NodeInfo, StreamConfig},
    snapshot::{Resource, Snapshot},
};

fn server() -> (DeltaStream, Arc<Snapshot>) {
    let snapshot = Snapshot::builder(1)
        .insert(A, "x", Resource::from_body(*b"1"))
        .insert(COMMIT, "revision", Resource::from_body(*b"1"))
        .build();
    let stream = DeltaStream::new(StreamConfig {
        max_response_bytes: 1,
        push_order: &[B, A],
        commit_type: Some(COMMIT),
        staged: &[],
        warmed: None,
    });
    (stream, Arc::new(snapshot))
}

fn client() -> DeltaClient {
    let mut client = DeltaClient::new(NodeInfo::default(), &TYPES);
    client.connect();
    client
}

fn word() -> impl Strategy<Value = String> {
    let words = vec!["", "x", "y", WILDCARD, "1", "2", "3", "4", A, B, COMMIT];
    prop_oneof![9 => select(words).prop_map(str::to_owned), 1 => ".{0,8}"]
}

fn any_message() -> impl Strategy<Value = Any> {
    (word(), vec(any::<u8>(), 0..16)).prop_map(|(type_url, value)| Any { type_url, value })
}

fn status() -> impl Strategy<Value = Status> {
    let bad_request = "type.googleapis.com/google.rpc.BadRequest";
    (word(), any::<bool>(), any_message()).prop_map(move |(message, known, mut detail)| {
        if known {
            bad_request.clone_into(&mut detail.type_url);
        }
        Status { code: 3, message, details: vec![detail] }
    })
}

fn request() -> impl Strategy<Value = DeltaDiscoveryRequest> {
    let lists = (vec(word(), 0..4), vec(word(), 0..4), hash_map(word(), word(), 0..4));
    let texts = (word(), word(), proptest::option::of(word()));
    (texts, lists, proptest::option::of(status())).prop_map(|(texts, lists, error_detail)| {
        DeltaDiscoveryRequest {
            node: texts.2.map(|id| Node { id, ..Node::default() }),
            type_url: texts.0,
            response_nonce: texts.1,
            resource_names_subscribe: lists.0,
            resource_names_unsubscribe: lists.1,
            initial_resource_versions: lists.2,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        }
    })
}

fn response() -> impl Strategy<Value = DeltaDiscoveryResponse> {
    let resource = (word(), word(), proptest::option::of(any_message())).prop_map(|parts| Wire {
        name: parts.0,
        version: parts.1,
        resource: parts.2,
        ..Wire::default()
    });
    (word(), word(), word(), vec(resource, 0..4), vec(word(), 0..4)).prop_map(|parts| {
        DeltaDiscoveryResponse {
            type_url: parts.0,
            nonce: parts.1,
            system_version_info: parts.2,
            resources: parts.3,
            removed_resources: parts.4,
            ..DeltaDiscoveryResponse::default()
        }
    })
}

/// An error ends a stream, and a new one begins.
fn serve(requests: Vec<DeltaDiscoveryRequest>) {
    let (mut stream, snapshot) = server();
    for request in requests {
        if stream.on_request(request, &snapshot).is_err() {
            stream = server().0;
        }
        let changed = Snapshot::edit(&snapshot, 2).remove(A, "x").build();
        drop(stream.on_snapshot(&Arc::new(changed)));
    }
}

fn receive(responses: Vec<DeltaDiscoveryResponse>) {
    let mut client = client();
    for response in responses {
        let nonce = response.nonce.clone();
        match client.on_response(response) {
            Ok(push) => {
                let ack = client.ack(&push);
                assert_eq!(ack.response_nonce, nonce);
                assert_eq!(ack.error_detail.is_some(), !push.malformed.is_empty());
            }
            Err(rejected) => {
                assert_eq!(rejected.request.response_nonce, nonce);
                assert!(rejected.request.error_detail.is_some());
            }
        }
    }
}

proptest! {
    #[test]
    fn bytes(messages in vec(vec(any::<u8>(), 0..64), 0..8)) {
        let bytes = messages.iter().map(Vec::as_slice);
        serve(bytes.clone().filter_map(|b| DeltaDiscoveryRequest::decode(b).ok()).collect());
        receive(bytes.filter_map(|b| DeltaDiscoveryResponse::decode(b).ok()).collect());
    }

    #[test]
    fn requests(requests in vec(request(), 0..16)) {
        serve(requests);
    }

    #[test]
    fn responses(responses in vec(response(), 0..16)) {
        receive(responses);
    }

    #[test]
    fn cut_and_flipped(
        request in request(), response in response(),
        cut in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>(),
    ) {
        for bytes in [request.encode_to_vec(), response.encode_to_vec()] {
            let mut damaged = bytes[..cut.index(bytes.len() + 1)].to_vec();
            if !damaged.is_empty() {
                let at = flip.0.index(damaged.len());
                damaged[at] ^= flip.1;
            }
            serve(DeltaDiscoveryRequest::decode(damaged.as_slice()).into_iter().collect());
            receive(DeltaDiscoveryResponse::decode(damaged.as_slice()).into_iter().collect());
        }
    }
}
