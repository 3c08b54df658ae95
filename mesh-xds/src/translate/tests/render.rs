//! Messages as text for people: their `Debug` form without what is empty or a default, with the
//! messages inside of `Any` decoded.

use std::fmt::{self, Write as _};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use prost::Message;

/// Names of enumerations' values that are 0.
const ZERO: [&str; 14] = [
    "Default",
    "Tcp",
    "Unspecified",
    "Overwrite",
    "ImplementationSpecificDefault",
    "Auto",
    "None",
    "UseConfiguredProtocol",
    "Hundred",
    "Sanitize",
    "MovedPermanently",
    "ServiceUnavailable",
    "PassThroughInternalRedirect",
    "Unknown",
];

/// A resource of a type.
pub(super) fn resource(type_url: &str, body: &[u8]) -> String {
    let mut text = String::new();
    show(&decode(type_url, body), 1, &mut text).unwrap();
    text
}

fn decode(type_url: &str, body: &[u8]) -> Node {
    fn of<M: Message + Default + fmt::Debug>(body: &[u8]) -> Node {
        let text = format!("{:?}", M::decode(body).unwrap());
        let mut parser = Parser { rest: &text };
        let node = parser.value();
        assert!(parser.rest.is_empty(), "{text}");
        node
    }
    match type_url.rsplit(['.', '/']).next().unwrap() {
        "Listener" => of::<Listener>(body),
        "RouteConfiguration" => of::<RouteConfiguration>(body),
        "Cluster" => of::<Cluster>(body),
        "ClusterLoadAssignment" => of::<ClusterLoadAssignment>(body),
        "HTTPFault" => of::<HttpFault>(body),
        "Router" => of::<Router>(body),
        "HttpConnectionManager" => of::<HttpConnectionManager>(body),
        "PreviousHostsPredicate" => of::<PreviousHostsPredicate>(body),
        "HttpProtocolOptions" => of::<HttpProtocolOptions>(body),
        other => panic!("what is {other}?"),
    }
}

#[derive(Debug)]
enum Node {
    Leaf(String),
    List(Vec<Self>),
    Fields(Vec<(String, Self)>),
}

impl Node {
    fn leaf(&self) -> Option<String> {
        if let Self::Leaf(text) = self { Some(text.clone()) } else { None }
    }

    fn is_default(&self) -> bool {
        match self {
            Self::Leaf(text) => {
                ["", "\"\"", "0", "0.0", "false"].contains(&text.as_str())
                    || ZERO.contains(&text.as_str())
            }
            Self::List(items) => items.is_empty(),
            Self::Fields(_) => false,
        }
    }
}

/// Reads what `derive(Debug)` writes.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn until(&mut self, end: &str) -> Vec<Node> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.value());
            self.take(",");
        }
        items
    }

    fn text(&mut self) -> String {
        let mut escaped = false;
        let end = self.rest[1..].find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let (text, rest) = self.rest.split_at(end.unwrap() + 2);
        self.rest = rest;
        text.to_owned()
    }

    fn value(&mut self) -> Node {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('"') {
            return Node::Leaf(self.text());
        }
        if self.take("[") {
            return Node::List(self.until("]"));
        }
        if self.take("{") {
            let entries = self.map();
            return if entries.is_empty() { Node::List(Vec::new()) } else { Node::Fields(entries) };
        }
        let end = self.rest.find([' ', '(', ')', ',', ']', '}']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if self.rest.starts_with('(') {
            self.take("(");
            let inner = self.until(")").pop().unwrap();
            // The one word of a oneof; its message has the same name.
            let keeps =
                word != "Some" && !matches!(inner, Node::Fields(_) if word.ends_with("Config"));
            return if keeps { Node::Fields(vec![(word.to_owned(), inner)]) } else { inner };
        }
        if self.rest.starts_with(" {") {
            self.take("{");
            return message(self.fields());
        }
        Node::Leaf(word.to_owned())
    }

    fn fields(&mut self) -> Vec<(String, Node)> {
        let mut fields = Vec::new();
        while !self.take("}") {
            self.rest = self.rest.trim_start();
            let (name, rest) = self.rest.split_once(':').unwrap();
            let name = name.trim_start_matches("r#").to_owned();
            self.rest = rest;
            fields.push((name, self.value()));
            self.take(",");
        }
        fields
    }

    fn map(&mut self) -> Vec<(String, Node)> {
        let mut entries = Vec::new();
        while !self.take("}") {
            self.rest = self.rest.trim_start();
            let key = self.text();
            assert!(self.take(":"));
            entries.push((key.trim_matches('"').to_owned(), self.value()));
            self.take(",");
        }
        entries
    }
}

fn leaf(fields: &[(String, Node)], name: &str) -> Option<String> {
    let (_, node) = fields.iter().find(|(field, _)| field == name)?;
    node.leaf()
}

/// A message, shorter where it stands for one value.
fn message(fields: Vec<(String, Node)>) -> Node {
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    match names[..] {
        ["value"] => Node::Leaf(leaf(&fields, "value").unwrap()),
        ["seconds", "nanos"] => {
            let part = |name| leaf(&fields, name).unwrap().parse::<f64>().unwrap();
            Node::Leaf(format!("{}s", part("seconds") + part("nanos") / 1e9))
        }
        [.., "ipv4_compat", "network_namespace_filepath", "port_specifier"] => {
            let Node::Fields(port) = &fields.last().unwrap().1 else { panic!("{fields:?}") };
            let (address, port) = (leaf(&fields, "address"), leaf(port, "PortValue"));
            Node::Leaf(format!("{} port {}", address.unwrap().trim_matches('"'), port.unwrap()))
        }
        [.., "resource_api_version", "config_source_specifier"] => Node::Leaf("ads".to_owned()),
        ["type_url", "value"] => {
            let url = leaf(&fields, "type_url").unwrap();
            let url = url.trim_matches('"');
            let Node::List(bytes) = &fields[1].1 else { panic!("{fields:?}") };
            let byte = |node: &Node| node.leaf().unwrap().parse::<u8>().unwrap();
            let bytes: Vec<u8> = bytes.iter().map(byte).collect();
            decode(url, &bytes)
        }
        _ => Node::Fields(fields.into_iter().filter(|(_, node)| !node.is_default()).collect()),
    }
}

fn show(node: &Node, depth: usize, out: &mut String) -> fmt::Result {
    let indent = "  ".repeat(depth);
    match node {
        Node::Leaf(text) => writeln!(out, "{indent}{text}")?,
        Node::List(items) => {
            for item in items {
                let mut inner = String::new();
                show(item, depth + 1, &mut inner)?;
                let rest = inner.get(indent.len() + 2..).unwrap_or("{}\n");
                write!(out, "{indent}- {rest}")?;
            }
        }
        Node::Fields(fields) => {
            for (name, node) in fields {
                match node {
                    Node::Leaf(text) => writeln!(out, "{indent}{name}: {text}")?,
                    Node::Fields(inner) if inner.is_empty() => {
                        writeln!(out, "{indent}{name}: {{}}")?;
                    }
                    Node::List(_) | Node::Fields(_) => {
                        writeln!(out, "{indent}{name}:")?;
                        show(node, depth + 1, out)?;
                    }
                }
            }
        }
    }
    Ok(())
}
