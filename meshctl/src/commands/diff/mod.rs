//! `diff`: what applying manifests would change, as a unified diff; or how what a node's kernel holds
//! differs from what it should. Ends like diff(1): 0 where nothing does, 1 where something does, above
//! 1 on trouble.

pub(super) mod node;

use std::path::PathBuf;

use mesh_api::manifest::{Manifest, to_yaml};
use mesh_api::wire;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::style::{Style, Tone};
use crate::output::{Format, action, emit, json, subject, warn, yaml};

/// Unchanged lines around a change.
const CONTEXT_LINES: usize = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a directory (its .yaml, .yml and .json files) or - for standard input; may be
    /// given several times.
    #[arg(
        short,
        long = "filename",
        value_name = "FILE|DIR|-",
        required_unless_present = "node",
        conflicts_with = "node"
    )]
    filename: Vec<PathBuf>,
    /// A node: compare what it should serve with what its kernel maps hold.
    #[arg(value_name = "node/NODE", value_parser = node_name)]
    node: Option<String>,
}

/// A node is written so that it cannot be taken for a file.
fn node_name(text: &str) -> Result<String, String> {
    match text.strip_prefix("node/") {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err("write a node as node/NAME, and files with -f FILE".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let differs = match &args.node {
        Some(node) => node::differ(context, node).await,
        None => differ(context, &args).await,
    };
    match differs {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Differs),
        // 1 is taken.
        Err(failure) if failure.exit_code() == 1 => Err(Failure::usage(failure.to_string())),
        Err(failure) => Err(failure),
    }
}

/// Prints what differs, and returns whether anything does.
async fn differ(context: &Context, args: &Args) -> Result<bool, Failure> {
    let objects = input::read(&args.filename)?;
    let request = super::apply::request(&objects, true)?;
    let mut client = context.connect().await?;
    let response = client.apply(request).await.map_err(|failure| failure.located(&objects))?;
    warn(&response.warnings, &objects);
    let differs = |result: &&wire::Result| result.action() != wire::Action::Unchanged;
    let results: Vec<_> = response.results.iter().filter(differs).collect();
    let changes = || results.iter().map(|result| Change::from(*result)).collect::<Vec<_>>();
    match context.format {
        Format::Table | Format::Wide => {
            let parts = results.iter().map(|result| difference(result, context.style));
            emit(&parts.collect::<Result<Vec<_>, _>>()?.concat())?;
        }
        Format::Name => {
            let line = |result: &&wire::Result| subject(result.object.as_ref()) + "\n";
            emit(&results.iter().map(line).collect::<String>())?;
        }
        Format::Json => emit(&json(&changes())?)?,
        Format::Yaml => emit(&yaml(&changes())?)?,
    }
    Ok(!results.is_empty())
}

/// One change, as programs read it.
#[derive(Serialize)]
struct Change<'a> {
    object: String,
    namespace: &'a str,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Manifest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Manifest<'a>>,
}

impl<'a> From<&'a wire::Result> for Change<'a> {
    fn from(result: &'a wire::Result) -> Self {
        let reference = result.object.as_ref();
        Self {
            object: subject(reference),
            namespace: reference.map_or("", |reference| &reference.namespace),
            action: action(result.action()),
            before: result.before.as_ref().map(Manifest),
            after: result.after.as_ref().map(Manifest),
        }
    }
}

/// The diff of one object; empty where nothing would change.
fn difference(result: &wire::Result, style: Style) -> Result<String, Failure> {
    let (before, stored) = text(result.before.as_ref())?;
    let (after, _) = text(result.after.as_ref())?;
    let reference = result.object.clone().unwrap_or_default();
    let kind = reference.kind().to_model().map_or("object", crate::target::word);
    let name = format!("{kind}/{}/{}", reference.namespace, reference.name);
    let stored = match stored {
        0 => "not stored".to_owned(),
        revision => format!("revision {revision}"),
    };
    let diff = similar::TextDiff::from_lines(&before, &after);
    let unified = diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .header(&format!("{name}\t({stored})"), &format!("{name}\t(applied)"))
        .to_string();
    let painted = unified.lines().map(|line| paint(line, style) + "\n");
    Ok(painted.collect::<Vec<_>>().concat())
}

fn paint(line: &str, style: Style) -> String {
    match line.chars().next() {
        Some('+') => style.paint(Tone::Good, line),
        Some('-') => style.paint(Tone::Bad, line),
        Some('@') => style.paint(Tone::Place, line),
        _ => line.to_owned(),
    }
}

/// The manifest without its revision, which applying changes anyway; and that revision.
fn text(object: Option<&wire::Object>) -> Result<(String, u64), Failure> {
    let Some(object) = object else {
        return Ok((String::new(), 0));
    };
    let mut object = object.clone();
    let metadata = object.metadata.get_or_insert_default();
    let revision = std::mem::take(&mut metadata.resource_version);
    Ok((to_yaml(&object)?, revision))
}

#[cfg(test)]
mod tests {
    use mesh_api::model::Kind;

    use super::*;

    fn config(weight: u32, revision: u64) -> wire::Object {
        let rule = |version: &str, weight| wire::TrafficRule {
            destination: Some(wire::Destination {
                service: String::new(),
                version: version.to_owned(),
            }),
            weight,
            ..wire::TrafficRule::default()
        };
        let traffic_rules = vec![rule("v1", 100 - weight), rule("v2", weight)];
        let spec = wire::ServiceConfig { traffic_rules, ..wire::ServiceConfig::default() };
        wire::Object {
            metadata: Some(wire::Metadata {
                namespace: "default".to_owned(),
                name: "reviews".to_owned(),
                resource_version: revision,
                ..wire::Metadata::default()
            }),
            spec: Some(wire::object::Spec::ServiceConfig(spec)),
        }
    }

    fn diff(before: Option<wire::Object>, after: wire::Object) -> String {
        let result = wire::Result {
            object: Some(crate::target::reference(Kind::ServiceConfig, "default", "reviews")),
            action: wire::Action::Configured.into(),
            before,
            after: Some(after),
        };
        difference(&result, Style::PLAIN).expect("diff")
    }

    #[test]
    fn a_changed_weight_is_a_small_diff() {
        assert_eq!(
            diff(Some(config(10, 12)), config(50, 0)),
            "\
--- serviceconfig/default/reviews\t(revision 12)
+++ serviceconfig/default/reviews\t(applied)
@@ -7,7 +7,7 @@
   trafficRules:
   - destination:
       version: v1
-    weight: 90
+    weight: 50
   - destination:
       version: v2
-    weight: 10
+    weight: 50
"
        );
    }

    #[test]
    fn the_same_content_at_another_revision_is_no_difference() {
        assert_eq!(diff(Some(config(10, 12)), config(10, 99)), "");
    }

    #[test]
    fn a_new_object_is_all_added() {
        let text = diff(None, config(10, 0));
        assert!(text.starts_with("--- serviceconfig/default/reviews\t(not stored)\n"));
        assert!(text.contains("\n+apiVersion: mesh.dev/v1alpha1\n"), "{text}");
    }
}
