//! Objects: apply, get, describe, diff, history, rollback, delete against a control plane.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::sync::mpsc;
use std::time::Duration;

use crate::control::{Control, REVIEWS, SPLIT};
use crate::run::{command, feed, run_in, signal};

#[test]
fn apply_says_what_became_of_each_object() {
    let control = Control::start();
    assert_eq!(
        control.apply(REVIEWS, &[]).quiet(),
        "service/reviews created (revision 1)\n\
         endpoint/one created (revision 1)\n\
         endpoint/two created (revision 1)\n"
    );
    assert_eq!(
        control.apply(SPLIT, &["--dry-run"]).quiet(),
        "serviceconfig/reviews created (dry run)\n"
    );
    control.run(&["get", "sc/reviews"]).code(4);
    assert_eq!(control.apply(SPLIT, &["-o", "name"]).quiet(), "serviceconfig/reviews\n");
    let both = format!("{}---\n{REVIEWS}", SPLIT.replace("weight: 10", "weight: 50"));
    assert_eq!(
        control.apply(&both, &[]).quiet(),
        "serviceconfig/reviews configured (revision 3)\n\
         service/reviews unchanged (revision 1)\n\
         endpoint/one unchanged (revision 1)\n\
         endpoint/two unchanged (revision 1)\n"
    );
}

#[test]
fn what_collides_is_refused_with_its_line_and_nothing_is_stored() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    let folder = control.folder.path();
    let other = REVIEWS.replace("reviews", "ratings").replace("name: one", "name: three");
    fs::write(folder.join("other.yaml"), other).expect("written");
    let run = run_in(folder, &control.server, &["apply", "-f", "other.yaml"]).code(5);
    let claimed = "other.yaml:6: Service default/ratings: spec.vips[0]: ";
    assert!(run.err.starts_with(claimed), "{run:?}");
    assert!(run.err.ends_with("error: nothing was stored\n"), "{run:?}");
    control.run(&["get", "svc/ratings"]).code(4);

    let nowhere = SPLIT.replace("version: v2", "service: nowhere");
    fs::write(folder.join("rules.yaml"), nowhere).expect("written");
    let run = run_in(folder, &control.server, &["apply", "-f", "rules.yaml"]).code(2);
    let missing = "rules.yaml:11: ServiceConfig default/reviews: spec.trafficRules[1].destination";
    assert!(run.err.starts_with(missing), "{run:?}");

    let stale = SPLIT.replace("name: reviews", "name: reviews\n  resourceVersion: 7");
    let run = control.apply(&stale, &[]).code(5);
    assert!(run.err.starts_with("<stdin>:5: "), "{run:?}");
}

#[test]
fn get_prints_tables_and_manifests_that_apply_reads() {
    let control = Control::start();
    let none = control.run(&["get", "svc"]).code(0);
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", "no services in namespace default\n"));
    control.apply(&format!("{REVIEWS}---\n{SPLIT}  acceleration: On\n"), &[]).code(0);
    assert_eq!(
        control.run(&["get", "services"]).quiet(),
        "NAME      VIPS         PORTS          REVISION\n\
         reviews   10.96.0.10   80->8080/TCP   1\n"
    );
    assert_eq!(
        control.run(&["get", "ep", "one", "two"]).quiet(),
        "NAME   SERVICE   VERSION   ADDRESS    STATE     WEIGHT   REVISION\n\
         one    reviews   v1        10.0.0.1   Serving   1        1\n\
         two    reviews   v2        10.0.0.2   Serving   1        1\n"
    );
    assert_eq!(
        control.run(&["get", "sc", "-A"]).quiet(),
        "NAMESPACE   NAME      RULES           POLICY   REVISION\n\
         default     reviews   v1=90%,v2=10%   Random   1\n"
    );
    assert!(control.run(&["get", "ep", "-o", "wide"]).quiet().contains("WORKLOAD"));
    assert_eq!(control.run(&["get", "ep", "-o", "name"]).quiet(), "endpoint/one\nendpoint/two\n");
    for args in [
        &["get", "svc/reviews", "-o", "yaml"][..],
        &["get", "svc/reviews", "-o", "json"],
        &["get", "ep", "-o", "yaml"],
        &["get", "ep", "-o", "json"],
        &["get", "sc/reviews", "-o", "yaml"],
        &["describe", "sc/reviews", "-o", "yaml"],
    ] {
        let manifest = control.run(args).quiet();
        // That no endpoint says where it is: a warning.
        let again = feed(&control.server, &["apply", "-f", "-"], &manifest).code(0).out;
        assert!(again.lines().all(|line| line.ends_with("unchanged (revision 1)")), "{again}");
    }
    let described = control.run(&["describe", "svc", "reviews"]).quiet();
    assert!(described.contains("\nAcceleration:        On\n"), "{described}");
    assert!(described.contains("v1            90       90%     1"), "{described}");
    assert!(described.contains("one    10.0.0.1   v1"), "{described}");
    let described = control.run(&["describe", "ep/one"]).quiet();
    assert!(described.contains("Address:         10.0.0.1"), "{described}");
    let missing = control.run(&["describe", "ep/none"]).code(4);
    assert!(missing.err.contains("default/none"), "{missing:?}");
}

/// Both families, TCP and UDP on one port, and what there is to say of a config.
const DUAL: &str = "\
apiVersion: mesh.dev/v1alpha1
kind: Service
metadata: {name: dns}
spec:
  vips: [10.96.0.53, 'fd00::53']
  ports: [{name: dns, port: 53}, {name: dns-udp, port: 53, protocol: UDP}]
  refuseErrno: ECONNREFUSED
  sessionAffinity: {key: Workload}
---
apiVersion: mesh.dev/v1alpha1
kind: ServiceConfig
metadata: {name: dns}
spec:
  loadBalancer: {policy: Maglev, locality: {mode: Strict}}
  drainTimeout: 30s
---
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata: {name: six}
spec: {service: dns, address: 'FD00:0::1'}
";

#[test]
fn what_does_not_work_yet_is_a_warning_with_its_line() {
    let control = Control::start();
    fs::write(control.folder.path().join("dns.yaml"), DUAL).expect("written");
    let apply = ["apply", "-f", "dns.yaml", "-o", "name"];
    let run = run_in(control.folder.path(), &control.server, &apply).code(0);
    assert_eq!(run.out, "service/dns\nserviceconfig/dns\nendpoint/six\n");
    assert_eq!(
        run.err,
        "Warning: dns.yaml:5: Service default/dns: spec.vips[0]: connections to 10.96.0.53 find \
         no backend: no endpoint of Service default/dns has an IPv4 address\n\
         Warning: dns.yaml:14: ServiceConfig default/dns: spec.loadBalancer.locality.mode: with \
         locality mode Strict and scope Node, connections to Service default/dns find no \
         backend: no endpoint states a node\n"
    );
    let args = ["diff", "-f", "dns.yaml"];
    let diff = run_in(control.folder.path(), &control.server, &args).code(0);
    assert_eq!((diff.out.as_str(), diff.err), ("", run.err));
}

#[test]
fn both_families_and_both_protocols_are_shown() {
    let control = Control::start();
    control.apply(DUAL, &[]).code(0);
    assert_eq!(
        control.run(&["get", "svc", "-o", "wide"]).quiet(),
        "NAME   VIPS                  PORTS           NO-BACKEND              AFFINITY          REVISION   LABELS\n\
         dns    10.96.0.53,fd00::53   53/TCP,53/UDP   Refuse (ECONNREFUSED)   Workload for 3h   1          -\n"
    );
    assert_eq!(
        control.run(&["get", "sc", "-o", "wide"]).quiet(),
        "NAME   RULES   POLICY                       LOCALITY        DRAIN-TIMEOUT   HEALTH-CHECK   BREAKER   OUTLIER   TIMEOUTS   REVISION   LABELS\n\
         dns    -       Maglev by NetworkNamespace   Strict (Node)   30s             -              -         -         -          1          -\n"
    );
    let listed = control.run(&["get", "ep"]).quiet();
    assert!(listed.contains("six    dns       -         fd00::1   Serving"), "{listed}");
    let described = control.run(&["describe", "svc/dns"]).quiet();
    assert!(described.contains("Affinity:            Workload for 3h\n"), "{described}");
    let described = control.run(&["describe", "sc/dns"]).quiet();
    assert!(described.contains("Traffic rules: none"), "{described}");
    for kind in ["svc/dns", "sc/dns", "ep/six"] {
        let manifest = control.run(&["get", kind, "-o", "yaml"]).quiet();
        let again = control.apply(&manifest, &[]).code(0);
        assert!(again.out.ends_with("unchanged (revision 1)\n"), "{again:?}");
    }
}

#[test]
fn diff_ends_like_diff() {
    let control = Control::start();
    control.apply(&format!("{REVIEWS}---\n{SPLIT}"), &[]).quiet();
    let args = ["diff", "-f", "-"];
    assert_eq!(feed(&control.server, &args, SPLIT).quiet(), "");
    let changed = SPLIT.replace("weight: 90", "weight: 50");
    let run = feed(&control.server, &args, &changed).code(1);
    assert!(run.out.contains("-    weight: 90\n+    weight: 50\n"), "{run:?}");
    assert_eq!(run.err, "");
    for (format, said) in [
        ("name", "serviceconfig/reviews\n"),
        ("json", "\"action\": \"configured\""),
        ("yaml", "action: configured\n"),
    ] {
        let args = ["diff", "-f", "-", "-o", format];
        let run = feed(&control.server, &args, &changed).code(1);
        assert!(run.out.contains(said), "{run:?}");
        let none = feed(&control.server, &args, SPLIT).quiet();
        assert!(!none.contains("reviews"), "{none}");
    }
    feed(&control.server, &args, "kind: Nothing").code(2);
    let stored = control.run(&["get", "sc/reviews", "-o", "yaml"]).quiet();
    assert!(stored.contains("weight: 90"), "{stored}");
}

#[test]
fn history_and_rollback() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    for weight in ["10", "20", "30"] {
        control.apply(&SPLIT.replace("weight: 10", &format!("weight: {weight}")), &[]).quiet();
    }
    let history = control.run(&["history", "sc", "reviews"]).quiet();
    let lines: Vec<_> = history.lines().collect();
    assert_eq!(lines.len(), 4, "{history}");
    assert!(
        lines[1].starts_with("4 ") && lines[1].ends_with("configured   v1=75%,v2=25%"),
        "{history}"
    );
    assert!(
        lines[3].starts_with("2 ") && lines[3].ends_with("created      v1=90%,v2=10%"),
        "{history}"
    );

    let names = control.run(&["history", "sc", "reviews", "-o", "name"]).quiet();
    assert_eq!(names, "revision/4\nrevision/3\nrevision/2\n");
    assert_eq!(
        control.run(&["rollback", "sc", "reviews"]).quiet(),
        "serviceconfig/reviews configured (revision 5)\n"
    );
    assert_eq!(
        control.run(&["rollback", "sc/reviews", "--to-revision", "2"]).quiet(),
        "serviceconfig/reviews configured (revision 6)\n"
    );
    let now = control.run(&["get", "sc/reviews"]).quiet();
    assert!(now.contains("v1=90%,v2=10%"), "{now}");
    let json = control.run(&["history", "sc/reviews", "-o", "json"]).quiet();
    assert!(json.contains("\"revision\": 6"), "{json}");
    let first = control.run(&["rollback", "svc/reviews"]).code(1);
    assert!(
        first.err.starts_with("error: nothing is known of Service default/reviews"),
        "{first:?}"
    );
    control.run(&["history", "sc/none"]).code(4);
    control.run(&["rollback", "sc/none"]).code(4);
}

#[test]
fn delete_by_name_and_by_manifest() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    assert_eq!(
        control.run(&["delete", "ep/one", "--dry-run"]).quiet(),
        "endpoint/one deleted (dry run)\n"
    );
    assert_eq!(
        control.run(&["delete", "ep", "one"]).quiet(),
        "endpoint/one deleted (revision 2)\n"
    );
    control.run(&["delete", "ep", "one"]).code(4);
    // All or nothing.
    control.run(&["delete", "ep", "two", "one"]).code(4);
    control.run(&["get", "ep", "two"]).quiet();
    control.apply(REVIEWS, &[]).quiet();
    let deleted = feed(&control.server, &["delete", "-f", "-"], REVIEWS).quiet();
    assert_eq!(deleted.lines().count(), 3, "{deleted}");
    control.run(&["get", "svc/reviews"]).code(4);
}

#[test]
fn a_watch_shows_changes_also_after_a_restart_of_the_control_plane() {
    let mut control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    let mut child =
        command(&control.server, &["get", "ep", "-w", "-o", "json"]).spawn().expect("runs");
    let stdout = child.stdout.take().expect("piped");
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            sender.send(line.expect("UTF-8")).expect("open");
        }
    });
    let next = |event: &str, name: &str| {
        let line = lines.recv_timeout(Duration::from_secs(10)).expect("a line");
        let start = format!("{{\"event\":\"{event}\",");
        assert!(line.starts_with(&start), "{line}");
        assert!(line.contains(&format!("\"name\":\"{name}\"")), "{line}");
    };
    next("ADDED", "one");
    next("ADDED", "two");
    control.apply(&REVIEWS.replace("10.0.0.2", "10.0.0.3"), &[]).quiet();
    next("MODIFIED", "two");
    control = control.restart();
    control.run(&["delete", "ep/one"]).quiet();
    next("DELETED", "one");
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    reader.join().expect("reader");
}
