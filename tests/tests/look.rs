//! `meshctl stat` and `meshctl top` in a real terminal, against a real control plane that is told
//! what was counted: what the screen says must be that.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mesh_api::wire;
use mesh_api::wire::telemetry_reports_client::TelemetryReportsClient;
use mesh_tests::control::{API, ControlPlane};
use mesh_tests::meshctl::Meshctl;
use mesh_tests::netns::NetNs;
use mesh_tests::require;
use mesh_tests::terminal::{Terminal, has_colours};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const SERVICES: &str = "
{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {name: web},
 spec: {vips: [10.96.0.10], ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {name: db},
 spec: {vips: [10.96.0.11], ports: [{name: sql, port: 5432, targetPort: 5432}]}}
";

/// A control plane, and a node that says what it has counted.
struct Bed {
    reports: u64,
    interval_ms: u64,
    meshctl: Meshctl,
    control: ControlPlane,
    netns: Arc<NetNs>,
}

impl Bed {
    fn start() -> anyhow::Result<Self> {
        require::kernel()?;
        let netns = Arc::new(NetNs::create("look")?);
        let control = ControlPlane::start(&netns)?;
        let meshctl = Meshctl::new(&netns)?;
        let file = meshctl.scratch().join("services.yaml");
        std::fs::write(&file, SERVICES)?;
        meshctl.ok(&["apply", "-f", &file.to_string_lossy()])?;
        // Nobody is late while a test looks.
        Ok(Self { reports: 0, interval_ms: 60_000, meshctl, control, netns })
    }

    /// A shell with meshctl on its PATH.
    fn terminal(&self, variables: &[(&str, &str)]) -> anyhow::Result<Terminal> {
        Terminal::with_meshctl(&self.netns, (80, 24), variables)
    }

    /// Says what the node has counted up to now: two versions of `web`, and `db`.
    fn report(&mut self, web: &wire::Traffic) -> anyhow::Result<()> {
        self.reports += 1;
        let edge = |service: &str, version: &str| wire::Edge {
            reporter: wire::Reporter::Source.into(),
            transport: wire::Transport::Tcp.into(),
            source_workload: "shop.service".to_owned(),
            source_node: "node-a".to_owned(),
            namespace: "default".to_owned(),
            service: service.to_owned(),
            version: version.to_owned(),
            workload: String::new(),
        };
        let counted =
            |edge, traffic| wire::EdgeTraffic { edge: Some(edge), traffic: Some(traffic) };
        let few = wire::Traffic { attempts: 7, opened: 7, closed: 4, ..wire::Traffic::default() };
        let request = wire::ReportTrafficRequest {
            node: "node-a".to_owned(),
            run: "run-1".to_owned(),
            sequence: self.reports,
            full: true,
            edges: vec![
                counted(edge("web", "v1"), web.clone()),
                counted(edge("web", "v2"), few.clone()),
                counted(edge("db", ""), few),
            ],
            omitted: 0,
            interval_ms: self.interval_ms,
            ..wire::ReportTrafficRequest::default()
        };
        self.netns.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = TelemetryReportsClient::connect(format!("http://{API}")).await;
                client?.report(request).await?;
                anyhow::Ok(())
            })
        })?
    }
}

fn traffic(opened: u64, closed: u64) -> wire::Traffic {
    wire::Traffic {
        attempts: opened + 6,
        opened,
        closed,
        failed: 6,
        bytes_sent: closed * 100,
        bytes_received: closed * 1000,
        retransmits: 3,
        rtt_us: closed * 1500,
        duration_us: closed * 20_000,
        refused: 0,
        passed: 0,
        failures: vec![
            wire::Cause { name: "refused".to_owned(), count: 4 },
            wire::Cause { name: "timed_out".to_owned(), count: 2 },
        ],
        refusals: Vec::new(),
    }
}

/// Words of the line that begins with a word.
fn words(screen: &str, first: &str) -> Vec<String> {
    let lines = screen.lines().map(|line| line.split_whitespace().map(str::to_owned));
    let mut lines = lines.map(Iterator::collect::<Vec<_>>);
    lines.find(|words| words.first().is_some_and(|word| word == first)).unwrap_or_default()
}

/// Open connections as `top` shows them.
fn shows(row: &str, open: u64) -> impl Fn(&str) -> bool {
    move |screen| words(screen, row).get(1).is_some_and(|word| *word == open.to_string())
}

/// That a person can go on at the prompt: the screen is the shell's, lines are edited, keys shown.
fn is_usable(terminal: &Terminal, code: i32) -> anyhow::Result<()> {
    terminal.until("the prompt", |screen| screen.trim_end().ends_with("ready>"))?;
    terminal.line("echo ended with $?")?;
    terminal
        .until("the exit code", |it| it.lines().any(|it| it == format!("ended with {code}")))?;
    assert_eq!(terminal.value("#{alternate_on} #{cursor_flag}")?, "0 1");
    terminal.line("clear; stty -a; echo end of settings")?;
    let screen = terminal
        .until("the settings", |screen| screen.lines().any(|line| line == "end of settings"))?;
    let settings: Vec<_> = screen.split([' ', ';', '\n']).collect();
    for setting in ["isig", "icanon", "icrnl", "echo", "opost"] {
        assert!(settings.contains(&setting), "{setting}: {screen}");
    }
    terminal.line("clear")?;
    terminal.until("an empty screen", |screen| screen.trim() == "ready>").map(drop)
}

#[test]
fn stat_says_what_was_counted() -> anyhow::Result<()> {
    let mut bed = Bed::start()?;
    let nothing = bed.meshctl.ok(&["stat"])?;
    assert!(nothing.stderr.starts_with("no traffic is known yet"), "{nothing:?}");
    assert_eq!(bed.meshctl.run(&["stat", "nobody"])?.code, Some(4));
    assert_eq!(bed.meshctl.run(&["stat", "node", "nowhere"])?.code, Some(4));

    bed.report(&traffic(1234, 234))?;
    let json: Value = serde_json::from_str(&bed.meshctl.ok(&["stat", "-o", "json"])?.stdout)?;
    let web = &json["rows"][1];
    assert_eq!(web["service"], "web");
    assert_eq!(web["open"], 1234 + 7 - 234 - 4);
    let total = &web["total"];
    for (field, count) in [
        ("attempts", 1247),
        ("opened", 1241),
        ("closed", 238),
        ("failed", 6),
        ("bytesSent", 23_400),
        ("bytesReceived", 234_000),
        ("retransmits", 3),
        ("rttUs", 351_000),
    ] {
        assert_eq!(total[field], count, "{field}: {json}");
    }
    assert_eq!(total["failures"]["timed_out"], 2);
    let edges = bed.meshctl.ok(&["stat", "edge", "db", "-o", "name"])?.stdout;
    assert_eq!(edges, "edge/shop.service/db\n");
    let versions = bed.meshctl.ok(&["stat", "version", "web"])?.stdout;
    assert_eq!(words(&versions, "web")[1..3], ["v1", "1000"]);
    let nodes = bed.meshctl.ok(&["stat", "node"])?.stdout;
    assert_eq!(words(&nodes, "node-a")[1], (1000 + 3 + 3).to_string());
    Ok(())
}

#[test]
fn stat_watch_draws_over_what_it_has_drawn() -> anyhow::Result<()> {
    let mut bed = Bed::start()?;
    bed.report(&traffic(1234, 234))?;
    let terminal = bed.terminal(&[])?;
    terminal.line("meshctl stat -w --every 250ms -n default")?;
    terminal.until("1003 open", shows("web", 1003))?;
    bed.report(&traffic(1500, 300))?;
    let screen = terminal.until("1203 open", shows("web", 1203))?;
    assert_eq!(screen.matches("SERVICE").count(), 1, "{screen}");
    assert_eq!(words(&screen, "db")[1], "3");
    terminal.keys(&["C-c"])?;
    is_usable(&terminal, 130)
}

#[test]
fn top_shows_what_was_counted_and_gives_the_terminal_back() -> anyhow::Result<()> {
    let mut bed = Bed::start()?;
    bed.report(&traffic(1234, 234))?;
    let terminal = bed.terminal(&[])?;
    terminal.line("meshctl top --every 250ms")?;
    let screen = terminal.until("1003 open", shows("default/web", 1003))?;
    assert!(screen.starts_with("meshctl top by service"), "{screen}");
    assert!(screen.contains("LAST MINUTE"), "{screen}");
    assert!(has_colours(&terminal.looks()?));
    bed.report(&traffic(1300, 250))?;
    terminal.until("1053 open", shows("default/web", 1053))?;

    terminal.keys(&["/"])?;
    terminal.text("DB")?;
    terminal.until("only db", |it| it.contains("/DB▏") && words(it, "default/web").is_empty())?;
    terminal.keys(&["Escape"])?;
    terminal.until("web again", shows("default/web", 1053))?;

    // By name, and the second row.
    terminal.keys(&["Left", "Left", "End", "Enter"])?;
    let page = terminal.until("the versions of web", |it| !words(it, "v2").is_empty())?;
    assert!(page.starts_with("service default/web "), "{page}");
    let text = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "Total: opened 1307, closed 254, failed 6, refused 0, let through 0, sent 24.4KiB,",
        "timed out 2",
        "refused 4",
    ] {
        assert!(text.contains(said), "{said}: {page}");
    }
    assert_eq!(words(&page, "v1")[1], "1050");
    bed.report(&traffic(1400, 250))?;
    terminal.until("the new total", |it| it.contains("Total: opened 1407,"))?;
    // Escape at once followed by a letter would be that letter with Alt.
    terminal.keys(&["Escape"])?;
    terminal.until("the table", shows("default/web", 1153))?;

    terminal.keys(&["p"])?;
    terminal.until("a pause", |it| it.contains("paused"))?;
    bed.report(&traffic(1401, 250))?;
    let paused = terminal.until("news", |it| it.contains("there is news"))?;
    assert!(shows("default/web", 1153)(&paused), "{paused}");
    terminal.keys(&["p"])?;
    terminal.until("what is new", shows("default/web", 1154))?;

    terminal.resize(40, 8)?;
    let narrow = terminal.until("a narrow table", |it| {
        it.contains("CONN/S") && !it.contains("RTT") && !words(it, "default/db").is_empty()
    })?;
    assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    terminal.resize(100, 30)?;
    terminal.until("all columns", |it| it.contains("RETRANS"))?;
    terminal.keys(&["?"])?;
    terminal.until("the keys", |it| it.contains("end, with exit code 130"))?;
    terminal.keys(&["x"])?;
    terminal.keys(&["Tab"])?;
    terminal.until("edges", |it| it.contains("shop.service → default/web"))?;
    terminal.keys(&["q"])?;
    is_usable(&terminal, 0)
}

#[test]
fn however_top_ends_the_terminal_is_as_before() -> anyhow::Result<()> {
    let mut bed = Bed::start()?;
    bed.report(&traffic(1234, 234))?;
    let terminal = bed.terminal(&[("NO_COLOR", "1")])?;
    let start = || {
        terminal.line("meshctl top")?;
        terminal.until("1003 open", shows("default/web", 1003))
    };
    start()?;
    let looks = terminal.looks()?;
    assert!(!has_colours(&looks), "NO_COLOR: {looks:?}");
    terminal.keys(&["C-c"])?;
    is_usable(&terminal, 130)?;

    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        start()?;
        let shell = terminal.value("#{pane_pid}")?;
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
        let top: i32 = children.split_whitespace().next().context("no child")?.parse()?;
        kill(Pid::from_raw(top), signal)?;
        is_usable(&terminal, 130).with_context(|| format!("after {signal}"))?;
    }

    terminal.line("meshctl top | cat")?;
    terminal.until("a hint", |it| it.contains("error: top needs a terminal: use `meshctl stat"))?;
    Ok(())
}

#[test]
fn top_shows_how_fast_it_goes() -> anyhow::Result<()> {
    let mut bed = Bed::start()?;
    bed.interval_ms = 1000;
    let terminal = bed.terminal(&[])?;
    let (mut opened, start) = (0, Instant::now());
    let mut shown = String::new();
    // 50 connections a second, as long as it takes to be seen.
    while start.elapsed() < Duration::from_secs(30) {
        opened += 50;
        bed.report(&traffic(opened, 0))?;
        if opened == 50 {
            terminal.line("meshctl top --window 5s")?;
        }
        thread::sleep(Duration::from_secs(1));
        shown = terminal.screen()?;
        let rate = words(&shown, "default/web").get(2).and_then(|word| word.parse::<f64>().ok());
        // A machine that has much to do may be late with a report.
        if rate.is_some_and(|rate| (30.0..70.0).contains(&rate)) && shown.contains('█') {
            return Ok(());
        }
    }
    anyhow::bail!("no 50 connections a second:\n{shown}")
}

#[test]
fn top_survives_a_restart_of_the_control_plane() -> anyhow::Result<()> {
    let mut bed = Bed::start()?;
    bed.report(&traffic(1234, 234))?;
    let terminal = bed.terminal(&[])?;
    terminal.line("meshctl top --every 250ms")?;
    terminal.until("1003 open", shows("default/web", 1003))?;
    bed.control.kill()?;
    let lost = terminal.until("the loss", |it| it.contains("connection lost ("))?;
    assert!(shows("default/web", 1003)(&lost), "what was known stays: {lost}");
    bed.control.restart()?;
    // Totals come from the node: nothing is lost, and nothing is counted twice.
    bed.report(&traffic(1244, 234))?;
    let screen = terminal.until("1013 open", shows("default/web", 1013))?;
    assert!(!screen.contains("connection lost"), "{screen}");
    terminal.keys(&["q"])?;
    is_usable(&terminal, 0)
}
