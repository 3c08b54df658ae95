//! What kind of client is at the other end of a stream: which snapshots it is served, and where it
//! is shown.

use mesh_api::model::{Label, NodeLocality};
use mesh_api::resource::{AGENT_TYPES, ASIDE_TYPES};
use mesh_xds::ads::{NODE, Node, text_in};
use mesh_xds::translate::grpc::Library;

use crate::proxy::{Audience, Dialect};

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

/// Who is told the same as a client that says this of itself.
pub(super) fn audience(kind: ClientKind, node: Option<&Node>) -> Audience {
    // "gRPC C-core linux"
    let is_core = node.is_some_and(|node| node.user_agent_name.starts_with("gRPC C-core"));
    let dialect = match kind {
        ClientKind::Envoy | ClientKind::Agent => Dialect::Envoy,
        ClientKind::Grpc if is_core => Dialect::Grpc(Library::Core),
        ClientKind::Grpc => Dialect::Grpc(Library::Other),
    };
    let label = |text: &str| text.parse::<Label>().ok();
    let locality = node.and_then(|node| node.locality.as_ref());
    let metadata = node.and_then(|node| node.metadata.as_ref());
    let here = NodeLocality {
        node: metadata.and_then(|metadata| text_in(metadata, NODE)).and_then(label),
        region: locality.and_then(|locality| label(&locality.region)),
        zone: locality.and_then(|locality| label(&locality.zone)),
    };
    Audience { dialect, here }
}

#[cfg(test)]
mod tests {
    use mesh_api::resource::{HEALTH, SERVICE};
    use mesh_xds::ads::{Locality, Struct, Value, value};
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
    fn what_it_says_tells_the_audience() {
        let of = |kind, user_agent: &str| {
            let node = Node { user_agent_name: user_agent.to_owned(), ..Node::default() };
            audience(kind, Some(&node)).dialect
        };
        assert_eq!(of(ClientKind::Grpc, "gRPC C-core linux"), Dialect::Grpc(Library::Core));
        assert_eq!(of(ClientKind::Grpc, "gRPC Go"), Dialect::Grpc(Library::Other));
        assert_eq!(of(ClientKind::Envoy, "envoy"), Dialect::Envoy);
        let nowhere =
            Audience { dialect: Dialect::Grpc(Library::Other), here: NodeLocality::default() };
        assert_eq!(audience(ClientKind::Grpc, None), nowhere);
        let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.to_owned())) };
        let locality =
            Locality { region: "r".to_owned(), zone: "z".to_owned(), ..Default::default() };
        let node = Node {
            locality: Some(locality),
            metadata: Some(Struct { fields: [("node".to_owned(), text("n-1"))].into() }),
            ..Node::default()
        };
        let label = |text: &str| Some(text.parse().unwrap());
        let here = NodeLocality { node: label("n-1"), region: label("r"), zone: label("z") };
        assert_eq!(audience(ClientKind::Grpc, Some(&node)).here, here);
    }
}
