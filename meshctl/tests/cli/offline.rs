//! What needs no control plane: bad manifests, usage, and that it is not there.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::run::{NOWHERE, command, feed, run, run_in, signal};

const SERVICE: &str = "\
apiVersion: mesh.dev/v1alpha1
kind: Service
metadata:
  name: reviews
spec:
  vips: [10.96.0.10]
  ports:
  - port: 80
";

/// Applies one manifest called `bad.yaml`, which must be refused as invalid.
#[track_caller]
fn refused(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("bad.yaml"), text).expect("written");
    let start = Instant::now();
    let run = run_in(folder.path(), NOWHERE, &["apply", "-f", "bad.yaml"]).code(2);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(run.out, "");
    let mut lines: Vec<_> = run.err.lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some("error: nothing was stored"));
    lines
}

#[test]
fn bad_input_is_refused_with_file_line_and_field() {
    let name = "r".repeat(300);
    for (from, to, said) in [
        (
            "port: 80",
            "prot: 80",
            "bad.yaml:8: Service default/reviews: spec.ports[0].prot: unknown field",
        ),
        (
            "port: 80",
            "port: http",
            "bad.yaml:8: Service default/reviews: spec.ports[0].port: expected a whole number",
        ),
        (
            "port: 80",
            "port: 0",
            "bad.yaml:8: Service default/reviews: spec.ports[0].port: 0 is not a port",
        ),
        (
            "reviews",
            &name,
            "bad.yaml:4: Service default/rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr…: \
             metadata.name: 300 characters long",
        ),
        (
            "vips: [10.96.0.10]",
            "vips: [10.96.0.10, 10.96.0.10]",
            "bad.yaml:6: Service default/reviews: spec.vips[1]: 10.96.0.10 is listed twice",
        ),
        ("  vips", "  - vips", "bad.yaml:7:3: "),
    ] {
        let lines = refused(&SERVICE.replace(from, to));
        assert!(lines[0].starts_with(said), "{lines:?}");
    }
}

#[test]
fn a_weight_sum_of_zero_is_refused_at_its_line() {
    let text = "\
apiVersion: mesh.dev/v1alpha1
kind: ServiceConfig
metadata: {name: reviews}
spec:
  trafficRules:
  - {destination: {version: v1}, weight: 0}
";
    let said = "bad.yaml:5: ServiceConfig default/reviews: spec.trafficRules: the weights add up";
    let lines = refused(text);
    assert!(lines[0].starts_with(said), "{lines:?}");
}

#[test]
fn bombs_and_giants_are_refused_quickly() {
    let lines: Vec<_> = (1..30)
        .map(|level| {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            format!("a{level}: &a{level} [{list}]")
        })
        .collect();
    let said = refused(&format!("a0: &a0 [x]\n{}", lines.join("\n")));
    assert!(said[0].contains("aliases stand for too much"), "{said:?}");
    refused(&"[".repeat(1_000_000));
    let giant = format!("{SERVICE}#{}", "x".repeat(10 << 20));
    let too_large = "larger than a manifest may be (4194304 bytes): split it";
    assert_eq!(refused(&giant), [format!("bad.yaml: {too_large}")]);
    let run = feed(NOWHERE, &["apply", "-f", "-"], &giant).code(2);
    assert!(run.err.contains(&format!("<stdin>: {too_large}")), "{run:?}");
}

#[test]
fn all_files_are_checked_and_the_same_object_in_two_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    fs::create_dir(folder.path().join("mesh")).expect("folder");
    write("mesh/a.yaml", SERVICE);
    write("mesh/b.yml", SERVICE);
    write("mesh/c.json", "{\"kind\": \"Service\"}");
    write("mesh/ignored.txt", "not: [yaml");
    let run = run_in(folder.path(), NOWHERE, &["apply", "-f", "mesh", "-f", "mesh/a.yaml"]).code(2);
    let lines: Vec<_> = run.err.lines().collect();
    let again = "Service default/reviews: metadata.name: already given at mesh/a.yaml:4";
    assert!(lines.contains(&format!("mesh/b.yml:4: {again}").as_str()), "{lines:?}");
    assert!(lines.contains(&format!("mesh/a.yaml:4: {again}").as_str()), "{lines:?}");
    let missing = "mesh/c.json:1: metadata: required: a mapping with name";
    assert!(lines.contains(&missing), "{lines:?}");
}

#[test]
fn more_objects_than_one_request_takes_are_refused_before_they_are_sent() {
    let object = |at: usize| {
        format!(
            "{{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {{name: e-{at}}}, spec: {{service: a, address: 10.0.0.1}}}}\n---\n"
        )
    };
    let many: String = (0..10_001).map(object).collect();
    for (verb, hint) in [
        ("apply", "apply them in parts, ServiceConfigs after the services"),
        ("diff", "apply them in parts, ServiceConfigs after the services"),
        ("delete", "delete them in parts, ServiceConfigs before the services"),
    ] {
        let run = feed(NOWHERE, &[verb, "-f", "-"], &many).code(2);
        let said = "error: 10001 objects, and the control plane takes 10000 at once: ";
        assert!(run.err.starts_with(said), "{}", run.err);
        assert!(run.err.contains(hint), "{}", run.err);
    }
}

#[test]
fn a_control_plane_that_hangs_ends_with_124_at_the_timeout() {
    // Connections come up, and never a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("address").to_string();
    for args in [
        &["status"][..],
        &["get", "svc"],
        &["get", "svc", "-w"],
        &["describe", "svc/a"],
        &["register", "--service", "a", "--address", "10.0.0.1"],
        &["register", "--service", "a", "--address", "10.0.0.1", "--heartbeat"],
        &["apply", "-f", "-", "--wait"],
        &["diff", "-f", "-"],
    ] {
        let args: Vec<_> = args.iter().copied().chain(["--timeout", "200ms"]).collect();
        let start = Instant::now();
        let run = feed(&address, &args, SERVICE).code(124);
        assert!(start.elapsed() < Duration::from_secs(20), "{args:?}");
        assert!(run.err.contains("did not answer in time (--timeout)"), "{run:?}");
    }
}

#[test]
fn files_that_cannot_be_read_or_hold_nothing_are_usage_errors() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let missing = run(NOWHERE, &["apply", "-f", &path("none.yaml")]).code(2);
    assert!(missing.err.contains("none.yaml: No such file"), "{missing:?}");
    let empty = run(NOWHERE, &["apply", "-f", &path("")]).code(2);
    assert!(empty.err.contains("no file ends with"), "{empty:?}");
    let nothing = feed(NOWHERE, &["apply", "-f", "-"], "# nothing\n---\n").code(2);
    assert!(nothing.err.contains("no objects in -"), "{nothing:?}");
}

#[test]
fn usage_errors_end_with_2() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["apply"],
        &["get"],
        &["get", "pods"],
        &["get", "svc", "Not_A_Name"],
        &["get", "svc", "a", "-A"],
        &["get", "svc", "-n", "Default"],
        &["get", "svc", "-o", "xml"],
        &["describe", "svc"],
        &["describe", "svc", "a", "b"],
        &["delete"],
        &["delete", "svc"],
        &["delete", "svc", "a", "-f", "x"],
        &["history", "svc"],
        &["rollback", "sc", "a", "--to-revision", "0"],
        &["rollback", "sc", "a", "--dry-run", "--wait"],
        &["apply", "-f", "x", "--timeout", "soon"],
        &["register", "--service", "a"],
        &["register", "--service", "a", "--address", "nowhere"],
        &["register", "--service", "a", "--address", "10.0.0.1", "--port", "80"],
        &["deregister", "svc/a"],
        &["health", "ep/a"],
        &["health", "a", "b"],
        &["health", "-n", "Default"],
        &["diff"],
        &["diff", "n1"],
        &["diff", "node/"],
        &["diff", "node/n1", "-f", "x"],
        &["completion", "cmd.exe"],
    ] {
        let run = run(NOWHERE, args).code(2);
        assert_eq!(run.out, "", "{args:?}");
        assert_ne!(run.err, "", "{args:?}");
    }
    let run = run("https://127.0.0.1:1", &["status"]).code(2);
    assert!(run.err.contains("TLS"), "{run:?}");
    crate::run::run("http://[nonsense", &["status"]).code(2);
}

#[test]
fn an_unreachable_control_plane_ends_with_3_and_says_where_it_was_sought() {
    for args in [
        &["get", "svc"][..],
        &["get", "svc", "-w"],
        &["get", "svc/a"],
        &["describe", "ep", "a"],
        &["delete", "svc/a"],
        &["history", "sc/a"],
        &["rollback", "sc/a"],
        &["status"],
        &["health"],
        &["health", "a", "--watch"],
        &["register", "--service", "a", "--address", "10.0.0.1"],
        &["register", "--service", "a", "--address", "10.0.0.1", "--heartbeat"],
        &["deregister", "a"],
    ] {
        let run = run(NOWHERE, args).code(3);
        assert_eq!(run.out, "", "{args:?}");
        for hint in [NOWHERE, "refused", "--server", "MESH_SERVER"] {
            assert!(run.err.contains(hint), "{run:?}");
        }
    }
    for verb in ["apply", "diff"] {
        feed(NOWHERE, &[verb, "-f", "-"], SERVICE).code(3);
    }
    let mut by_environment = command(NOWHERE, &[]);
    by_environment.args(["status"]).env("MESH_SERVER", "127.0.0.1:2");
    let run = crate::run::Run::from(by_environment.output().expect("runs"));
    // The flag is nearer than the environment.
    assert!(run.err.contains(NOWHERE), "{run:?}");
}

#[test]
fn version_and_completions_need_nothing() {
    let version = run(NOWHERE, &["version"]).quiet();
    assert_eq!(version, format!("meshctl {} (mesh.dev/v1alpha1)\n", env!("CARGO_PKG_VERSION")));
    let json = run(NOWHERE, &["version", "-o", "json"]).quiet();
    assert!(json.contains("\"apiVersion\": \"mesh.dev/v1alpha1\""), "{json}");
    run(NOWHERE, &["--version"]).quiet();
    let help = run(NOWHERE, &["--help"]).quiet();
    assert!(help.contains("Exit codes"), "{help}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(NOWHERE, &["completion", shell]).quiet();
        assert!(script.contains("rollback"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_not_worth_a_word() {
    let mut child = command(NOWHERE, &["completion", "bash"]).spawn().expect("runs");
    drop(child.stdout.take());
    let mut err = String::new();
    let stderr = child.stderr.take().expect("piped");
    BufReader::new(stderr).read_to_string(&mut err).expect("UTF-8");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert_eq!(err, "");
}

#[test]
fn ctrl_c_ends_with_130() {
    // Accepts, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("address").to_string();
    let mut child = command(&address, &["status"]).stderr(Stdio::inherit()).spawn().expect("runs");
    let (stream, _) = silent.accept().expect("connection");
    // Its first bytes come when it is in the middle of a call.
    let mut reader = BufReader::new(stream);
    assert!(!reader.fill_buf().expect("bytes").is_empty());
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
}
