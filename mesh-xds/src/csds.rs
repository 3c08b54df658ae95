//! The Client Status Discovery Service: what clients have, for the tools of others. Here are its
//! messages and what they mean; pure.
//!
//! Source: `envoy/service/status/v3/csds.proto`.

pub use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
    client_status_discovery_service_client::ClientStatusDiscoveryServiceClient,
    client_status_discovery_service_server::{
        ClientStatusDiscoveryService, ClientStatusDiscoveryServiceServer,
    },
};

use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    NodeMatcher, StringMatcher, string_matcher::MatchPattern,
};
use envoy_types::pb::google::protobuf::{Any, Struct, Value, value::Kind};
use thiserror::Error;

use crate::ads::{Node, UserAgentVersionType};
use crate::server::Rejection;
use crate::snapshot::Resource;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QueryError {
    /// A matcher for something else than the id.
    #[error("node_matchers may give node_id only: leave node_metadatas out")]
    Metadata,
    /// A matcher of a kind that is not there.
    #[error("node_id may be exact, prefix, suffix or contains, and not empty")]
    Pattern,
}

/// Which clients somebody asks about, and how much is to be said.
#[derive(Clone, Debug)]
pub struct Query {
    matchers: Vec<StringMatcher>,
    /// Whether resources are shown with their contents: not of all clients at once, since they
    /// all have the same.
    pub contents: bool,
}

impl Query {
    /// What a request asks for.
    pub fn of(request: ClientStatusRequest) -> Result<Self, QueryError> {
        let ClientStatusRequest { node_matchers, exclude_resource_contents, .. } = request;
        let matcher = |NodeMatcher { node_id, node_metadatas }| {
            if !node_metadatas.is_empty() {
                return Err(QueryError::Metadata);
            }
            let matcher: StringMatcher = node_id.ok_or(QueryError::Pattern)?;
            let pattern = matcher.match_pattern.as_ref().and_then(text);
            pattern.filter(|text| !text.is_empty()).ok_or(QueryError::Pattern)?;
            Ok(matcher)
        };
        let matchers: Vec<_> = node_matchers.into_iter().map(matcher).collect::<Result<_, _>>()?;
        let contents = !exclude_resource_contents && !matchers.is_empty();
        Ok(Self { matchers, contents })
    }

    /// Whether it asks about the client of this id.
    #[must_use]
    pub fn covers(&self, id: &str) -> bool {
        self.matchers.is_empty() || self.matchers.iter().any(|matcher| matches(matcher, id))
    }
}

fn text(pattern: &MatchPattern) -> Option<&str> {
    match pattern {
        MatchPattern::Exact(text)
        | MatchPattern::Prefix(text)
        | MatchPattern::Suffix(text)
        | MatchPattern::Contains(text) => Some(text),
        MatchPattern::SafeRegex(_) | MatchPattern::Custom(_) => None,
    }
}

fn matches(matcher: &StringMatcher, id: &str) -> bool {
    let Some((pattern, wanted)) =
        matcher.match_pattern.as_ref().and_then(|it| Some((it, text(it)?)))
    else {
        return false;
    };
    let lower = |text: &str| {
        if matcher.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() }
    };
    let (id, wanted) = (lower(id), lower(wanted));
    match pattern {
        MatchPattern::Exact(_) => id == wanted,
        MatchPattern::Prefix(_) => id.starts_with(&wanted),
        MatchPattern::Suffix(_) => id.ends_with(&wanted),
        MatchPattern::Contains(_) => id.contains(&wanted),
        MatchPattern::SafeRegex(_) | MatchPattern::Custom(_) => false,
    }
}

/// A client.
#[must_use]
pub fn client(id: &str, node: &str, version: &str) -> ClientConfig {
    let name = Value { kind: Some(Kind::StringValue(node.to_owned())) };
    let fields = (!node.is_empty()).then(|| [("node".to_owned(), name)].into());
    ClientConfig {
        node: Some(Node {
            id: id.to_owned(),
            metadata: fields.map(|fields| Struct { fields }),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
                version.to_owned(),
            )),
            ..Node::default()
        }),
        ..ClientConfig::default()
    }
}

/// Adds a resource that the client was sent; `synced` says whether it has answered for its type.
pub fn add_sent(
    to: &mut ClientConfig,
    (type_url, name): (&str, &str),
    resource: &Resource,
    synced: bool,
    contents: bool,
) {
    let (status, said) = if synced {
        (ConfigStatus::Synced, ClientResourceStatus::Acked)
    } else {
        (ConfigStatus::Stale, ClientResourceStatus::Requested)
    };
    let any = |value: &[u8]| Any { type_url: type_url.to_owned(), value: value.to_vec() };
    to.generic_xds_configs.push(GenericXdsConfig {
        type_url: type_url.to_owned(),
        name: name.to_owned(),
        version_info: resource.version.clone(),
        xds_config: contents.then(|| any(&resource.body)),
        config_status: status.into(),
        client_status: said.into(),
        ..GenericXdsConfig::default()
    });
}

/// Adds what the client refuses: beside the form that it was sent, if that is there.
pub fn add_refused(to: &mut ClientConfig, refused: &Rejection) {
    let Rejection { revision, type_url, name, message } = refused;
    let all = &mut to.generic_xds_configs;
    let at = all.iter().position(|it| it.type_url == *type_url && it.name == *name);
    let at = at.unwrap_or_else(|| {
        let (type_url, name) = (type_url.clone(), name.clone());
        all.push(GenericXdsConfig { type_url, name, ..GenericXdsConfig::default() });
        all.len() - 1
    });
    let Some(found) = all.get_mut(at) else { return };
    found.config_status = ConfigStatus::Error.into();
    found.client_status = ClientResourceStatus::Nacked.into();
    let version_info = if found.version_info.is_empty() {
        revision.to_string()
    } else {
        found.version_info.clone()
    };
    let details = message.clone();
    found.error_state =
        Some(UpdateFailureState { details, version_info, ..UpdateFailureState::default() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pattern: MatchPattern) -> ClientStatusRequest {
        let matcher = StringMatcher { match_pattern: Some(pattern), ignore_case: true };
        let matcher = NodeMatcher { node_id: Some(matcher), node_metadatas: Vec::new() };
        ClientStatusRequest { node_matchers: vec![matcher], ..ClientStatusRequest::default() }
    }

    #[test]
    fn clients_are_asked_about_by_their_ids() {
        let covers = |pattern| {
            let query = Query::of(request(pattern)).unwrap();
            assert!(query.contents);
            ["envoy~n1", "app"].map(|id| query.covers(id))
        };
        assert_eq!(covers(MatchPattern::Exact("Envoy~n1".to_owned())), [true, false]);
        assert_eq!(covers(MatchPattern::Prefix("envoy".to_owned())), [true, false]);
        assert_eq!(covers(MatchPattern::Suffix("P".to_owned())), [false, true]);
        assert_eq!(covers(MatchPattern::Contains("p".to_owned())), [false, true]);
        let all = Query::of(ClientStatusRequest::default()).unwrap();
        assert!(all.covers("app") && !all.contents);
        let empty = Query::of(request(MatchPattern::Prefix(String::new())));
        assert_eq!(empty.unwrap_err(), QueryError::Pattern);
        let nothing = NodeMatcher::default();
        let nothing = ClientStatusRequest { node_matchers: vec![nothing], ..Default::default() };
        assert_eq!(Query::of(nothing).unwrap_err(), QueryError::Pattern);
    }

    #[test]
    fn a_refused_resource_is_told_with_the_reason() {
        let mut config = client("app", "n1", "1.2");
        let web = Resource::from_body(*b"web");
        add_sent(&mut config, ("t", "web"), &web, true, true);
        add_sent(&mut config, ("t", "db"), &web, false, false);
        for name in ["web", "gone"] {
            let (type_url, name) = ("t".to_owned(), name.to_owned());
            let message = "no".to_owned();
            add_refused(&mut config, &Rejection { revision: 7, type_url, name, message });
        }
        let shown = config.generic_xds_configs.iter().map(|it| {
            let error = it.error_state.as_ref().map(|it| it.details.as_str());
            (it.name.as_str(), it.config_status(), it.xds_config.is_some(), error)
        });
        let shown: Vec<_> = shown.collect();
        let expected = [
            ("web", ConfigStatus::Error, true, Some("no")),
            ("db", ConfigStatus::Stale, false, None),
            ("gone", ConfigStatus::Error, false, Some("no")),
        ];
        assert_eq!(shown, expected);
    }
}
