//! `workloads`: who runs on each node, and whether they are in the mesh.

use mesh_api::wire;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::{Format, emit_value, note, time};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of this node.
    node: Option<String>,
    /// Only those in the mesh (true), or only those out of it (false).
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    enrolled: Option<bool>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { node, enrolled } = args;
    let request = wire::ListWorkloadsRequest { node: node.unwrap_or_default() };
    let found = context.connect().await?.workloads(request).await?;
    let nodes: Vec<Node> = found.into_iter().map(|node| Node::new(node, enrolled)).collect();
    emit_value(context, &nodes, || names(&nodes), |wide| table(&nodes, wide, context.style))?;
    if matches!(context.format, Format::Table | Format::Wide) {
        for remark in remarks(&nodes) {
            note(&remark);
        }
    }
    Ok(())
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(rename = "node")]
    name: String,
    connected: bool,
    /// Since the stream of the node ended.
    away_ms: u64,
    /// Since the node reported.
    age_ms: u64,
    workloads: Vec<Workload>,
    omitted: u64,
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Workload {
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pod_uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    container_id: String,
    enrolled: bool,
    reason: String,
    cgroup: String,
    cgroup_id: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Namespace {
    name: String,
    cookie: u64,
    enrolled: bool,
    reason: String,
}

impl Node {
    fn new(node: wire::NodeWorkloads, enrolled: Option<bool>) -> Self {
        let wanted = |it: &wire::Workload| enrolled.is_none_or(|enrolled| it.enrolled == enrolled);
        let namespace = |it: wire::NetworkNamespace| Namespace {
            name: it.name,
            cookie: it.cookie,
            enrolled: it.enrolled,
            reason: it.reason,
        };
        Self {
            name: node.node,
            connected: node.connected,
            away_ms: node.away_ms,
            age_ms: node.age_ms,
            workloads: node.workloads.into_iter().filter(wanted).map(Workload::from).collect(),
            omitted: node.omitted,
            namespaces: node.namespaces.into_iter().map(namespace).collect(),
        }
    }
}

impl From<wire::Workload> for Workload {
    fn from(it: wire::Workload) -> Self {
        Self {
            kind: it.kind,
            name: it.name,
            pod_uid: it.pod_uid,
            container_id: it.container_id,
            enrolled: it.enrolled,
            reason: it.reason,
            cgroup: it.cgroup,
            cgroup_id: it.cgroup_id,
        }
    }
}

fn names(nodes: &[Node]) -> Vec<String> {
    let line = |node: &Node, it: &Workload| format!("{}/{}/{}", node.name, it.kind, it.name);
    nodes.iter().flat_map(|node| node.workloads.iter().map(|it| line(node, it))).collect()
}

fn table(nodes: &[Node], wide: bool, style: Style) -> String {
    let mut heading = vec!["NODE", "KIND", "NAME", "ENROLLED", "WHY", "CGROUP"];
    if wide {
        heading.extend(["CGROUP-ID", "CONTAINER", "AGE"]);
    }
    let mut table = Table::new(&heading);
    for node in nodes {
        for it in &node.workloads {
            let tone = if it.enrolled { Tone::Good } else { Tone::Bad };
            let mut row = vec![
                (node.name.clone(), None),
                (it.kind.clone(), None),
                (it.name.clone(), None),
                (if it.enrolled { "yes" } else { "no" }.to_owned(), Some(tone)),
                (it.reason.clone(), None),
                (it.cgroup.clone(), None),
            ];
            if wide {
                row.push((it.cgroup_id.to_string(), None));
                row.push((it.container_id.clone(), None));
                row.push((time::age(node.age_ms), None));
            }
            table.toned(row);
        }
    }
    table.render(style)
}

/// What is to be known beside the table.
fn remarks(nodes: &[Node]) -> Vec<String> {
    let mut remarks = Vec::new();
    for node in nodes {
        let name = &node.name;
        if !node.connected {
            remarks.push(format!(
                "node {name} went away {} ago: what it reported may be outdated",
                time::age(node.away_ms)
            ));
        }
        if node.omitted > 0 {
            remarks.push(format!("node {name} has {} more workloads, not listed", node.omitted));
        }
        let out: Vec<&str> =
            node.namespaces.iter().filter(|it| !it.enrolled).map(name_of).collect();
        if !out.is_empty() {
            remarks.push(format!(
                "node {name} leaves these network namespaces alone, whatever the cgroup: {}",
                out.join(", ")
            ));
        }
    }
    remarks
}

const fn name_of(namespace: &Namespace) -> &str {
    namespace.name.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported() -> Vec<wire::NodeWorkloads> {
        let workload =
            |kind: &str, name: &str, enrolled, reason: &str, cgroup: &str| wire::Workload {
                kind: kind.to_owned(),
                name: name.to_owned(),
                enrolled,
                reason: reason.to_owned(),
                cgroup: cgroup.to_owned(),
                cgroup_id: 42,
                ..wire::Workload::default()
            };
        let out = "--exclude-cgroup /system.slice/sshd.service";
        vec![
            wire::NodeWorkloads {
                node: "a".to_owned(),
                connected: true,
                age_ms: 5000,
                workloads: vec![
                    workload(
                        "unit",
                        "nginx.service",
                        true,
                        "default",
                        "/system.slice/nginx.service",
                    ),
                    workload("unit", "sshd.service", false, out, "/system.slice/sshd.service"),
                ],
                namespaces: vec![wire::NetworkNamespace {
                    name: "blue".to_owned(),
                    ..wire::NetworkNamespace::default()
                }],
                ..wire::NodeWorkloads::default()
            },
            wire::NodeWorkloads {
                node: "b".to_owned(),
                away_ms: 61_000,
                omitted: 3,
                ..wire::NodeWorkloads::default()
            },
        ]
    }

    fn nodes(enrolled: Option<bool>) -> Vec<Node> {
        reported().into_iter().map(|node| Node::new(node, enrolled)).collect()
    }

    #[test]
    fn a_workload_is_a_line_with_the_reason() {
        assert_eq!(
            table(&nodes(None), false, Style::PLAIN),
            "\
NODE   KIND   NAME            ENROLLED   WHY                                           CGROUP
a      unit   nginx.service   yes        default                                       /system.slice/nginx.service
a      unit   sshd.service    no         --exclude-cgroup /system.slice/sshd.service   /system.slice/sshd.service
"
        );
        let out = nodes(Some(false));
        assert_eq!(names(&out), ["a/unit/sshd.service"]);
        assert!(table(&out, true, Style::PLAIN).contains(" 42 "));
        let json = serde_json::to_value(nodes(Some(true))).expect("JSON");
        assert_eq!(json[0]["workloads"][0]["cgroupId"], 42);
        assert_eq!(json[0]["workloads"][1], serde_json::Value::Null);
    }

    #[test]
    fn what_the_table_does_not_show_is_said() {
        assert_eq!(
            remarks(&nodes(None)),
            [
                "node a leaves these network namespaces alone, whatever the cgroup: blue",
                "node b went away 1m1s ago: what it reported may be outdated",
                "node b has 3 more workloads, not listed",
            ]
        );
    }
}
