//! `status`: the control plane, and which revision is live on each node.

use mesh_api::wire;
use serde::Serialize;

use super::proxy_status::{self, Row};
use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::{emit_value, time};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let response = client.status(wire::StatusRequest {}).await?;
    let unhealthy = wire::ListHealthRequest { unhealthy_only: true, ..Default::default() };
    let health = client.health(unhealthy).await?;
    let mut status = Status { health: health.map(Health::from), ..Status::from(response) };
    let by = wire::GroupBy::Node.into();
    match client.stat(wire::StatRequest { by, ..wire::StatRequest::default() }).await {
        Ok(stat) => status.reported(&stat),
        // It does not gather traffic.
        Err(Failure::Declined { .. }) => {}
        Err(failure) => return Err(failure),
    }
    let names = || status.nodes.iter().map(|node| format!("node/{}", node.name)).collect();
    emit_value(context, &status, names, |wide| status.table(&context.server, wide, context.style))
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    version: String,
    pub(super) revision: u64,
    services: u64,
    endpoints: u64,
    service_configs: u64,
    /// Nothing from a control plane that does not gather it.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    pub(super) nodes: Vec<Node>,
    /// Envoys and gRPC programs.
    clients: Vec<Row>,
}

/// How much keeps connections away.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    unhealthy_endpoints: usize,
    /// Open or half-open, of all nodes.
    breakers: usize,
    ejections: usize,
}

impl From<wire::ListHealthResponse> for Health {
    fn from(response: wire::ListHealthResponse) -> Self {
        let unhealthy = wire::HealthStatus::Unhealthy;
        let endpoints = response.endpoints.iter().filter(|it| it.status() == unhealthy);
        let guards = || response.guards.iter().flat_map(|node| &node.guards);
        let ejected = |guard: &&wire::GuardReport| guard.state() == wire::GuardState::Ejected;
        let ejections = guards().filter(ejected).count();
        Self {
            unhealthy_endpoints: endpoints.count(),
            breakers: guards().count() - ejections,
            ejections,
        }
    }
}

impl Health {
    /// As in `Health: 2 endpoints unhealthy, 1 ejection (see …)`; nothing where all is well.
    fn line(&self) -> Option<String> {
        let Self { unhealthy_endpoints, breakers, ejections } = self;
        let count = |number: &usize, one: &str, more: &str| {
            let plural = if *number == 1 { "" } else { "s" };
            (*number > 0).then(|| format!("{number} {one}{plural}{more}"))
        };
        let parts: Vec<String> = [
            count(unhealthy_endpoints, "endpoint", " unhealthy"),
            count(breakers, "breaker", " not closed"),
            count(ejections, "ejection", ""),
        ]
        .into_iter()
        .flatten()
        .collect();
        let parts = parts.join(", ");
        (!parts.is_empty()).then(|| format!("Health: {parts} (meshctl health --unhealthy)\n"))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    #[serde(rename = "node")]
    pub(super) name: String,
    pub(super) version: String,
    pub(super) connected: bool,
    /// Connected, serving the newest revision, refusing nothing.
    pub(super) in_sync: bool,
    pub(super) live_revision: u64,
    pub(super) live_age_ms: u64,
    pub(super) sent_revision: u64,
    pub(super) since_ms: u64,
    pub(super) rejections: Vec<Rejection>,
    /// Whether what it counts is late to arrive; absent where it has never reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reports_late: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rejection {
    pub(super) revision: u64,
    pub(super) message: String,
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
            health: None,
            nodes: response.nodes.into_iter().map(|node| Node::new(node, newest)).collect(),
            clients: response.clients.into_iter().map(Row::of_client).collect(),
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
            reports_late: None,
        }
    }

    /// The state in a word, and whether it is a good one.
    pub(super) const fn state(&self) -> (&'static str, Tone) {
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
    /// Takes over which nodes have reported traffic, and which are late to.
    fn reported(&mut self, stat: &wire::StatResponse) {
        let of = |row: &wire::StatRow| row.edge.as_ref().map(|edge| edge.source_node.clone());
        let known: Vec<String> = stat.rows.iter().filter_map(of).collect();
        for node in &mut self.nodes {
            let late = stat.stale_nodes.contains(&node.name);
            node.reports_late = (late || known.contains(&node.name)).then_some(late);
        }
    }

    fn table(&self, server: &str, wide: bool, style: Style) -> String {
        let mut out = format!(
            "Control plane {server}, version {}: revision {}; services {}, endpoints {}, \
             service configs {}\n",
            self.version, self.revision, self.services, self.endpoints, self.service_configs
        );
        let health = self.health.as_ref().and_then(Health::line).unwrap_or_default();
        out.push_str(&health);
        out.push_str(&proxy_status::summary(&self.clients));
        out.push('\n');
        if self.nodes.is_empty() {
            out.push_str("No node has connected yet\n");
        } else {
            out.push_str(&self.nodes_table(wide, style));
        }
        let of_nodes = self.nodes.iter().flat_map(|node| {
            node.rejections.iter().map(move |Rejection { revision, message }| {
                format!("{} rejects revision {revision}: {message}\n", node.name)
            })
        });
        let problems: Vec<_> =
            of_nodes.chain(self.clients.iter().flat_map(Row::refusals)).collect();
        if !problems.is_empty() {
            out.push('\n');
        }
        out.extend(problems);
        out
    }

    fn nodes_table(&self, wide: bool, style: Style) -> String {
        let mut heading = vec!["NODE", "CONNECTED", "LIVE", "IN-SYNC", "AGE", "REJECTIONS"];
        if wide {
            heading.extend(["SENT", "SINCE", "REPORTS", "VERSION"]);
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
                let (reports, tone) = match node.reports_late {
                    None => ("", None),
                    Some(false) => ("yes", None),
                    Some(true) => ("late", Some(Tone::Bad)),
                };
                row.push((reports.to_owned(), tone));
                row.push((node.version.clone(), None));
            }
            table.toned(row);
        }
        table.render(style)
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
            clients: vec![wire::ClientStatus {
                kind: wire::ClientKind::Envoy.into(),
                id: "envoy~d".to_owned(),
                connected: true,
                types: vec![wire::TypeStatus {
                    state: wire::SyncState::Rejected.into(),
                    ..wire::TypeStatus::default()
                }],
                refused: vec![wire::RefusedResource {
                    type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
                    name: "default/web:80".to_owned(),
                    revision: 12,
                    message: "no".to_owned(),
                }],
                ..wire::ClientStatus::default()
            }],
        });
        let text = status.table("http://x", false, Style::PLAIN);
        assert_eq!(
            text,
            "\
Control plane http://x, version 0.1.0: revision 12; services 1, endpoints 2, service configs 1
Clients: 1 envoy, 1 rejecting (meshctl proxy-status)

NODE   CONNECTED   LIVE   IN-SYNC   AGE   REJECTIONS
a      yes         12     yes       4s    0
b      yes         11     behind    4s    0
c      no          12     away      4s    0
d      yes         11     rejects   4s    1
e      yes         0      behind    -     0

d rejects revision 12: default/reviews: no room
envoy envoy~d rejects revision 12: CDS default/web:80: no
"
        );
    }

    #[test]
    fn late_reports_are_told_apart_from_none() {
        let mut status = Status::from(wire::StatusResponse {
            nodes: vec![
                node("a", true, 12, None),
                node("b", true, 12, None),
                node("c", true, 12, None),
            ],
            ..wire::StatusResponse::default()
        });
        let row = |name: &str| wire::StatRow {
            edge: Some(wire::Edge { source_node: name.to_owned(), ..wire::Edge::default() }),
            ..wire::StatRow::default()
        };
        let stale_nodes = vec!["b".to_owned()];
        let rows = vec![row("a"), row("b")];
        status.reported(&wire::StatResponse { rows, stale_nodes, series_omitted: 0 });
        let text = status.table("http://x", true, Style::PLAIN);
        let column = |line: &str| line.split_whitespace().nth(8).map(str::to_owned);
        let all: Vec<_> = text.lines().skip(2).filter_map(column).collect();
        assert_eq!(all, ["REPORTS", "yes", "late", "-"], "{text}");
        let json = serde_json::to_value(&status).expect("JSON");
        assert_eq!(
            (&json["nodes"][1]["reportsLate"], &json["nodes"][2]["reportsLate"]),
            (&true.into(), &().into())
        );
    }

    #[test]
    fn what_keeps_connections_away_is_counted() {
        let guard = |state: wire::GuardState| wire::GuardReport {
            state: state.into(),
            ..wire::GuardReport::default()
        };
        let node = |guards| wire::NodeGuards { guards, ..wire::NodeGuards::default() };
        let endpoint = wire::EndpointHealthView {
            status: wire::HealthStatus::Unhealthy.into(),
            ..wire::EndpointHealthView::default()
        };
        let health = Health::from(wire::ListHealthResponse {
            endpoints: vec![endpoint],
            guards: vec![
                node(vec![guard(wire::GuardState::Open), guard(wire::GuardState::Ejected)]),
                node(vec![guard(wire::GuardState::HalfOpen)]),
            ],
        });
        let status = Status { health: Some(health), ..wire::StatusResponse::default().into() };
        let json = serde_json::to_value(&status).expect("JSON");
        assert_eq!(json["health"]["unhealthyEndpoints"], 1);
        let text = status.table("http://x", false, Style::PLAIN);
        let line = "\nHealth: 1 endpoint unhealthy, 2 breakers not closed, 1 ejection \
                    (meshctl health --unhealthy)\n\n";
        assert!(text.contains(line), "{text}");
        assert_eq!(Health::from(wire::ListHealthResponse::default()).line(), None);
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
