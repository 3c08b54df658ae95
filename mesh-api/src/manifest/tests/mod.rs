//! Tests of manifests: what is refused and how it is said, positions, and the way back.

mod bad_input;
mod hostile;
mod mixed;
mod positions;
mod resilience;
mod round_trip;

use super::{Located, Problems, parse};

/// What `parse` says, one line each.
fn refused(text: &str) -> Vec<String> {
    let problems = parse("a.yaml", text).expect_err("refused");
    lines(&problems)
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

fn accepted(text: &str) -> Vec<Located> {
    match parse("a.yaml", text) {
        Ok(found) => found,
        Err(problems) => panic!("refused:\n{problems}"),
    }
}

const SERVICE: &str = "\
apiVersion: mesh.dev/v1alpha1
kind: Service
metadata:
  name: reviews
spec:
  vips: [10.96.0.10]
  ports:
  - port: 80
    targetPort: 8080
";

const CONFIG: &str = "\
apiVersion: mesh.dev/v1alpha1
kind: ServiceConfig
metadata: {name: reviews, namespace: prod, labels: {app.example/name: reviews}}
spec:
  trafficRules:
  - destination: {version: v1}
    weight: 90
  - destination:
      version: v2
    weight: 10
";
