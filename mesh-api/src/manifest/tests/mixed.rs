//! Wrong types and wrong values in one object: all of both are said, and nothing that only comes
//! from what could not be read.

use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};
use serde_json::{Value, json};

use super::round_trip::object;
use super::{CONFIG, SERVICE, refused};
use crate::manifest::{Manifest, parse};

#[test]
fn a_wrong_type_hides_no_wrong_value() {
    let text = SERVICE
        .replace("name: reviews", "name: Reviews\n  labels: [a]")
        .replace("vips: [10.96.0.10]", "vips: [10.96.0.10, ff02::1]\n  onNoBackend: Refuze")
        .replace("port: 80\n", "port: 0\n")
        .replace("targetPort: 8080", "targetPort: web");
    let at = "Service default/Reviews";
    assert_eq!(
        refused(&text),
        [
            format!(
                "a.yaml:4: {at}: metadata.name: 'R' at position 0 is not allowed: use lower-case letters, digits and '-', beginning and ending with a letter or digit"
            ),
            format!("a.yaml:5: {at}: metadata.labels: expected a mapping, found a list"),
            format!("a.yaml:7: {at}: spec.vips[1]: ff02::1 is not the address of one host"),
            format!(
                "a.yaml:8: {at}: spec.onNoBackend: \"Refuze\" is not one of Refuse, PassThrough"
            ),
            format!("a.yaml:10: {at}: spec.ports[0].port: 0 is not a port: use 1 to 65535"),
            format!(
                "a.yaml:11: {at}: spec.ports[0].targetPort: expected a whole number from 0 to 4294967295, found the text \"web\""
            ),
        ]
    );
}

#[test]
fn what_only_comes_from_the_wrong_type_is_not_said() {
    let only = |text: &str| {
        let said = refused(text);
        assert_eq!(said.len(), 1, "{said:?}");
    };
    // A port is missing, because it is called something else.
    only(&SERVICE.replace("port: 80\n", "prot: 80\n"));
    // No address is left.
    only(&SERVICE.replace("[10.96.0.10]", "[10]"));
    only(&SERVICE.replace("[10.96.0.10]", "10.96.0.10"));
    // The sum of the weights is 0 without this one.
    only(&CONFIG.replace("weight: 90", "weight: heavy").replace("weight: 10", "weight: 0"));
    // Without their versions, two rules lead to the same.
    let both = CONFIG.replace("version:", "service: other, version:");
    let both = both.replace("      service: other, version: v2", "      service: other");
    only(&both.replace("version: v1", "version: 1"));
    // The policy may have been meant to be Maglev.
    let balancer = "spec:\n  loadBalancer: {policy: maglev, hashKey: Workload}";
    only(&CONFIG.replace("spec:", balancer));
    // The interval may have been meant to be longer than 10s, and the ejection shorter than 30s.
    let check =
        |interval: &str| format!("spec:\n  healthCheck: {{tcp: {{}}, {interval}, timeout: 20s}}");
    only(&CONFIG.replace("spec:", &check("interval: 30")));
    only(&CONFIG.replace("spec:", &check("intervall: 30s")));
    let outlier = "spec:\n  outlierDetection: {baseEjectionTime: 1, maxEjectionTime: 10s}";
    only(&CONFIG.replace("spec:", outlier));
    // The other one may have been meant to be looked at.
    let outlier = "spec:\n  outlierDetection: {consecutiveFailures: 0, failurePercentage: all}";
    only(&CONFIG.replace("spec:", outlier));
}

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// The ways to every value below `value`.
fn paths(value: &Value, at: &[Step], found: &mut Vec<Vec<Step>>) {
    let below: Vec<(Step, &Value)> = match value {
        Value::Object(entries) => {
            entries.iter().map(|(key, it)| (Step::Key(key.clone()), it)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, it)| (Step::Index(at), it)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    };
    for (step, child) in below {
        let path: Vec<Step> = at.iter().cloned().chain([step]).collect();
        paths(child, &path, found);
        found.push(path);
    }
}

fn step<'v>(value: &'v mut Value, step: &Step) -> &'v mut Value {
    match step {
        Step::Key(key) => &mut value[key],
        Step::Index(index) => &mut value[*index],
    }
}

/// The path as problems write it.
fn written(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => format!(".{key}"),
        Step::Index(index) => format!("[{index}]"),
    });
    format!("spec{}", steps.collect::<String>())
}

/// A manifest with one value of another type, or one field of another name, and its path.
fn damaged() -> impl Strategy<Value = (Value, String)> {
    (object(), any::<bool>(), any::<prop::sample::Index>()).prop_filter_map(
        "nothing to damage",
        |(object, rename, index)| {
            let mut manifest = serde_json::to_value(Manifest(&object)).ok()?;
            let mut found = Vec::new();
            paths(&manifest["spec"], &[], &mut found);
            let mut path = found.get(index.index(found.len().max(1)))?.clone();
            let last = path.pop()?;
            let parent = path.iter().fold(&mut manifest["spec"], step);
            if let (true, Step::Key(key)) = (rename, &last) {
                let entries = parent.as_object_mut()?;
                let value = entries.remove(key)?;
                let name = format!("{key}Z");
                entries.insert(name.clone(), value);
                path.push(Step::Key(name));
            } else {
                let place = step(parent, &last);
                *place = if place.is_number() { json!(["x"]) } else { json!(7) };
                path.push(last);
            }
            Some((manifest, written(&path)))
        },
    )
}

proptest! {
    #[test]
    fn one_damage_is_one_problem((manifest, field) in damaged()) {
        if let Err(problems) = parse("a.json", &manifest.to_string()) {
            for problem in &problems {
                let below = problem.field.strip_prefix(&field);
                prop_assert!(
                    below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])),
                    "{field} was damaged, and this is said: {problem}"
                );
            }
        }
    }
}
