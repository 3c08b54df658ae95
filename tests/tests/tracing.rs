//! One trace shows the way of a change from `meshctl apply` to the write of the maps, and whoever
//! receives traces, or does not, makes no difference to the mesh.

use std::collections::BTreeSet;
use std::net::TcpListener;

use anyhow::Context as _;
use mesh_tests::control::{self, ControlPlane};
use mesh_tests::http;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::meshctl::{Meshctl, Said};
use mesh_tests::metrics::Metrics;
use mesh_tests::node::Node;
use mesh_tests::otlp::{self, Receiver, Span};
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, backend, namespace};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a change that one node takes comes to: program, span, parent.
const SPANS: [(&str, &str, &str); 10] = [
    ("meshctl", "meshctl apply", ""),
    ("mesh-control", "api.Apply", "meshctl apply"),
    ("mesh-control", "validate", "api.Apply"),
    ("mesh-control", "store.commit", "api.Apply"),
    ("mesh-control", "snapshot", "api.Apply"),
    ("mesh-control", "xds.push", "api.Apply"),
    ("mesh-agent", "xds.receive", "xds.push"),
    ("mesh-agent", "compile", "xds.receive"),
    ("mesh-agent", "maps.write", "xds.receive"),
    ("mesh-agent", "xds.ack", "xds.receive"),
];

/// A testbed whose three programs send traces to [`otlp::ADDRESS`].
fn start(what: &str, flags: &[&str]) -> anyhow::Result<(Testbed, Receiver)> {
    start_with(what, flags, &[])
}

/// The same, with further flags of the agent.
fn start_with(
    what: &str,
    flags: &[&str],
    of_agent: &[&str],
) -> anyhow::Result<(Testbed, Receiver)> {
    let netns = namespace(what)?;
    let receiver = Receiver::start(&netns)?;
    let url = Receiver::url();
    let traced = [&["--otlp-endpoint", &url], flags].concat();
    let control = ControlPlane::start_with(&netns, &traced)?;
    let mut node = Node::prepare(&netns, what, &[SMALL.as_slice(), &traced, of_agent].concat())?;
    node.run()?;
    node.wait_ready()?;
    let mut meshctl = Meshctl::new(&netns)?;
    meshctl.set_env("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    Ok((Testbed { meshctl, node, control, netns }, receiver))
}

fn service(name: &str, n: u8) -> Manifest {
    let endpoint = format!("{name}-v1");
    let vip = std::net::SocketAddrV4::new(*VIP.ip(), VIP.port() + u16::from(n));
    Manifest::new().service(name, vip, PORT).endpoint(name, &endpoint, "v1", backend(n))
}

/// Applies, and says which trace that was.
fn apply(bed: &Testbed, manifest: &Manifest, wait: bool) -> anyhow::Result<String> {
    let file = bed.meshctl.file(manifest)?;
    let mut args = vec!["apply", "-v", "-f", &file];
    args.extend(wait.then_some("--wait"));
    trace_of(&bed.meshctl.ok(&args)?)
}

fn trace_of(said: &Said) -> anyhow::Result<String> {
    let line = said.stderr.lines().find_map(|line| line.strip_prefix("trace "));
    Ok(line.with_context(|| format!("no trace in {:?}", said.stderr))?.to_owned())
}

/// The trace once it is complete: with these spans and no others.
fn complete(
    receiver: &Receiver,
    trace: &str,
    wanted: &[(&str, &str, &str)],
) -> anyhow::Result<Vec<Span>> {
    let wanted: BTreeSet<(String, String, String)> = wanted
        .iter()
        .map(|(program, name, parent)| {
            ((*program).to_owned(), (*name).to_owned(), (*parent).to_owned())
        })
        .collect();
    eventually(|| {
        let spans = receiver.trace(trace);
        let seen: BTreeSet<_> = spans
            .iter()
            .map(|span| {
                let parent = spans.iter().find(|it| it.id == span.parent);
                let parent = parent.map_or(span.parent.as_str(), |it| it.name.as_str());
                (span.service.clone(), span.name.clone(), parent.to_owned())
            })
            .collect();
        let right = seen == wanted && spans.len() == wanted.len();
        right.then_some(()).ok_or_else(|| format!("wanted {wanted:#?}, got {spans:#?}"))
    })?;
    Ok(receiver.trace(trace))
}

fn dropped(bed: &Testbed) -> anyhow::Result<(f64, f64)> {
    let control = http::get_ok(&bed.netns, control::HTTP, "/metrics")?;
    let name = "mesh_trace_spans_dropped_total";
    Ok((Metrics::parse(&control).sum(name, &[]), bed.node.metrics()?.sum(name, &[])))
}

fn signal(bed: &Testbed, signal: Signal) -> anyhow::Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(bed.node.id()?)?), signal)?)
}

#[test]
fn one_trace_leads_from_apply_to_the_maps() -> anyhow::Result<()> {
    let (mut bed, receiver) = start("trace", &[])?;
    let trace = apply(&bed, &service("web", 0), true)?;
    let spans = complete(&receiver, &trace, &SPANS)?;
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap();

    for span in &spans {
        assert!(span.start <= span.end && !span.failed, "{span:#?}");
        assert!(span.links.is_empty(), "{span:#?}");
        if let Some(parent) = spans.iter().find(|it| it.id == span.parent) {
            assert!(parent.start <= span.start, "{parent:#?} began after {span:#?}");
        }
        if span.service == "mesh-agent" {
            assert_eq!(span.host, "trace", "{span:#?}");
        }
    }
    // Each begins when the one before has ended.
    for (before, after) in [
        ("validate", "store.commit"),
        ("store.commit", "snapshot"),
        ("snapshot", "xds.push"),
        ("compile", "maps.write"),
        ("maps.write", "xds.ack"),
    ] {
        let (before, after) = (of(before), of(after));
        assert!(before.end <= after.start, "{before:#?} {after:#?}");
    }
    assert!(of("snapshot").end <= of("api.Apply").end);
    assert!(of("xds.ack").end <= of("xds.receive").end);
    // Live, and only then told so.
    assert!(of("maps.write").end <= of("xds.push").end);
    assert!(of("xds.push").end <= of("meshctl apply").end);

    let push = &of("xds.push").attributes;
    assert_eq!((push["mesh.node"].as_str(), push["mesh.answer"].as_str()), ("trace", "ack"));
    let revision = &push["mesh.revision"];
    assert_eq!(&of("store.commit").attributes["mesh.revision"], revision);
    assert_eq!(&of("xds.receive").attributes["mesh.revision"], revision);
    assert_eq!(of("xds.receive").attributes["mesh.changes"], "2");
    assert!(of("maps.write").attributes["mesh.writes"].parse::<u32>()? > 0);

    // A trace is no part of what is pushed: after a restart nothing is sent again because of one.
    let known: BTreeSet<String> = receiver.spans().into_iter().map(|span| span.trace).collect();
    bed.control.restart()?;
    eventually(|| {
        let spans = receiver.spans();
        let again = spans.iter().find(|it| it.name == "xds.receive" && !known.contains(&it.trace));
        let again = again.ok_or("the agent has not connected again")?;
        assert_eq!(again.attributes["mesh.changes"], "0", "{again:#?}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_push_of_several_changes_belongs_to_the_newest_and_is_linked_to_the_others()
-> anyhow::Result<()> {
    let (bed, receiver) = start("merged", &[])?;
    // The first is pushed at once; the others wait until the node has answered, and merge.
    signal(&bed, Signal::SIGSTOP)?;
    let first = apply(&bed, &service("first", 1), false)?;
    let second = apply(&bed, &service("second", 2), false)?;
    let third = apply(&bed, &service("third", 3), false)?;
    signal(&bed, Signal::SIGCONT)?;

    complete(&receiver, &first, &SPANS)?;
    let newest = complete(&receiver, &third, &SPANS)?;
    let merged = complete(&receiver, &second, &SPANS[..5])?;
    let push = newest.iter().find(|span| span.name == "xds.push").context("no push")?;
    let asked = merged.iter().find(|span| span.name == "api.Apply").context("no request")?;
    assert_eq!(push.links, [(asked.trace.clone(), asked.id.clone())]);
    let at_node = newest.iter().find(|span| span.name == "xds.receive").context("no receive")?;
    assert_eq!(at_node.attributes["mesh.changes"], "4");
    Ok(())
}

#[test]
fn what_is_refused_is_a_trace_that_says_so() -> anyhow::Result<()> {
    let (bed, receiver) = start("refused", &[])?;
    let said = bed.meshctl.run(&["delete", "-v", "service", "nobody"])?;
    assert_ne!(said.code, Some(0));
    let wanted = [
        ("meshctl", "meshctl delete", ""),
        ("mesh-control", "api.Delete", "meshctl delete"),
        ("mesh-control", "validate", "api.Delete"),
    ];
    let spans = complete(&receiver, &trace_of(&said)?, &wanted)?;
    let failed: Vec<_> = spans.iter().filter(|it| it.failed).map(|it| &it.name).collect();
    assert_eq!(failed, ["meshctl delete", "api.Delete"]);
    Ok(())
}

#[test]
fn what_is_not_sampled_is_not_sent_and_a_trace_that_is_recorded_goes_on() -> anyhow::Result<()> {
    let (bed, receiver) = start("ratio", &["--trace-sample", "0"])?;
    // meshctl records: everybody does.
    let trace = apply(&bed, &service("web", 0), true)?;
    complete(&receiver, &trace, &SPANS)?;
    // One that does not leaves it to the control plane.
    let silent = Meshctl::new(&bed.netns)?;
    let file = silent.file(&service("other", 1))?;
    let said = silent.ok(&["apply", "--wait", "-v", "-f", &file])?;
    let other = trace_of(&said)?;
    let last = apply(&bed, &service("last", 2), true)?;
    complete(&receiver, &last, &SPANS)?;
    let spans = receiver.spans();
    assert!(spans.iter().all(|it| it.trace == trace || it.trace == last), "{spans:#?}");
    assert_ne!(other, last);
    Ok(())
}

#[test]
fn a_receiver_that_is_away_or_dies_disturbs_nothing() -> anyhow::Result<()> {
    let (mut bed, receiver) = start("away", &[])?;
    let trace = apply(&bed, &service("web", 0), true)?;
    complete(&receiver, &trace, &SPANS)?;

    drop(receiver);
    let before = dropped(&bed)?;
    for n in 1..=5 {
        apply(&bed, &service(&format!("s{n}"), n), true)?;
    }
    eventually(|| {
        let now = dropped(&bed).map_err(|error| error.to_string())?;
        let both = now.0 > before.0 && now.1 > before.1;
        both.then_some(()).ok_or_else(|| format!("nothing is counted as dropped: {now:?}"))
    })?;
    bed.node.check_running()?;

    // One that comes back is told what happens from then on.
    let receiver = Receiver::start(&bed.netns)?;
    let mut n = 10;
    eventually(|| {
        n += 1;
        let trace = apply(&bed, &service("back", n), true).map_err(|error| format!("{error:#}"))?;
        complete(&receiver, &trace, &SPANS).map(drop).map_err(|error| format!("{error:#}"))
    })?;
    drop(receiver);

    // One that takes connections and says nothing keeps neither requests nor the end.
    let silent = bed.netns.run(|| TcpListener::bind(otlp::ADDRESS))??;
    for n in 1..=2 {
        apply(&bed, &service(&format!("s{n}"), n + 50), true)?;
    }
    bed.node.stop()?;
    drop(silent);
    Ok(())
}

#[test]
fn one_of_so_many_connections_is_a_span_and_one_that_fails_says_why() -> anyhow::Result<()> {
    let (bed, receiver) = start_with("spans", &[], &["--trace-connections", "5"])?;
    let _servers = bed.serve(Mode::Request, &["v1"])?;
    // Nobody listens at the second.
    bed.meshctl.apply(&service("web", 0))?;
    bed.meshctl.apply(&service("deaf", 1))?;
    let client = bed.node.cgroup().child("client")?;
    let place = Place::in_netns(&bed.netns).and_cgroup(&client);
    let run = |to, count| Traffic::run(&place, Plan::to(to, Mode::Request), count);
    let spans = |count: usize| {
        eventually(|| {
            let found = receiver.spans().into_iter().filter(|it| it.name == "connection").count();
            (found == count).then_some(()).ok_or_else(|| format!("{found} instead of {count}"))
        })?;
        let found = receiver.spans().into_iter().filter(|it| it.name == "connection");
        anyhow::Ok(found.collect::<Vec<_>>())
    };
    let began = now()?;
    let outcome = run(VIP, 20)?;
    assert_eq!((outcome.failed(), outcome.total()), (0, 20));
    let closed = spans(4)?;
    for span in &closed {
        assert!(span.is_client && !span.failed && span.parent.is_empty(), "{span:#?}");
        assert_eq!((span.service.as_str(), span.host.as_str()), ("mesh-agent", "spans"));
        // Clocks are put side by side in between.
        let slack = 1_000_000;
        assert!(span.start < span.end, "{span:#?}");
        assert!(span.start + slack >= began && span.end <= now()? + slack, "{span:#?}");
        for (name, value) in [
            ("service.peer.name", "web"),
            ("service.peer.namespace", "default"),
            ("network.transport", "tcp"),
            ("network.type", "ipv4"),
            ("network.peer.address", &backend(0).to_string()),
            ("network.peer.port", &PORT.to_string()),
            ("network.local.address", "10.77.0.1"),
            ("server.address", &VIP.ip().to_string()),
            ("server.port", &VIP.port().to_string()),
            ("mesh.endpoint", "web-v1"),
            ("mesh.version", "v1"),
            ("mesh.source_workload", &bed.node.workload("client")),
            ("mesh.bytes_sent", &(outcome.sent / 20).to_string()),
            ("mesh.bytes_received", &(outcome.received / 20).to_string()),
        ] {
            assert_eq!(span.attributes.get(name).map(String::as_str), Some(value), "{name}");
        }
    }
    let deaf = std::net::SocketAddrV4::new(*VIP.ip(), VIP.port() + 1);
    assert_eq!(run(deaf, 10)?.failed(), 10);
    let all = spans(6)?;
    let failed: Vec<_> = all.iter().filter(|it| it.failed).collect();
    assert_eq!(failed.len(), 2);
    for span in failed {
        assert_eq!(
            (span.message.as_str(), &*span.attributes["error.type"]),
            ("refused", "refused")
        );
        assert_eq!(span.attributes["service.peer.name"], "deaf");
    }
    // The access log is switched on and off without a word to the spans.
    for switch in ["on", "off"] {
        bed.meshctl.ok(&["log", "spans", "--access-log", switch])?;
    }
    run(VIP, 10)?;
    spans(8).map(drop)
}

/// Nanoseconds since 1970.
fn now() -> anyhow::Result<u64> {
    Ok(u64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_nanos())?)
}
