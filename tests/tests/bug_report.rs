//! `meshctl bug-report`: one archive with what the mesh knows of itself, in which none of the secrets can
//! be found that stand in flags, objects and logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use mesh_tests::bins;
use mesh_tests::control::ControlPlane;
use mesh_tests::load::Mode;
use mesh_tests::meshctl::Meshctl;
use mesh_tests::node::Node;
use mesh_tests::testbed::{SMALL, Testbed, VIP, backend, namespace};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

/// What must not be found.
const SECRETS: [&str; 5] = [
    "hunter2-of-the-agent",
    "hunter2-of-the-control-plane",
    "t0p-secret-path",
    "s3cr3t-label-value",
    "hunter2inthelog",
];

/// Objects with secrets in them.
const MANIFEST: &str = "
apiVersion: mesh.dev/v1alpha1
kind: Service
metadata: {name: web, labels: {vault-token: s3cr3t-label-value, app: shop}}
spec: {vips: [10.96.0.10], ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata: {name: web-v1}
spec: {service: web, version: v1, address: 10.77.1.1}
---
apiVersion: mesh.dev/v1alpha1
kind: ServiceConfig
metadata: {name: web}
spec: {healthCheck: {http: {path: '/ready?access_token=t0p-secret-path'}, interval: 1s}}
";

/// The files of an archive, as another program unpacks it.
fn unpack(archive: &Path, into: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    fs::create_dir_all(into)?;
    let tar = bins::in_path("tar").context("needs `tar`: apt-get install tar")?;
    let status = Command::new(tar).arg("-xzf").arg(archive).arg("-C").arg(into).status()?;
    anyhow::ensure!(status.success(), "tar: {status}");
    let mut files = BTreeMap::new();
    let root = into.join("meshctl-bug-report");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root)?.to_string_lossy().into_owned();
                files.insert(name, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(files)
}

fn with_password(who: &str) -> String {
    format!("http://me:hunter2-of-{who}@127.0.0.1:9")
}

#[test]
fn a_report_has_everything_but_secrets() -> anyhow::Result<()> {
    let netns = namespace("bug")?;
    let otlp = with_password("the-control-plane");
    let control = ControlPlane::start_with(&netns, &["--otlp-endpoint", &otlp])?;
    let otlp = with_password("the-agent");
    let mut node =
        Node::prepare(&netns, "bug", &[&SMALL[..], &["--otlp-endpoint", &otlp]].concat())?;
    node.run()?;
    node.wait_ready()?;
    let bed = Testbed { meshctl: Meshctl::new(&netns)?, node, control, netns };
    let file = bed.meshctl.scratch().join("objects.yaml");
    fs::write(&file, MANIFEST)?;
    bed.meshctl.ok(&["apply", "--wait", "-f", &file.to_string_lossy()])?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Greet), 5)?;
    // A line of the log that says what it should not.
    let level = "info,mesh_agent[{password=hunter2inthelog}]=debug";
    eventually(|| match bed.meshctl.run(&["log", "bug", "--level", level]) {
        Ok(said) if said.code == Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;

    let archive = bed.meshctl.scratch().join("report.tar.gz");
    let path = archive.to_string_lossy().into_owned();
    let said = bed.meshctl.ok(&["bug-report", "-f", &path])?;
    assert!(said.stderr.contains("node bug (1 of 1)"), "{said:?}");
    let files = unpack(&archive, &bed.meshctl.scratch().join("one"))?;
    for name in [
        "README.txt",
        "control-plane/flags.txt",
        "control-plane/health.json",
        "control-plane/history.json",
        "control-plane/log.txt",
        "control-plane/metrics.txt",
        "control-plane/objects/endpoint.json",
        "control-plane/objects/service.json",
        "control-plane/objects/serviceconfig.json",
        "control-plane/status.json",
        "control-plane/traffic-by-edge.json",
        "nodes/bug/diff.json",
        "nodes/bug/dump.txt",
        "nodes/bug/flags.txt",
        "nodes/bug/log.txt",
        "nodes/bug/machine.txt",
        "nodes/bug/metrics.txt",
        "nodes/bug/status.json",
        "nodes/bug/version.txt",
    ] {
        assert!(
            files.get(name).is_some_and(|text| !text.is_empty()),
            "no {name} in {:?}",
            files.keys()
        );
    }
    assert!(!files.contains_key("missing.txt"));
    for (name, text) in &files {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {name}:\n{text}");
        }
    }
    // They have been there.
    assert!(files["nodes/bug/flags.txt"].contains("--otlp-endpoint http://[redacted]@127.0.0.1:9"));
    assert!(files["control-plane/flags.txt"].contains("--otlp-endpoint http://[redacted]@"));
    let service: Value = serde_json::from_str(&files["control-plane/objects/service.json"])?;
    let text = service.to_string();
    assert!(text.contains("[redacted]") && text.contains("\"app\":\"shop\""), "{text}");
    assert!(files["control-plane/objects/serviceconfig.json"].contains("access_token=[redacted]"));
    assert!(files["nodes/bug/dump.txt"].contains("FRONTEND 10.96.0.10:80/TCP"));
    let changed =
        files["nodes/bug/log.txt"].lines().find(|line| line.contains("the log was changed"));
    assert!(changed.is_some_and(|line| line.contains("{password=[redacted]")), "{changed:?}");
    assert!(files["nodes/bug/log-level.txt"].contains("{password=[redacted]"));
    let diff: Value = serde_json::from_str(&files["nodes/bug/diff.json"])?;
    assert_eq!(diff["inSync"], true, "{diff}");

    // Nothing is overwritten, and nobody else can read it.
    let said = bed.meshctl.run(&["bug-report", "-f", &path])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&archive)?.permissions());
    assert_eq!(mode & 0o777, 0o600);

    // A node that does not answer is named, and the rest is there; addresses have other names.
    let second = bed.meshctl.scratch().join("second.tar.gz");
    let path = second.to_string_lossy().into_owned();
    let nodes = ["--node", "bug", "--node", "gone", "--since", "1h", "--redact-addresses"];
    let said = bed.meshctl.run(&[&["bug-report", "-f", &path], &nodes[..]].concat())?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("nodes/gone: there is no node gone"), "{said:?}");
    let files = unpack(&second, &bed.meshctl.scratch().join("two"))?;
    assert!(files["missing.txt"].contains("nodes/gone"), "{:?}", files["missing.txt"]);
    for (name, text) in &files {
        for address in [VIP.ip().to_string(), backend(0).to_string()] {
            assert!(!text.contains(&address), "{address} in {name}:\n{text}");
        }
    }
    Ok(())
}
