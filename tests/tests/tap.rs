//! `meshctl tap` and `meshctl connections` in a real terminal, beside real clients: what the screen
//! says must be what they have done, and a tap that nobody reads any more must be gone from the node.

use std::net::SocketAddrV4;

use anyhow::Context as _;
use mesh_tests::accel::End;
use mesh_tests::backend::Backends;
use mesh_tests::cgroup::Cgroup;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::terminal::{Terminal, has_colours};
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Outcome, Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

const NODE: &str = "tap";
/// A service whose only endpoint does not listen.
const DEAF: SocketAddrV4 = SocketAddrV4::new(*VIP.ip(), 81);
/// A service without endpoints.
const EMPTY: SocketAddrV4 = SocketAddrV4::new(*VIP.ip(), 82);
const LOOKING: &str = "looking at connections: Ctrl-C ends it";

/// A node with a service that answers, one that does not, one without endpoints; and a client.
struct Bed {
    client: Cgroup,
    _servers: Backends,
    mesh: Testbed,
}

impl Bed {
    fn start() -> anyhow::Result<Self> {
        let mesh = Testbed::start(NODE)?;
        let servers = mesh.serve(Mode::Request, &["v1"])?;
        let manifest = Manifest::new()
            .service("web", VIP, PORT)
            .endpoint("web", "web-v1", "v1", backend(0))
            .service("deaf", DEAF, PORT)
            .endpoint("deaf", "deaf-v1", "v1", backend(1))
            .service("empty", EMPTY, PORT);
        mesh.meshctl.apply(&manifest)?;
        let client = mesh.node.cgroup().child("client")?;
        // The node's stream of commands comes after the others.
        eventually(|| match mesh.meshctl.run(&["log", NODE]) {
            Ok(said) if said.code == Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
        Ok(Self { client, _servers: servers, mesh })
    }

    fn terminal(&self, size: (u16, u16), variables: &[(&str, &str)]) -> anyhow::Result<Terminal> {
        Terminal::with_meshctl(&self.mesh.netns, size, variables)
    }

    /// As the node calls the client's workload.
    fn source(&self) -> String {
        self.mesh.node.workload("client")
    }

    fn run(&self, to: SocketAddrV4, count: u64) -> anyhow::Result<Outcome> {
        let place = Place::in_netns(&self.mesh.netns).and_cgroup(&self.client);
        Traffic::run(&place, Plan::to(to, Mode::Request), count)
    }

    /// Waits until so many taps are open on the node.
    fn taps(&self, count: u64) -> anyhow::Result<()> {
        eventually(|| {
            let metrics = self.mesh.node.metrics().map_err(|error| error.to_string())?;
            metrics.expect("mesh_agent_taps", &[], count)
        })
    }
}

/// Words of the lines with this word.
fn rows(screen: &str, with: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    screen.lines().map(words).filter(|words| words.iter().any(|word| word == with)).collect()
}

/// Rows of a tap of one node with this outcome.
fn events(screen: &str, outcome: &str) -> Vec<Vec<String>> {
    let mut rows = rows(screen, outcome);
    rows.retain(|words| words.get(1).is_some_and(|word| word == outcome));
    rows
}

/// Runs a command on an empty screen.
fn run(terminal: &Terminal, command: &str) -> anyhow::Result<()> {
    terminal.line("clear")?;
    terminal.until("an empty screen", |screen| screen.trim() == "ready>")?;
    terminal.line(command)
}

/// Waits until the shell says how the command before has ended.
fn ended(terminal: &Terminal, code: i32) -> anyhow::Result<()> {
    let line = format!("ended with {code}");
    terminal.until("the exit code", |screen| screen.lines().any(|it| it == line)).map(drop)
}

#[test]
fn tap_shows_what_clients_do_and_is_gone_after_ctrl_c() -> anyhow::Result<()> {
    let bed = Bed::start()?;
    let terminal = bed.terminal((200, 50), &[])?;
    run(&terminal, "meshctl tap tap; echo ended with $?")?;
    terminal.until("that it looks", |it| it.contains(LOOKING))?;
    bed.taps(1)?;
    let outcome = bed.run(VIP, 3)?;
    assert_eq!((outcome.failed(), outcome.total()), (0, 3));
    assert_eq!(bed.run(DEAF, 2)?.failed(), 2);
    assert_eq!(bed.run(EMPTY, 1)?.failed(), 1);
    let screen = terminal.until("all events", |screen| {
        let count = |outcome| events(screen, outcome).len();
        [count("opened"), count("closed"), count("failed"), count("refused")] == [3, 3, 2, 1]
    })?;
    assert_eq!(screen.matches("DURATION").count(), 1, "{screen}");
    let heading = "TIME EVENT SOURCE SERVICE ENDPOINT BACKEND SENT RECEIVED DURATION CAUSE";
    assert!(rows(&screen, "DURATION")[0].join(" ").ends_with(heading), "{screen}");
    let to = |n| SocketAddrV4::new(backend(n), PORT).to_string();
    for row in events(&screen, "opened").iter().chain(&events(&screen, "closed")) {
        let expected = [&bed.source(), "default/web", "web-v1", &to(0)];
        assert_eq!(row[2..6], expected.map(str::to_owned), "{screen}");
    }
    for row in events(&screen, "failed") {
        assert_eq!(row[3..6], ["default/deaf".to_owned(), "deaf-v1".to_owned(), to(1)]);
        assert_eq!((row[2].as_str(), row[9].as_str()), (&*bed.source(), "refused"), "{screen}");
    }
    let refused = &rows(&screen, "default/empty")[0];
    assert_eq!((refused[1].as_str(), refused[2].as_str()), ("refused", &*bed.source()));
    assert_eq!(refused[9], "no_backend_refused", "{screen}");
    assert!(has_colours(&terminal.looks()?));

    terminal.keys(&["C-c"])?;
    terminal.until("what was left out", |it| it.contains("9 events; left out: nothing"))?;
    terminal.line("echo ended with $?")?;
    ended(&terminal, 130)?;
    bed.taps(0)
}

#[test]
fn programs_read_exact_events_and_nothing_else() -> anyhow::Result<()> {
    let bed = Bed::start()?;
    let terminal = bed.terminal((120, 30), &[])?;
    let file = bed.mesh.meshctl.scratch().join("events");
    let tap = |args: &str| -> anyhow::Result<()> {
        let file = file.display();
        run(&terminal, &format!("meshctl tap {args} -o json > {file}; echo ended with $?"))?;
        terminal.until("that it looks", |it| it.contains(LOOKING)).map(drop)
    };
    let events = || -> anyhow::Result<Vec<Value>> {
        let text = std::fs::read_to_string(&file)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    let sum =
        |events: &[Value], field: &str| events.iter().filter_map(|it| it[field].as_u64()).sum();

    // Of all nodes, and with every filter.
    let source = bed.source();
    tap(&format!(
        "-n default --service web --from {source} --to web-v1 --outcome closed --limit 5"
    ))?;
    assert_eq!(bed.run(DEAF, 3)?.failed(), 3);
    let outcome = bed.run(VIP, 5)?;
    ended(&terminal, 0)?;
    let found = events()?;
    assert_eq!(found.len(), 5, "{found:#?}");
    let bytes: (u64, u64) = (sum(&found, "bytesSent"), sum(&found, "bytesReceived"));
    assert_eq!(bytes, (outcome.sent, outcome.received), "{found:#?}");
    for event in &found {
        for (field, value) in [
            ("node", NODE),
            ("outcome", "closed"),
            ("protocol", "tcp"),
            ("sourceWorkload", &source),
            ("namespace", "default"),
            ("service", "web"),
            ("endpoint", "web-v1"),
            ("version", "v1"),
            ("frontend", &VIP.to_string()),
            ("backend", &SocketAddrV4::new(backend(0), PORT).to_string()),
            ("cause", ""),
        ] {
            assert_eq!(event[field], value, "{field} of {event}");
        }
        assert_eq!(event["cgroup"].as_u64(), Some(bed.client.id()?), "{event}");
        assert!(event["durationUs"].as_u64().is_some_and(|it| it > 0), "{event}");
        assert!(event["client"].as_str().is_some_and(|it| it.starts_with("10.77.0.1:")), "{event}");
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_micros();
        let age = age.checked_sub(event["timeUs"].as_u64().context("no time")?.into());
        assert!(age.is_some_and(|age| age < 600_000_000), "{event}: {age:?}");
    }

    // By address, and all that is not asked for.
    tap(&format!("tap --to {}:{PORT} --outcome opened,failed,refused --limit 2", backend(1)))?;
    bed.run(VIP, 3)?;
    bed.run(EMPTY, 3)?;
    bed.run(DEAF, 2)?;
    ended(&terminal, 0)?;
    let found = events()?;
    assert!(found.iter().all(|it| it["outcome"] == "failed" && it["cause"] == "refused"));
    assert_eq!(found.len(), 2, "{found:#?}");

    // One of three, and it is said how many were not.
    tap("tap --service web --outcome closed --sample 3 --limit 3")?;
    bed.run(VIP, 7)?;
    ended(&terminal, 0)?;
    assert_eq!(events()?.len(), 3);
    terminal.until("the rest", |it| it.contains("3 events; left out: 4 by --sample"))?;

    // It ends by itself where that is asked for.
    tap("--for 1s")?;
    ended(&terminal, 0)?;
    assert_eq!(events()?.len(), 0);
    bed.taps(0)
}

#[test]
fn whoever_goes_away_leaves_no_tap_behind() -> anyhow::Result<()> {
    let mut bed = Bed::start()?;
    let terminal = bed.terminal((180, 30), &[("NO_COLOR", "1")])?;
    // The reader of the pipe goes after the heading; meshctl does when it has more to say.
    run(&terminal, "(meshctl tap tap; echo ended with $? >&2) | head -1")?;
    terminal.until("the heading", |it| it.contains("DURATION") && it.contains(LOOKING))?;
    bed.run(VIP, 3)?;
    ended(&terminal, 0)?;
    bed.taps(0)?;

    // Killed, so that it says nothing to anybody.
    run(&terminal, "meshctl tap tap & tapping=$!")?;
    bed.taps(1)?;
    bed.run(VIP, 1)?;
    terminal.until("events", |it| rows(it, "closed").len() == 1)?;
    assert!(!has_colours(&terminal.looks()?), "NO_COLOR");
    terminal.line("kill -9 $tapping; wait $tapping")?;
    bed.taps(0)?;
    terminal.until("its end", |it| it.contains("Killed"))?;

    // There are not too many, and it is said.
    run(
        &terminal,
        "for n in 1 2 3 4 5 6 7 8; do meshctl tap tap >/dev/null 2>&1 & taps=\"$taps $!\"; done",
    )?;
    bed.taps(8)?;
    run(&terminal, "meshctl tap tap; echo ended with $?")?;
    terminal.until("a reason", |it| it.contains("8 taps are open on this node already"))?;
    ended(&terminal, 1)?;
    // The node can be asked for other things meanwhile.
    bed.mesh.meshctl.ok(&["connections", NODE])?;
    terminal.line("kill $taps; wait")?;
    bed.taps(0)?;

    // Where the control plane goes, the agent looks for nobody.
    run(&terminal, "meshctl tap; echo ended with $?")?;
    terminal.until("that it looks", |it| it.contains(LOOKING))?;
    bed.taps(1)?;
    bed.mesh.control.kill()?;
    bed.taps(0)?;
    ended(&terminal, 3)?;
    run(&terminal, "meshctl tap nobody; echo ended with $?")?;
    ended(&terminal, 3)?;
    bed.mesh.control.restart()?;
    run(&terminal, "meshctl tap nobody; echo ended with $?")?;
    ended(&terminal, 4)
}

#[test]
fn connections_are_what_is_open_also_on_a_narrow_terminal() -> anyhow::Result<()> {
    let bed = Bed::start()?;
    let (mut server, mut client) =
        (End::start(&bed.mesh.node.place())?, End::start(&bed.mesh.node.place())?);
    server.listen(SocketAddrV4::new(backend(1), PORT))?;
    let cookie = client.connect(DEAF)?;
    server.accept()?;
    let terminal = bed.terminal((200, 30), &[])?;
    run(&terminal, "meshctl connections tap -o wide; echo ended with $?")?;
    ended(&terminal, 0)?;
    let screen = terminal.screen()?;
    let row = &rows(&screen, "deaf-v1")[0];
    let to = SocketAddrV4::new(backend(1), PORT).to_string();
    assert_eq!((row[0].as_str(), row[1].as_str(), row[5].as_str()), ("default", "deaf", "open"));
    assert!(row.contains(&to) && row.contains(&DEAF.to_string()), "{screen}");
    assert_eq!(row.last(), Some(&cookie.to_string()), "{screen}");
    run(&terminal, "meshctl connections tap --service web; echo ended with $?")?;
    ended(&terminal, 0)?;
    assert!(rows(&terminal.screen()?, "deaf").is_empty());

    // Lines are as long as they are: the terminal breaks them, and nothing is cut.
    terminal.resize(40, 30)?;
    run(&terminal, "meshctl connections tap | cat; echo ended with $?")?;
    ended(&terminal, 0)?;
    let joined: String = terminal.screen()?.lines().collect();
    assert!(joined.contains(&to), "{joined}");
    run(&terminal, "meshctl tap tap --service web --limit 2")?;
    terminal.until("that it looks", |it| it.contains(LOOKING))?;
    bed.run(VIP, 1)?;
    let screen = terminal.until("the end", |it| it.contains("2 events; left out: nothing"))?;
    let joined: String = screen.lines().collect();
    assert!(joined.contains("web-v1") && joined.contains("default/web"), "{joined}");
    run(&terminal, "meshctl connections tap | head -1; echo ended with $?")?;
    ended(&terminal, 0)
}
