//! `status`: the control plane, and which revision is live on each node.

use mesh_api::wire;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::{emit_value, time};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let response = client.status(wire::StatusRequest {}).await?;
    let status = Status::from(response);
    let names = || status.nodes.iter().map(|node| format!("node/{}", node.name)).collect();
    emit_value(context, &status, names, |wide| status.table(&context.server, wide, context.style))
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: String,
    revision: u64,
    services: u64,
    endpoints: u64,
    service_configs: u64,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(rename = "node")]
    name: String,
    version: String,
    connected: bool,
    /// Connected, serving the newest revision, refusing nothing.
    in_sync: bool,
    live_revision: u64,
    live_age_ms: u64,
    sent_revision: u64,
    since_ms: u64,
    rejections: Vec<Rejection>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rejection {
    revision: u64,
    message: String,
}

impl From<wire::StatusResponse> for Status {
    fn from(response: wire::StatusResponse) -> Self {
        let newest = response.revision;
        Self {
            version: response.version,
            revision: newest,
            services: response.services,
            endpoints: response.endpoints,
            service_configs: response.service_configs,
            nodes: response.nodes.into_iter().map(|node| Node::new(node, newest)).collect(),
        }
    }
}

impl Node {
    fn new(node: wire::NodeStatus, newest: u64) -> Self {
        let rejection = |rejection: wire::Rejection| Rejection {
            revision: rejection.revision,
            message: rejection.message,
        };
        Self {
            in_sync: node.connected && node.live_revision >= newest && node.rejections.is_empty(),
            name: node.node,
            version: node.version,
            connected: node.connected,
            live_revision: node.live_revision,
            live_age_ms: node.live_age_ms,
            sent_revision: node.sent_revision,
            since_ms: node.since_ms,
            rejections: node.rejections.into_iter().map(rejection).collect(),
        }
    }

    /// The state in a word, and whether it is a good one.
    const fn state(&self) -> (&'static str, Tone) {
        if !self.connected {
            ("away", Tone::Bad)
        } else if !self.rejections.is_empty() {
            ("rejects", Tone::Bad)
        } else if self.in_sync {
            ("yes", Tone::Good)
        } else {
            ("behind", Tone::Bad)
        }
    }
}

impl Status {
    fn table(&self, server: &str, wide: bool, style: Style) -> String {
        let mut out = format!(
            "Control plane {server}, version {}: revision {}; services {}, endpoints {}, \
             service configs {}\n\n",
            self.version, self.revision, self.services, self.endpoints, self.service_configs
        );
        if self.nodes.is_empty() {
            out.push_str("No node has connected yet\n");
            return out;
        }
        let mut heading = vec!["NODE", "CONNECTED", "LIVE", "IN-SYNC", "AGE", "REJECTIONS"];
        if wide {
            heading.extend(["SENT", "SINCE", "VERSION"]);
        }
        let mut table = Table::new(&heading);
        for node in &self.nodes {
            let (state, tone) = node.state();
            let age =
                if node.live_revision == 0 { String::new() } else { time::age(node.live_age_ms) };
            let mut row = vec![
                (node.name.clone(), None),
                (if node.connected { "yes" } else { "no" }.to_owned(), None),
                (node.live_revision.to_string(), None),
                (state.to_owned(), Some(tone)),
                (age, None),
                (node.rejections.len().to_string(), None),
            ];
            if wide {
                row.push((node.sent_revision.to_string(), None));
                row.push((time::age(node.since_ms), None));
                row.push((node.version.clone(), None));
            }
            table.toned(row);
        }
        out.push_str(&table.render(style));
        for node in &self.nodes {
            for Rejection { revision, message } in &node.rejections {
                let line = format!("\n{} rejects revision {revision}: {message}", node.name);
                out.push_str(&line);
            }
        }
        if self.nodes.iter().any(|node| !node.rejections.is_empty()) {
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, connected: bool, live: u64, rejection: Option<&str>) -> wire::NodeStatus {
        wire::NodeStatus {
            node: name.to_owned(),
            version: "0.1.0".to_owned(),
            connected,
            live_revision: live,
            live_age_ms: 4200,
            sent_revision: 12,
            rejections: rejection
                .map(|message| wire::Rejection { revision: 12, message: message.to_owned() })
                .into_iter()
                .collect(),
            since_ms: 61_000,
        }
    }

    #[test]
    fn every_state_of_a_node_is_told_apart() {
        let status = Status::from(wire::StatusResponse {
            version: "0.1.0".to_owned(),
            revision: 12,
            nodes: vec![
                node("a", true, 12, None),
                node("b", true, 11, None),
                node("c", false, 12, None),
                node("d", true, 11, Some("default/reviews: no room")),
                node("e", true, 0, None),
            ],
            services: 1,
            endpoints: 2,
            service_configs: 1,
        });
        let text = status.table("http://x", false, Style::PLAIN);
        assert_eq!(
            text,
            "\
Control plane http://x, version 0.1.0: revision 12; services 1, endpoints 2, service configs 1

NODE   CONNECTED   LIVE   IN-SYNC   AGE   REJECTIONS
a      yes         12     yes       4s    0
b      yes         11     behind    4s    0
c      no          12     away      4s    0
d      yes         11     rejects   4s    1
e      yes         0      behind    -     0

d rejects revision 12: default/reviews: no room
"
        );
    }

    #[test]
    fn scripts_can_ask_whether_a_node_is_in_sync() {
        let status = Status::from(wire::StatusResponse {
            revision: 12,
            nodes: vec![node("a", true, 12, None)],
            ..wire::StatusResponse::default()
        });
        let json = serde_json::to_value(&status).expect("JSON");
        assert_eq!(json["nodes"][0]["inSync"], true);
        assert_eq!(json["nodes"][0]["liveRevision"], 12);
    }
}
