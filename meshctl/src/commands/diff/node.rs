//! `diff node/NODE`: what a node should serve against what its kernel maps hold, read back: one line
//! for each value that should be (`-`), and for each that is (`+`).

use std::collections::BTreeMap;

use mesh_api::manifest::Manifest;
use mesh_api::wire;
use serde::Serialize;
use serde_json::Value;

use super::paint;
use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::Style;
use crate::output::{emit_value, note};

/// Prints what differs, and returns whether anything does.
pub(super) async fn differ(context: &Context, node: &str) -> Result<bool, Failure> {
    let diff = context.connect().await?.diff_node(node).await?;
    let report = Report::new(node, diff)?;
    let names = || report.subjects();
    emit_value(context, &report, names, |_wide| report.text(context.style))?;
    for Rejection { revision, message } in &report.rejections {
        note(&format!("{node} rejects revision {revision}: {message}"));
    }
    Ok(!report.in_sync)
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct Report {
    node: String,
    in_sync: bool,
    intended_revision: u64,
    programmed_revision: u64,
    /// Kernel services that were compared.
    services: u64,
    differences: Vec<Difference>,
    rejections: Vec<Rejection>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Difference {
    subject: String,
    field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    intended: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    programmed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rejection {
    revision: u64,
    message: String,
}

impl Report {
    pub(in crate::commands) fn new(node: &str, diff: wire::NodeDiff) -> Result<Self, Failure> {
        let mut differences: Vec<Difference> = diff.differences.into_iter().map(of_maps).collect();
        for object in &diff.objects {
            differences.extend(of_object(object)?);
        }
        if diff.intended_revision != diff.programmed_revision {
            differences.push(Difference {
                subject: format!("node/{node}"),
                field: "revision".to_owned(),
                intended: Some(diff.intended_revision.to_string()),
                programmed: Some(diff.programmed_revision.to_string()),
            });
        }
        differences.sort();
        let rejection =
            |it: wire::Rejection| Rejection { revision: it.revision, message: it.message };
        Ok(Self {
            node: node.to_owned(),
            in_sync: differences.is_empty() && diff.rejections.is_empty(),
            intended_revision: diff.intended_revision,
            programmed_revision: diff.programmed_revision,
            services: diff.services,
            differences,
            rejections: diff.rejections.into_iter().map(rejection).collect(),
        })
    }

    fn subjects(&self) -> Vec<String> {
        let mut subjects: Vec<_> = self.differences.iter().map(|it| it.subject.clone()).collect();
        subjects.dedup();
        subjects
    }

    fn text(&self, style: Style) -> String {
        let Self { node, intended_revision, programmed_revision, services, .. } = self;
        if self.in_sync {
            return format!(
                "in sync: node {node}, revision {programmed_revision}, kernel services {services}\n"
            );
        }
        let mut lines = vec![
            format!("--- intended\t(revision {intended_revision})"),
            format!("+++ programmed on {node}\t(revision {programmed_revision})"),
        ];
        for Difference { subject, field, intended, programmed } in &self.differences {
            let sides = [('-', intended), ('+', programmed)];
            for (sign, value) in
                sides.into_iter().filter_map(|(sign, it)| Some((sign, it.as_ref()?)))
            {
                lines.push(paint(&format!("{sign} {subject} {field}: {value}"), style));
            }
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn of_maps(it: wire::Difference) -> Difference {
    let wire::Difference { subject, field, intended, programmed } = it;
    Difference { subject, field, intended, programmed }
}

/// Where the objects differ.
fn of_object(diff: &wire::ObjectDiff) -> Result<Vec<Difference>, Failure> {
    let reference = diff.object.clone().unwrap_or_default();
    let kind = reference.kind().to_model().map_or("object", crate::target::word);
    let subject = format!("{kind}/{}/{}", reference.namespace, reference.name);
    let difference = |field: &str, intended: Option<&str>, programmed: Option<&str>| Difference {
        subject: subject.clone(),
        field: field.to_owned(),
        intended: intended.map(str::to_owned),
        programmed: programmed.map(str::to_owned),
    };
    let (intended, programmed) = match (&diff.intended, &diff.programmed) {
        (Some(intended), Some(programmed)) => (values(intended)?, values(programmed)?),
        (intended, programmed) => {
            // The fields of an object that only one side has say nothing more.
            let there = |is: bool| is.then_some("there");
            let held = if diff.unknown {
                Some("as it is not remembered any more")
            } else {
                there(programmed.is_some())
            };
            return Ok(vec![difference("object", there(intended.is_some()), held)]);
        }
    };
    let mut fields: Vec<&String> = intended.keys().chain(programmed.keys()).collect();
    fields.sort_unstable();
    fields.dedup();
    let pair = |field: &String| (intended.get(field), programmed.get(field));
    let found = fields.into_iter().map(|field| (field, pair(field)));
    Ok(found
        .filter(|(_, (intended, programmed))| intended != programmed)
        .map(|(field, (intended, programmed))| {
            difference(field, intended.map(String::as_str), programmed.map(String::as_str))
        })
        .collect())
}

/// An object's values by path, as manifests write them.
fn values(object: &wire::Object) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    flatten(String::new(), &serde_json::to_value(Manifest(object))?, &mut found);
    Ok(found)
}

fn flatten(path: String, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(path, value, into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                flatten(format!("{path}[{at}]"), value, into);
            }
        }
        Value::String(text) => drop(into.insert(path, text.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            into.insert(path, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::model::Kind;

    use super::*;
    use crate::target::reference;

    fn endpoint(address: &str, weight: u32) -> wire::Object {
        wire::Object {
            metadata: Some(wire::Metadata {
                namespace: "prod".to_owned(),
                name: "one".to_owned(),
                ..wire::Metadata::default()
            }),
            spec: Some(wire::object::Spec::Endpoint(wire::Endpoint {
                service: "web".to_owned(),
                address: address.to_owned(),
                weight: Some(weight),
                ..wire::Endpoint::default()
            })),
        }
    }

    fn object(
        intended: Option<wire::Object>,
        programmed: Option<wire::Object>,
    ) -> wire::ObjectDiff {
        wire::ObjectDiff {
            object: Some(reference(Kind::Endpoint, "prod", "one")),
            intended,
            programmed,
            unknown: false,
        }
    }

    #[test]
    fn a_node_in_sync_is_one_line() {
        let diff = wire::NodeDiff {
            intended_revision: 7,
            programmed_revision: 7,
            services: 3,
            ..wire::NodeDiff::default()
        };
        let report = Report::new("n1", diff.clone()).expect("a report");
        assert_eq!(report.text(Style::PLAIN), "in sync: node n1, revision 7, kernel services 3\n");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!((&json["inSync"], &json["programmedRevision"]), (&true.into(), &7.into()));
        // What is rejected is not served, though nothing else may differ.
        let rejections = vec![wire::Rejection { revision: 7, message: "no room".to_owned() }];
        let report = Report::new("n1", wire::NodeDiff { rejections, ..diff }).expect("a report");
        assert!(!report.in_sync);
    }

    #[test]
    fn what_differs_is_sorted_lines_with_both_values() {
        let map =
            |field: &str, intended: Option<&str>, programmed: Option<&str>| wire::Difference {
                subject: "service/prod/web:80/TCP/IPv4".to_owned(),
                field: field.to_owned(),
                intended: intended.map(str::to_owned),
                programmed: programmed.map(str::to_owned),
            };
        let unknown = wire::ObjectDiff {
            object: Some(reference(Kind::Service, "prod", "db")),
            unknown: true,
            ..wire::ObjectDiff::default()
        };
        let diff = wire::NodeDiff {
            intended_revision: 8,
            programmed_revision: 7,
            objects: vec![
                object(Some(endpoint("10.0.0.2", 1)), Some(endpoint("10.0.0.1", 1))),
                unknown,
            ],
            differences: vec![
                map("load balancer", Some("random"), Some("Maglev")),
                map("frontend 10.96.0.1:80", None, Some("there")),
            ],
            ..wire::NodeDiff::default()
        };
        let report = Report::new("n1", diff).expect("a report");
        assert_eq!(
            report.text(Style::PLAIN),
            "\
--- intended\t(revision 8)
+++ programmed on n1\t(revision 7)
- endpoint/prod/one spec.address: 10.0.0.2
+ endpoint/prod/one spec.address: 10.0.0.1
- node/n1 revision: 8
+ node/n1 revision: 7
+ service/prod/db object: as it is not remembered any more
+ service/prod/web:80/TCP/IPv4 frontend 10.96.0.1:80: there
- service/prod/web:80/TCP/IPv4 load balancer: random
+ service/prod/web:80/TCP/IPv4 load balancer: Maglev
"
        );
        assert_eq!(report.subjects().len(), 4);
        let whole = of_object(&object(Some(endpoint("10.0.0.1", 1)), None)).expect("differences");
        assert_eq!((whole.len(), whole[0].field.as_str()), (1, "object"));
        assert_eq!(whole[0].programmed, None);
    }
}
