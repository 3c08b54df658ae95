//! `connections`: which connections through services are open on a node.

use mesh_api::wire;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::Style;
use crate::output::table::Table;
use crate::output::{Format, emit_value, note, time};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the node whose clients have made them.
    node: String,
    /// Only to services of this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only to this service.
    #[arg(long)]
    service: Option<String>,
    /// Most connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { node, namespace, service, limit } = args;
    let what = wire::ListConnections {
        namespace: namespace.unwrap_or_default(),
        service: service.unwrap_or_default(),
        limit,
    };
    let (connections, omitted) = context.connect().await?.connections(&node, what).await?;
    let connections = connections.into_iter().map(Connection::from).collect();
    let open = Open { node, connections, omitted };
    emit_value(context, &open, || open.names(), |wide| open.table(wide, context.style))?;
    if matches!(context.format, Format::Table | Format::Wide) && omitted > 0 {
        note(&format!("{omitted} more connections are not listed: raise --limit"));
    }
    Ok(())
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    node: String,
    connections: Vec<Connection>,
    omitted: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    cookie: u64,
    protocol: &'static str,
    namespace: String,
    service: String,
    endpoint: String,
    version: String,
    frontend: String,
    backend: String,
    state: String,
    age_ms: u64,
    source_workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sent_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    received_path: String,
}

impl From<wire::Connection> for Connection {
    fn from(it: wire::Connection) -> Self {
        let protocol = match it.transport() {
            wire::Transport::Udp => "udp",
            wire::Transport::Tcp | wire::Transport::Unspecified => "tcp",
        };
        Self {
            cookie: it.cookie,
            protocol,
            namespace: it.namespace,
            service: it.service,
            endpoint: it.endpoint,
            version: it.version,
            frontend: it.frontend,
            backend: it.backend,
            state: it.state,
            age_ms: it.age_ms,
            source_workload: it.source_workload,
            sent_path: it.sent_path,
            received_path: it.received_path,
        }
    }
}

impl Open {
    fn names(&self) -> Vec<String> {
        self.connections.iter().map(|it| it.cookie.to_string()).collect()
    }

    fn table(&self, wide: bool, style: Style) -> String {
        let mut heading = vec![
            "NAMESPACE",
            "SERVICE",
            "ENDPOINT",
            "SOURCE",
            "PROTOCOL",
            "STATE",
            "AGE",
            "BACKEND",
        ];
        if wide {
            heading.extend(["FRONTEND", "VERSION", "SENT-PATH", "RECEIVED-PATH", "COOKIE"]);
        }
        let mut table = Table::new(&heading);
        for it in &self.connections {
            let mut row = vec![
                it.namespace.clone(),
                it.service.clone(),
                it.endpoint.clone(),
                it.source_workload.clone(),
                it.protocol.to_owned(),
                it.state.clone(),
                time::age(it.age_ms),
                it.backend.clone(),
            ];
            if wide {
                row.extend([
                    it.frontend.clone(),
                    it.version.clone(),
                    it.sent_path.clone(),
                    it.received_path.clone(),
                    it.cookie.to_string(),
                ]);
            }
            table.row(row);
        }
        table.render(style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Open {
        let one = wire::Connection {
            cookie: 7,
            transport: wire::Transport::Tcp.into(),
            namespace: "prod".to_owned(),
            service: "web".to_owned(),
            endpoint: "web-1".to_owned(),
            version: "v1".to_owned(),
            frontend: "10.96.0.1:80".to_owned(),
            backend: "10.0.0.1:8080".to_owned(),
            state: "open".to_owned(),
            age_ms: 61_000,
            sent_path: "redirected".to_owned(),
            ..wire::Connection::default()
        };
        let unknown = wire::Connection {
            cookie: 8,
            transport: wire::Transport::Udp.into(),
            state: "open".to_owned(),
            backend: "[fd00::1]:53".to_owned(),
            ..wire::Connection::default()
        };
        let connections = [one, unknown].map(Connection::from).into();
        Open { node: "n1".to_owned(), connections, omitted: 0 }
    }

    #[test]
    fn a_connection_is_a_line() {
        assert_eq!(
            open().table(false, Style::PLAIN),
            "\
NAMESPACE   SERVICE   ENDPOINT   SOURCE   PROTOCOL   STATE   AGE    BACKEND
prod        web       web-1      -        tcp        open    1m1s   10.0.0.1:8080
-           -         -          -        udp        open    0ms    [fd00::1]:53
"
        );
        let wide = open().table(true, Style::PLAIN);
        assert!(wide.contains("10.96.0.1:80   v1        redirected   -               7"), "{wide}");
        assert_eq!(open().names(), ["7", "8"]);
        let json = serde_json::to_value(open()).expect("JSON");
        let one = &json["connections"][0];
        assert_eq!((&one["service"], &one["ageMs"]), (&"web".into(), &61_000.into()));
        assert_eq!(json["connections"][1]["sentPath"], serde_json::Value::Null);
    }
}
