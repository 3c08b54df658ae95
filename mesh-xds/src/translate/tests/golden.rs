//! `golden/NAME.yaml` gives `golden/NAME.envoy.txt` and `golden/NAME.grpc.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mesh_api::model::NodeLocality;

use super::super::grpc::Library;
use super::super::{Named, View, envoy, grpc, vacant};
use super::{Objects, render};

fn check(name: &str) {
    check_from(name, None);
}

fn check_from(name: &str, here: Option<&NodeLocality>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/translate/tests/golden");
    let manifests = fs::read_to_string(directory.join(format!("{name}.yaml"))).unwrap();
    let objects = Objects::read(&manifests);
    let (mut by_envoy, mut by_grpc) = (Vec::new(), Vec::new());
    for view in objects.views().map(|view| View { here, ..view }) {
        let vacant = vacant(&view);
        by_envoy.extend(envoy::policy(&view, &vacant));
        by_envoy.extend(envoy::assignments(&view, &|_| true));
        by_grpc.extend(grpc::policy(&view, &vacant));
        by_grpc.extend(grpc::assignments(&view, &|_| true));
    }
    for (dialect, found) in [("envoy", by_envoy), ("grpc", by_grpc)] {
        let text = render_all(found);
        let path = directory.join(format!("{name}.{dialect}.txt"));
        if std::env::var_os("MESH_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(expected == text, "{}: write it anew with MESH_BLESS=1:\n{text}", path.display());
    }
}

fn render_all(found: Vec<Named>) -> String {
    let by_name: BTreeMap<_, _> =
        found.into_iter().map(|it| ((it.type_url, it.name), it.resource)).collect();
    let one = |((type_url, name), resource): ((&str, String), crate::snapshot::Resource)| {
        let kind = type_url.rsplit('.').next().unwrap();
        format!("{kind} {name}\n{}", render::resource(type_url, &resource.body))
    };
    by_name.into_iter().map(one).collect::<Vec<_>>().join("\n")
}

/// A split between two versions, with weights, health and a drain.
#[test]
fn split() {
    check("split");
}

/// All that a route can match, and all that can be done with it.
#[test]
fn rules() {
    check("rules");
}

/// All that guards a service.
#[test]
fn guards() {
    check("guards");
}

/// Connections only, and nowhere to go.
#[test]
fn plain() {
    check("plain");
}

/// Near endpoints first, and near ones only.
#[test]
fn near() {
    let label = |text: &str| Some(text.parse().unwrap());
    let here = NodeLocality { node: label("n1"), region: label("r1"), zone: label("z1") };
    check_from("near", Some(&here));
}

/// C-core's timeouts are over too early, so it is told more; nothing else of its routes is different.
#[test]
fn c_core_is_told_two_seconds_more() {
    let objects = Objects::read(include_str!("golden/rules.yaml"));
    let text = |library| {
        let routes = |view: View<'_>| grpc::routes(&view, &vacant(&view), library);
        render_all(objects.views().flat_map(routes).collect())
    };
    let (other, core) = (text(Library::Other), text(Library::Core));
    let told = |seconds| format!("max_stream_duration: {seconds}s");
    assert!(other.contains(&told(1)) && other.contains(&told(30)));
    assert_eq!(core, other.replace(&told(1), &told(3)).replace(&told(30), &told(32)));
}
