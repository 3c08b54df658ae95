//! What surrounds every spec: apiVersion, kind and metadata; and lists of manifests.

use std::sync::Arc;

use super::de::{Finding, read as read_node, shorten, unknown_field};
use super::holds::holds;
use super::located::{Located, problem};
use super::problem::{Problem, Problems};
use super::tree::{Entry, Node, Value};
use super::{API_VERSION, DEFAULT_NAMESPACE, MAX_PROBLEMS};
use crate::model::{Kind, Object};
use crate::wire;

const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
const LIST_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];
/// One more than are shown, so that it shows that there are more.
const LIMIT: usize = MAX_PROBLEMS + 1;
/// A document whose `items` are manifests, as `meshctl get -o json` prints it.
const LIST: &str = "List";

/// The object of a document, or those of a list.
pub(super) fn read(file: &str, document: Node) -> Vec<Result<Located, Problems>> {
    let file = Arc::from(file);
    let kind = document.get("kind").and_then(|entry| entry.node.text());
    if kind != Some(LIST) {
        return vec![object(&file, document)];
    }
    let mut problems = Problems::default();
    let report = Report::new(&file, &document);
    report.api_version(&mut problems);
    report.unknown(&mut problems, &LIST_FIELDS);
    let mut found = Vec::new();
    if let Value::Map(entries) = document.value
        && let Some(items) = entries.into_iter().find(|entry| entry.key == "items")
        && let Value::List(items) = items.node.value
    {
        found.extend(items.into_iter().map(|item| object(&file, item)));
    }
    if !problems.is_empty() {
        found.push(Err(problems));
    }
    found
}

fn object(file: &Arc<str>, root: Node) -> Result<Located, Problems> {
    let mut problems = Problems::default();
    let mut report = Report::new(file, &root);
    if !matches!(root.value, Value::Map(_)) {
        let message = format!(
            "expected a mapping with apiVersion, kind, metadata and spec, found {}",
            root.value
        );
        problems.push(report.problem("", message));
        return Err(problems);
    }
    let kind = report.kind(&mut problems);
    report.name(kind);
    let (metadata, mut findings) = report.metadata();
    report.api_version(&mut problems);
    report.unknown(&mut problems, &FIELDS);
    let (spec, more) = kind.map_or((None, Vec::new()), |kind| report.spec(kind));
    findings.extend(more);
    // Without a spec there is nothing to check, and that has been found already.
    let checked = spec.map(|spec| {
        let object = wire::Object { metadata: Some(metadata), spec: Some(spec) };
        (Object::try_from(object.clone()).map(|valid| valid.reference()), object)
    });
    if let Some((Err(violations), _)) = &checked {
        let real = violations.iter().filter(|error| holds(&root, &findings, error));
        let real = real.map(|error| report.problem(&error.field, error.message.clone()));
        problems.extend(Problems::from(real.collect::<Vec<_>>()));
    }
    problems.extend(report.findings(findings));
    problems.tidy(MAX_PROBLEMS);
    match (problems.into_result(()), checked) {
        (Ok(()), Some((Ok(reference), object))) => {
            Ok(Located { file: Arc::clone(file), root, object, reference })
        }
        (Ok(()), _) => Err(report.problem("", "cannot be read").into()),
        (Err(problems), _) => Err(problems),
    }
}

/// The document under examination, and what it is called in problems.
struct Report<'t> {
    file: &'t str,
    root: &'t Node,
    object: Option<String>,
}

impl<'t> Report<'t> {
    const fn new(file: &'t str, root: &'t Node) -> Self {
        Self { file, root, object: None }
    }

    fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        problem(self.file, self.root, self.object.clone(), field, message)
    }

    fn findings(&self, findings: Vec<Finding>) -> Problems {
        let problems = findings.into_iter().map(|finding| self.finding(finding));
        problems.collect::<Vec<_>>().into()
    }

    fn finding(&self, finding: Finding) -> Problem {
        let Finding { at, field, message, unknown: _ } = finding;
        Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            object: self.object.clone(),
            field,
            message,
        }
    }

    /// From here on problems name the object.
    fn name(&mut self, kind: Option<Kind>) {
        let text = |key| self.root.get("metadata")?.node.get(key)?.node.text();
        if let (Some(kind), Some(name)) = (kind, text("name")) {
            let namespace = shorten(text("namespace").unwrap_or(DEFAULT_NAMESPACE));
            self.object = Some(format!("{kind} {namespace}/{}", shorten(name)));
        }
    }

    fn api_version(&self, problems: &mut Problems) {
        match self.root.get("apiVersion") {
            None => {
                problems.push(self.problem("apiVersion", format!("required: {API_VERSION}")));
            }
            Some(entry) if entry.node.text() != Some(API_VERSION) => {
                let message = format!("expected {API_VERSION}, found {}", entry.node.value);
                problems.push(self.problem("apiVersion", message));
            }
            Some(_) => {}
        }
    }

    fn kind(&self, problems: &mut Problems) -> Option<Kind> {
        let known = Kind::ALL.map(Kind::as_str).join(", ");
        let Some(entry) = self.root.get("kind") else {
            problems.push(self.problem("kind", format!("required: one of {known}")));
            return None;
        };
        let text = entry.node.text().unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        if kind.is_none() {
            let message = format!("expected one of {known}, found {}", entry.node.value);
            problems.push(self.problem("kind", message));
        }
        kind
    }

    fn metadata(&self) -> (wire::Metadata, Vec<Finding>) {
        let (metadata, findings) = match self.root.get("metadata") {
            Some(entry) => read_node(&entry.node, "metadata", LIMIT),
            None => (None, vec![self.missing("metadata", "required: a mapping with name")]),
        };
        let mut metadata: wire::Metadata = metadata.unwrap_or_default();
        if metadata.namespace.is_empty() {
            DEFAULT_NAMESPACE.clone_into(&mut metadata.namespace);
        }
        (metadata, findings)
    }

    /// What can be read of the spec, and what is wrong with the rest.
    fn spec(&self, kind: Kind) -> (Option<wire::object::Spec>, Vec<Finding>) {
        let Some(Entry { node, .. }) = self.root.get("spec") else {
            return (None, vec![self.missing("spec", "required")]);
        };
        match kind {
            Kind::Service => {
                let (spec, findings) = read_node(node, "spec", LIMIT);
                (spec.map(wire::object::Spec::Service), findings)
            }
            Kind::Endpoint => {
                let (spec, findings) = read_node(node, "spec", LIMIT);
                (spec.map(wire::object::Spec::Endpoint), findings)
            }
            Kind::ServiceConfig => {
                let (spec, findings) = read_node(node, "spec", LIMIT);
                (spec.map(wire::object::Spec::ServiceConfig), findings)
            }
        }
    }

    fn missing(&self, field: &str, message: &str) -> Finding {
        Finding {
            at: self.root.at,
            field: field.to_owned(),
            message: message.to_owned(),
            unknown: false,
        }
    }

    fn unknown(&self, problems: &mut Problems, fields: &[&str]) {
        let Value::Map(entries) = &self.root.value else {
            return;
        };
        for entry in entries {
            if !fields.contains(&entry.key.as_str()) {
                problems.push(self.finding(Finding {
                    at: entry.at,
                    field: shorten(&entry.key),
                    message: unknown_field(&entry.key, fields),
                    unknown: true,
                }));
            }
        }
    }
}
