//! A node: whether it serves what it should, its open connections, and the traffic of its clients.

use mesh_api::wire;
use serde::Serialize;

use super::counted::Traffic;
use super::field;
use crate::client::{Client, Context};
use crate::commands::status::{Node, Status};
use crate::failure::Failure;
use crate::output::style::Style;
use crate::output::table::Table;
use crate::output::{emit_value, time};
use crate::traffic::Row;

/// The words for it.
const WORDS: [&str; 3] = ["node", "nodes", "no"];

/// The name of the node, where one is meant: `node NAME` or `node/NAME`.
pub(super) fn named(words: &[String]) -> Option<Result<String, Failure>> {
    let (kind, name) = match words {
        [one] => {
            one.split_once('/').map_or((one.as_str(), None), |(kind, name)| (kind, Some(name)))
        }
        [kind, name] => (kind.as_str(), Some(name.as_str())),
        _ => return None,
    };
    let name = name.filter(|name| !name.is_empty());
    let usage = || Failure::usage("say which node: `meshctl status` lists them");
    WORDS.contains(&kind).then(|| name.map(str::to_owned).ok_or_else(usage))
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    #[serde(flatten)]
    node: Node,
    /// `null`: not known.
    open_connections: Option<u64>,
    /// Of its clients; `null`: not known.
    traffic: Option<Row>,
}

pub(super) async fn run(context: &Context, name: &str) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let status = Status::from(client.status(wire::StatusRequest {}).await?);
    let newest = status.revision;
    let node = status.nodes.into_iter().find(|node| node.name == name);
    let node = node.ok_or_else(|| Failure::NotFound {
        message: format!("node {name:?} has never connected: `meshctl status` lists the others"),
    })?;
    let traffic = Traffic::of_node(&mut client, name).await?;
    let open_connections = open(&mut client, name).await;
    let described = Described { node, open_connections, traffic: traffic.whole.clone() };
    emit_value(
        context,
        &described,
        || vec![format!("node/{name}")],
        |_wide| head(&described, newest, context.style) + &traffic.text(context.style),
    )
}

/// How many connections are open; `None` where the node cannot be asked.
async fn open(client: &mut Client, name: &str) -> Option<u64> {
    let what = wire::ListConnections { limit: 1, ..wire::ListConnections::default() };
    let (listed, omitted) = client.connections(name, what).await.ok()?;
    Some(omitted + u64::try_from(listed.len()).unwrap_or(u64::MAX))
}

fn head(described: &Described, newest: u64, style: Style) -> String {
    let Described { node, open_connections, traffic: _ } = described;
    let mut table = Table::bare();
    field(&mut table, "Kind", "node");
    field(&mut table, "Name", &node.name);
    field(&mut table, "Version", &node.version);
    let (word, since) = (if node.connected { "yes" } else { "no" }, time::age(node.since_ms));
    field(&mut table, "Connected", &format!("{word}, for {since}"));
    let (state, tone) = node.state();
    let live = match node.live_revision {
        0 => "none is live yet".to_owned(),
        live => format!("revision {live} live for {}", time::age(node.live_age_ms)),
    };
    let sync = format!("{state}: {live}, {} sent, newest {newest}", node.sent_revision);
    table.toned(vec![("In sync:".to_owned(), None), (sync, Some(tone))]);
    let open = open_connections.map_or_else(|| "not known".to_owned(), |open| open.to_string());
    field(&mut table, "Open connections", &open);
    let mut out = table.render(style);
    for rejection in &node.rejections {
        let text = format!("Rejects revision {}: {}\n", rejection.revision, rejection.message);
        out.push_str(&text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(open_connections: Option<u64>) -> Described {
        let response = wire::StatusResponse {
            revision: 12,
            nodes: vec![wire::NodeStatus {
                node: "n1".to_owned(),
                version: "0.1.0".to_owned(),
                connected: true,
                live_revision: 11,
                live_age_ms: 4200,
                sent_revision: 12,
                since_ms: 61_000,
                rejections: vec![wire::Rejection { revision: 12, message: "no room".to_owned() }],
            }],
            ..wire::StatusResponse::default()
        };
        let node = Status::from(response).nodes.remove(0);
        Described { node, open_connections, traffic: None }
    }

    #[test]
    fn a_node_is_told_with_its_sync_state() {
        assert_eq!(
            head(&described(Some(7)), 12, Style::PLAIN),
            "\
Kind:               node
Name:               n1
Version:            0.1.0
Connected:          yes, for 1m1s
In sync:            rejects: revision 11 live for 4s, 12 sent, newest 12
Open connections:   7
Rejects revision 12: no room
"
        );
        let unknown = head(&described(None), 12, Style::PLAIN);
        assert!(unknown.contains("Open connections:   not known\n"), "{unknown}");
        let json = serde_json::to_value(described(None)).expect("JSON");
        assert_eq!((&json["node"], &json["inSync"]), (&"n1".into(), &false.into()));
        assert!(json["openConnections"].is_null() && json["traffic"].is_null());
    }

    #[test]
    fn a_node_is_named_behind_its_kind() {
        let named = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            named(&words).map(Result::ok)
        };
        assert_eq!(named(&["node", "a"]), Some(Some("a".to_owned())));
        assert_eq!(named(&["node/a"]), Some(Some("a".to_owned())));
        assert_eq!(named(&["node"]), Some(None));
        assert_eq!(named(&["svc", "a"]), None);
        assert_eq!(named(&["svc/node"]), None);
    }
}
