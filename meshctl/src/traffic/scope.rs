//! What is asked for, as typed: `service`, `svc/reviews`, `edge reviews -n shop`.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use mesh_api::convert::milliseconds;
use mesh_api::manifest::DEFAULT_NAMESPACE;
use mesh_api::model::{Kind, Name};
use mesh_api::wire;
use serde::Serialize;

use crate::client::Client;
use crate::failure::Failure;
use crate::target::reference;

/// The words for what rows can stand for; the first of each is printed.
const WORDS: [(By, [&str; 3]); 5] = [
    (By::Service, ["service", "services", "svc"]),
    (By::Edge, ["edge", "edges", "from"]),
    (By::Version, ["version", "versions", "ver"]),
    (By::Workload, ["workload", "workloads", "wl"]),
    (By::Node, ["node", "nodes", "no"]),
];

/// What the rows stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum By {
    /// Services.
    Service,
    /// Clients' workloads and the services they connect to.
    Edge,
    /// Services and their versions.
    Version,
    /// Services and the workloads of their endpoints.
    Workload,
    /// Nodes of the clients.
    Node,
}

impl By {
    /// All of them, in the order in which they are offered.
    pub(crate) const ALL: [Self; 5] =
        [Self::Service, Self::Edge, Self::Version, Self::Workload, Self::Node];

    /// One word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Edge => "edge",
            Self::Version => "version",
            Self::Workload => "workload",
            Self::Node => "node",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let found = WORDS.iter().find(|(_, words)| words.contains(&word));
        found.map(|(by, _)| *by)
    }

    /// On the wire.
    pub(crate) const fn wire(self) -> wire::GroupBy {
        match self {
            Self::Service => wire::GroupBy::Service,
            Self::Edge => wire::GroupBy::Edge,
            Self::Version => wire::GroupBy::Version,
            Self::Workload => wire::GroupBy::Workload,
            Self::Node => wire::GroupBy::Node,
        }
    }
}

/// Takes any word, but offers those for what rows can stand for.
#[derive(Clone, Debug)]
struct Words;

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(WORDS.iter().map(|(by, _)| PossibleValue::new(by.as_str()))))
    }
}

/// Whose counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reporter {
    /// Those of the clients' nodes.
    Source,
    /// Those of the endpoints' nodes.
    Destination,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScopeArgs {
    /// What the rows stand for; or the name of a service.
    #[arg(value_name = "BY", value_parser = Words)]
    by: Option<String>,
    /// Only of this service; by node, only this node.
    name: Option<String>,
    /// Only this namespace; without it all, or `default` where a service is named.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only connections of this workload, as in `nginx.service`.
    #[arg(long, value_name = "WORKLOAD")]
    from: Option<String>,
    /// Only connections of clients on this node.
    #[arg(long)]
    node: Option<String>,
    /// The last seconds, of which rates are: 1s to 1h.
    #[arg(long, default_value = "10s", value_parser = window, value_name = "DURATION")]
    window: Duration,
    /// Which end has counted.
    #[arg(long, value_enum, default_value_t = Reporter::Source)]
    reporter: Reporter,
}

fn window(text: &str) -> Result<Duration, String> {
    let window = crate::cli::duration(text)?;
    if (Duration::from_secs(1)..=Duration::from_hours(1)).contains(&window) {
        Ok(window)
    } else {
        Err("rates are of 1s to 1h".to_owned())
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// What the rows stand for.
    pub(crate) by: By,
    /// Empty: all.
    pub(crate) namespace: String,
    /// Empty: all.
    pub(crate) service: String,
    /// Workload of the client. Empty: all.
    pub(crate) from: String,
    /// Of the client. Empty: all.
    pub(crate) node: String,
    /// What rates are of.
    pub(crate) window: Duration,
    reporter: Reporter,
}

impl Scope {
    /// Reads `[BY] [NAME]` and `BY/NAME`, and checks the names.
    pub(crate) fn new(args: ScopeArgs) -> Result<Self, Failure> {
        let ScopeArgs { by, name, namespace, from, node, window, reporter } = args;
        let (by, name) = target(by, name)?;
        let (service, node) = match (by, name, node) {
            (By::Node, Some(_), Some(_)) => {
                return Err(Failure::usage("the node is named twice: leave out --node"));
            }
            (By::Node, name, node) => (None, name.or(node)),
            (By::Service | By::Edge | By::Version | By::Workload, name, node) => (name, node),
        };
        let namespace = namespace.or_else(|| service.as_ref().map(|_| DEFAULT_NAMESPACE.into()));
        check("namespace", namespace.as_deref())?;
        check("service", service.as_deref())?;
        Ok(Self {
            by,
            namespace: namespace.unwrap_or_default(),
            service: service.unwrap_or_default(),
            from: from.unwrap_or_default(),
            node: node.unwrap_or_default(),
            window,
            reporter,
        })
    }

    /// As the control plane is asked; `every` is of a watch.
    pub(crate) fn request(&self, every: Option<Duration>) -> wire::StatRequest {
        let reporter = match self.reporter {
            Reporter::Source => wire::Reporter::Source,
            Reporter::Destination => wire::Reporter::Destination,
        };
        wire::StatRequest {
            by: self.by.wire().into(),
            namespace: self.namespace.clone(),
            service: self.service.clone(),
            source_workload: self.from.clone(),
            node: self.node.clone(),
            window_ms: milliseconds(self.window),
            reporter: reporter.into(),
            every_ms: every.map_or(0, milliseconds),
        }
    }

    /// Refuses a service or a node that there is not: no traffic would look like an answer.
    pub(crate) async fn check(&self, client: &mut Client) -> Result<(), Failure> {
        if !self.service.is_empty() {
            let object = Some(reference(Kind::Service, &self.namespace, &self.service));
            client.get(wire::GetRequest { object }).await?;
        }
        if !self.node.is_empty() {
            let nodes = client.status(wire::StatusRequest {}).await?.nodes;
            if !nodes.iter().any(|node| node.node == self.node) {
                let message = format!("node {:?} has never connected", self.node);
                return Err(Failure::NotFound { message });
            }
        }
        Ok(())
    }

    /// Where traffic was looked for, as in `of service default/reviews from nginx.service`.
    pub(crate) fn place(&self) -> String {
        let mut words = match (self.namespace.as_str(), self.service.as_str()) {
            ("", _) => Vec::new(),
            (namespace, "") => vec![format!("in namespace {namespace}")],
            (namespace, service) => vec![format!("of service {namespace}/{service}")],
        };
        if !self.from.is_empty() {
            words.push(format!("from {}", self.from));
        }
        if !self.node.is_empty() {
            words.push(format!("on node {}", self.node));
        }
        words.join(" ")
    }
}

fn target(by: Option<String>, name: Option<String>) -> Result<(By, Option<String>), Failure> {
    let Some(first) = by else {
        return Ok((By::Service, None));
    };
    let words = || By::ALL.map(By::as_str).join(", ");
    let unknown = |word: &str| Failure::usage(format!("{word:?}: rows are by {}", words()));
    match (first.split_once('/'), name) {
        (Some((by, name)), None) => {
            let by = By::parse(by).ok_or_else(|| unknown(by))?;
            Ok((by, Some(name.to_owned())))
        }
        (Some(_), Some(_)) => Err(Failure::usage("one name at a time")),
        (None, name) => match (By::parse(&first), name) {
            (Some(by), name) => Ok((by, name)),
            // As in `meshctl stat reviews`.
            (None, None) => Ok((By::Service, Some(first))),
            (None, Some(_)) => Err(unknown(&first)),
        },
    }
}

fn check(what: &str, name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else {
        return Ok(());
    };
    name.parse::<Name>()
        .map(drop)
        .map_err(|error| Failure::usage(format!("{what} {name:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(by: Option<&str>, name: Option<&str>) -> Result<Scope, String> {
        let args = ScopeArgs {
            by: by.map(str::to_owned),
            name: name.map(str::to_owned),
            namespace: None,
            from: None,
            node: None,
            window: Duration::from_secs(10),
            reporter: Reporter::Source,
        };
        Scope::new(args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_name_may_stand_after_a_word_behind_a_slash_or_alone() {
        for (by, name) in [
            (Some("svc"), Some("reviews")),
            (Some("services/reviews"), None),
            (Some("reviews"), None),
        ] {
            let scope = scope(by, name).expect("understood");
            assert_eq!((scope.by, scope.service.as_str()), (By::Service, "reviews"));
            assert_eq!(scope.place(), "of service default/reviews");
        }
        let all = scope(None, None).expect("understood");
        assert_eq!((all.namespace.as_str(), all.service.as_str()), ("", ""));
        let node = scope(Some("node"), Some("Node_7")).expect("any name");
        assert_eq!((node.node.as_str(), node.service.as_str()), ("Node_7", ""));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (by, name) in [
            (Some("pod"), Some("a")),
            (Some("pod/a"), None),
            (Some("svc/a"), Some("b")),
            (Some("Reviews"), None),
            (Some("svc/"), None),
        ] {
            scope(by, name).expect_err("refused");
        }
        assert!(window("999ms").is_err() && window("61m").is_err());
        assert_eq!(window("1h"), Ok(Duration::from_hours(1)));
    }
}
