//! What goes to standard output and how: formats, tables, times, colours.

pub(crate) mod objects;
pub(crate) mod requests;
pub(crate) mod resilience;
pub(crate) mod settings;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod units;

use std::io::{self, Write as _};

use clap::ValueEnum;
use mesh_api::manifest::Located;
use mesh_api::violation::Warning;
use mesh_api::wire;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::target::word;

/// Form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// JSON for programs.
    Json,
    /// YAML that `apply` reads.
    Yaml,
    /// `kind/name`, one a line.
    Name,
}

/// Writes data to standard output.
pub(crate) fn emit(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Tells people something, apart from the data.
pub(crate) fn note(text: &str) {
    // Where standard error is closed there is nobody to tell.
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Tells people what does not work yet, with the lines of the manifests it is about.
pub(crate) fn warn(warnings: &[wire::Warning], objects: &[Located]) {
    for warning in warnings {
        note(&format!("Warning: {}", warning_text(&warning.into(), objects)));
    }
}

fn warning_text(warning: &Warning, objects: &[Located]) -> String {
    match objects.get(warning.index) {
        Some(object) if warning.object.is_some() => {
            object.problem(&warning.field, warning.message.clone()).to_string()
        }
        Some(_) | None => warning.to_string(),
    }
}

/// Any value as JSON, indented.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// A value that is no manifest, in the format asked for; `names` are one a line, `table` is for
/// people.
pub(crate) fn emit_value(
    context: &Context,
    value: &impl Serialize,
    names: impl FnOnce() -> Vec<String>,
    table: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    match context.format {
        Format::Json => emit(&json(value)?),
        Format::Yaml => emit(&yaml(value)?),
        Format::Wide => emit(&table(true)),
        Format::Table => emit(&table(false)),
        Format::Name => {
            let lines = names().into_iter().map(|name| name + "\n");
            emit(&lines.collect::<String>())
        }
    }
}

/// Any value as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    mesh_api::manifest::any_to_yaml(value).map_err(Into::into)
}

/// What became of the objects of a request: a line each, or the objects themselves.
pub(crate) fn emit_results(
    context: &Context,
    results: &[wire::Result],
    revision: u64,
    dry_run: bool,
) -> Result<(), Failure> {
    let objects = results.iter().filter_map(|result| result.after.as_ref());
    let objects: Vec<_> = objects.collect();
    match context.format {
        Format::Table | Format::Wide => {
            let line = |result| result_line(result, revision, dry_run) + "\n";
            emit(&results.iter().map(line).collect::<Vec<_>>().concat())
        }
        Format::Name => {
            let line = |result: &wire::Result| subject(result.object.as_ref()) + "\n";
            emit(&results.iter().map(line).collect::<Vec<_>>().concat())
        }
        Format::Json => emit(&objects::json(&objects, results.len() != 1)?),
        Format::Yaml => emit(&objects::yaml(&objects)?),
    }
}

/// An action in a word.
pub(crate) const fn action(action: wire::Action) -> &'static str {
    match action {
        wire::Action::Created => "created",
        wire::Action::Configured => "configured",
        wire::Action::Unchanged => "unchanged",
        wire::Action::Deleted => "deleted",
        wire::Action::Unspecified => "processed",
    }
}

/// As kubectl says it: `service/reviews configured (revision 12)`.
fn result_line(result: &wire::Result, revision: u64, dry_run: bool) -> String {
    let action = action(result.action());
    let mut remarks = Vec::new();
    if let Some(object) = &result.object
        && object.namespace != mesh_api::manifest::DEFAULT_NAMESPACE
    {
        remarks.push(format!("namespace {}", object.namespace));
    }
    if dry_run {
        remarks.push("dry run".to_owned());
    } else {
        // An object that has not changed is as old as its last change.
        let metadata = result.after.as_ref().and_then(|it| it.metadata.as_ref());
        let own = metadata.map_or(0, |metadata| metadata.resource_version);
        remarks.push(format!("revision {}", if own == 0 { revision } else { own }));
    }
    let subject = subject(result.object.as_ref());
    format!("{subject} {action} ({})", remarks.join(", "))
}

/// `service/reviews`.
pub(crate) fn subject(object: Option<&wire::ObjectRef>) -> String {
    let Some(object) = object else {
        return "object".to_owned();
    };
    let kind = object.kind().to_model().map_or("object", word);
    format!("{kind}/{}", object.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::reference;
    use mesh_api::model::Kind;

    #[test]
    fn a_warning_has_the_line_of_its_object() {
        let manifest = "
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata: {name: one}
spec:
  service: web
  address: 10.0.0.1
";
        let objects = mesh_api::manifest::parse("a.yaml", manifest).expect("valid");
        let warning = Warning {
            object: Some(objects[0].reference().clone()),
            index: 0,
            field: "spec.service".to_owned(),
            message: "there is none".to_owned(),
        };
        assert_eq!(
            warning_text(&warning, &objects),
            "a.yaml:6: Endpoint default/one: spec.service: there is none"
        );
        assert_eq!(
            warning_text(&warning, &[]),
            "Endpoint default/one: spec.service: there is none"
        );
        let sum = Warning { object: None, message: "3 more".to_owned(), ..warning };
        assert_eq!(warning_text(&sum, &objects), "3 more");
    }

    fn result(namespace: &str, action: wire::Action, stored: u64) -> wire::Result {
        wire::Result {
            object: Some(reference(Kind::ServiceConfig, namespace, "reviews")),
            action: action.into(),
            before: None,
            after: Some(wire::Object {
                metadata: Some(wire::Metadata {
                    resource_version: stored,
                    ..wire::Metadata::default()
                }),
                spec: None,
            }),
        }
    }

    #[test]
    fn results_read_like_those_of_kubectl() {
        let created = result("default", wire::Action::Created, 12);
        assert_eq!(result_line(&created, 12, false), "serviceconfig/reviews created (revision 12)");
        let unchanged = result("prod", wire::Action::Unchanged, 7);
        assert_eq!(
            result_line(&unchanged, 12, false),
            "serviceconfig/reviews unchanged (namespace prod, revision 7)"
        );
        let dry = result("default", wire::Action::Configured, 0);
        assert_eq!(result_line(&dry, 12, true), "serviceconfig/reviews configured (dry run)");
    }
}
