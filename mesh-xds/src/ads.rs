//! The wire: messages and the generated service of the Aggregated Discovery Service, gathered
//! from the many modules of the crate that carries them.

use envoy_types::pb::google::protobuf::value::Kind;
pub use envoy_types::pb::{
    envoy::{
        config::core::v3::{ControlPlane, Locality, Node, node::UserAgentVersionType},
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource,
            aggregated_discovery_service_client::{self, AggregatedDiscoveryServiceClient},
            aggregated_discovery_service_server::{
                self, AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
            },
        },
    },
    google::{
        protobuf::{Any, Struct, Value, value},
        rpc::Status,
    },
};

/// `google.rpc.Code` of a NACK: the client cannot use what it was sent.
pub const INVALID_ARGUMENT: i32 = 3;

/// Where the bootstrap of a client names its node, in the metadata.
pub const NODE: &str = "node";

/// A text among the fields of a structure.
#[must_use]
pub fn text_in<'s>(metadata: &'s Struct, field: &str) -> Option<&'s str> {
    let Kind::StringValue(text) = metadata.fields.get(field)?.kind.as_ref()? else { return None };
    Some(text)
}
