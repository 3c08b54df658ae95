//! Which line a field path has.

use super::{CONFIG, SERVICE, accepted};
use crate::manifest::parse;
use crate::violation::{Reason, Violation};

#[test]
fn a_path_has_the_line_of_its_longest_prefix_that_exists() {
    let all = accepted(&format!("{SERVICE}---\n{CONFIG}"));
    let line = |index: usize, field: &str| all[index].line(field);
    assert_eq!(line(0, "spec.ports[0].port"), 8);
    assert_eq!(line(0, "spec.ports[0].targetPort"), 9);
    assert_eq!(line(0, "spec.ports[0].protocol"), 8);
    assert_eq!(line(0, "spec.ports[7]"), 7);
    assert_eq!(line(0, "spec.vips[0]"), 6);
    assert_eq!(line(0, "spec.onNoBackend"), 5);
    assert_eq!(line(0, ""), 1);
    assert_eq!(line(0, "nonsense[[.."), 1);
    assert_eq!(line(1, "metadata.labels.app.example/name"), 13);
    assert_eq!(line(1, "spec.trafficRules"), 15);
    assert_eq!(line(1, "spec.trafficRules[1].destination"), 18);
    assert_eq!(line(1, "spec.trafficRules[1].destination.version"), 19);
    assert_eq!(line(1, "spec.trafficRules[1].weight"), 20);
}

#[test]
fn a_violation_from_the_control_plane_is_shown_at_its_line() {
    let one = parse("dir/one.yaml", SERVICE).expect("valid").remove(0);
    let two = parse("dir/two.yaml", CONFIG).expect("valid").remove(0);
    let violation = |field: &str, message: &str| Violation {
        object: None,
        index: 0,
        field: field.to_owned(),
        message: message.to_owned(),
        reason: Reason::Conflict,
    };
    let vip = violation("spec.vips[0]", "claimed by Service default/other");
    assert_eq!(
        one.violation(&vip).to_string(),
        "dir/one.yaml:6: Service default/reviews: spec.vips[0]: claimed by Service default/other"
    );
    let rule = violation("spec.trafficRules[1].destination", "no such version");
    assert_eq!(
        two.violation(&rule).to_string(),
        "dir/two.yaml:8: ServiceConfig prod/reviews: spec.trafficRules[1].destination: no such version"
    );
}

#[test]
fn behind_an_alias_the_line_is_where_the_value_is_written() {
    let text = "\
apiVersion: mesh.dev/v1alpha1
kind: Service
metadata:
  name: &name
    reviews
spec:
  vips: [10.96.0.10]
  ports:
  - port: 80
    name: *name
";
    let found = accepted(text);
    let line = |field: &str| found[0].line(field);
    assert_eq!(line("spec.ports[0].name"), 5);
    assert_eq!(line("spec.ports[0].port"), 9);
}

#[test]
fn json_is_yaml() {
    let text = "{\n\t\"apiVersion\": \"mesh.dev/v1alpha1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"reviews\"},\n\t\"spec\": {\"vips\": [\"10.96.0.10\"],\n\t\t\"ports\": [{\"port\": 80}]}\n}\n";
    let found = accepted(text);
    assert_eq!(found[0].line("spec.ports[0].port"), 6);
}

#[test]
fn empty_documents_are_skipped_and_comments_are_fine() {
    assert_eq!(accepted("").len(), 0);
    assert_eq!(accepted("# nothing\n").len(), 0);
    let text = format!("\u{feff}---\n# a\n---\n{SERVICE}\n---\n---\n{CONFIG}...\n");
    let found = accepted(&text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].line("spec.ports[0].port"), 11);
    let dos = accepted(&SERVICE.replace('\n', "\r\n"));
    assert_eq!(dos[0].line("spec.ports[0].targetPort"), 9);
}

#[test]
fn defaults_and_versions_of_the_metadata() {
    let metadata = |text: &str| accepted(text)[0].object().metadata.clone().expect("metadata");
    assert_eq!(metadata(SERVICE).namespace, "default");
    for written in ["12", "\"12\""] {
        let text = SERVICE
            .replace("name: reviews", &format!("name: reviews\n  resourceVersion: {written}"));
        assert_eq!(metadata(&text).resource_version, 12);
    }
    let empty = SERVICE.replace("name: reviews", "name: reviews\n  labels:\n  namespace:");
    assert_eq!(metadata(&empty), metadata(SERVICE));
}

#[test]
fn a_list_is_its_items() {
    let indented = |text: &str| text.trim_end().replace('\n', "\n  ");
    let text = format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: List\nitems:\n- {}\n- {}\n",
        indented(SERVICE),
        indented(CONFIG)
    );
    let found = accepted(&text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].line("spec.ports[0].port"), 11);
    assert_eq!(
        super::refused(&text.replace("port: 80\n", "port: 0\n")),
        ["a.yaml:11: Service default/reviews: spec.ports[0].port: 0 is not a port: use 1 to 65535"]
    );
}
