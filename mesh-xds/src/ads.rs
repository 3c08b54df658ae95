//! The wire: messages and the generated service of the Aggregated Discovery Service, gathered
//! from the many modules of the crate that carries them.

pub use envoy_types::pb::{
    envoy::{
        config::core::v3::{ControlPlane, Node, node::UserAgentVersionType},
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource,
            aggregated_discovery_service_client::{self, AggregatedDiscoveryServiceClient},
            aggregated_discovery_service_server::{
                self, AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
            },
        },
    },
    google::{protobuf::Any, rpc::Status},
};

/// `google.rpc.Code` of a NACK: the client cannot use what it was sent.
pub const INVALID_ARGUMENT: i32 = 3;
