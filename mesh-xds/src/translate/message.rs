//! Short ways to write what many messages have in common.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{
    self as core, config_source::ConfigSourceSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use envoy_types::pb::google::protobuf::{self, Any, BoolValue, UInt32Value};
use mesh_api::resource::encode;
use prost::{Message, Name};

use super::Named;
use crate::snapshot::Resource;

pub(super) fn named(type_url: &'static str, name: String, message: &impl Message) -> Named {
    let (body, version) = encode(message);
    Named { type_url, name, resource: Resource::new(version, body) }
}

pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(super) const fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(super) const fn switch(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(super) fn duration(value: Duration) -> Option<protobuf::Duration> {
    let seconds = i64::try_from(value.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(value.subsec_nanos()).unwrap_or(i32::MAX);
    Some(protobuf::Duration { seconds, nanos })
}

pub(super) fn percent(of_hundred: u8) -> FractionalPercent {
    let denominator = DenominatorType::Hundred.into();
    FractionalPercent { numerator: u32::from(of_hundred).min(100), denominator }
}

pub(super) const fn regex(regex: String) -> RegexMatcher {
    RegexMatcher { regex, engine_type: None }
}

/// The stream that brought what refers to it.
#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(super) fn ads() -> Option<core::ConfigSource> {
    Some(core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        ..core::ConfigSource::default()
    })
}

/// The server that said so.
#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(super) fn own() -> Option<core::ConfigSource> {
    let own = core::SelfConfigSource { transport_api_version: core::ApiVersion::V3.into() };
    Some(core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Self_(own)),
        ..core::ConfigSource::default()
    })
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(super) fn address(address: String, port: u16) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address,
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..core::SocketAddress::default()
    };
    Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
}
