//! What kind of client is at the other end of a stream: which snapshots it is served, and where it
//! is shown.

use mesh_api::resource::{AGENT_TYPES, ASIDE_TYPES};
use mesh_xds::ads::Node;
use mesh_xds::translate::grpc::Library;

/// A kind of xDS client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKind {
    /// A node agent of this mesh.
    Agent,
    /// A proxy.
    Envoy,
    /// A program without a proxy.
    Grpc,
}

impl ClientKind {
    /// In a word, for people and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Envoy => "envoy",
            Self::Grpc => "grpc",
        }
    }

    /// The kind that a first request tells: agents ask for types of their own, the others give
    /// their names. Whoever else it is, who asks for everything is served as Envoy is, and who
    /// asks by name as gRPC.
    #[must_use]
    pub fn of<S: AsRef<str>>(node: Option<&Node>, type_url: &str, names: &[S]) -> Self {
        if AGENT_TYPES.contains(&type_url) || ASIDE_TYPES.contains(&type_url) {
            return Self::Agent;
        }
        let by_name = names.iter().any(|name| name.as_ref() != mesh_xds::WILDCARD);
        match node.map_or("", |node| node.user_agent_name.as_str()) {
            "envoy" => Self::Envoy,
            // "gRPC C-core", "gRPC Go", "gRPC Java"
            name if name.starts_with("gRPC") => Self::Grpc,
            _ if by_name => Self::Grpc,
            _ => Self::Envoy,
        }
    }
}

/// What a gRPC client is built on, as it says itself: "gRPC C-core linux", "gRPC Go".
pub(super) fn library(node: Option<&Node>) -> Library {
    let is_core = node.is_some_and(|node| node.user_agent_name.starts_with("gRPC C-core"));
    if is_core { Library::Core } else { Library::Other }
}

#[cfg(test)]
mod tests {
    use mesh_api::resource::{HEALTH, SERVICE};
    use mesh_xds::types::{LISTENER, ROUTE};

    use super::*;

    #[test]
    fn types_tell_agents_names_tell_the_others() {
        let of = |user_agent: &str, type_url, names: &[&str]| {
            let node = Node { user_agent_name: user_agent.to_owned(), ..Node::default() };
            ClientKind::of(Some(&node), type_url, names)
        };
        assert_eq!(of("mesh-agent", SERVICE, &["*"]), ClientKind::Agent);
        assert_eq!(of("envoy", HEALTH, &[]), ClientKind::Agent);
        assert_eq!(of("envoy", LISTENER, &[]), ClientKind::Envoy);
        assert_eq!(of("envoy", ROUTE, &["web"]), ClientKind::Envoy);
        assert_eq!(of("gRPC C-core", LISTENER, &["shop.web"]), ClientKind::Grpc);
        assert_eq!(of("gRPC Go", LISTENER, &["shop.web"]), ClientKind::Grpc);
        assert_eq!(of("", LISTENER, &["shop.web"]), ClientKind::Grpc);
        assert_eq!(of("", LISTENER, &["*"]), ClientKind::Envoy);
        assert_eq!(ClientKind::of::<&str>(None, LISTENER, &[]), ClientKind::Envoy);
    }

    #[test]
    fn names_tell_libraries() {
        let of = |user_agent: &str| {
            library(Some(&Node { user_agent_name: user_agent.to_owned(), ..Node::default() }))
        };
        assert_eq!(of("gRPC C-core linux"), Library::Core);
        assert_eq!(of("gRPC Go"), Library::Other);
        assert_eq!(of("gRPC Java"), Library::Other);
        assert_eq!(library(None), Library::Other);
    }
}
