//! gRPC as its users have it: grpcio, as a server that says its name, and as a client that is told
//! whom to call and how often.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::python;
use crate::bins;
use crate::meshctl::run_command;
use crate::process::{Place, Process};
use crate::scratch::Scratch;

const SERVER: &str = include_str!("server.py");
const CLIENT: &str = include_str!("client.py");
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with one name. It ends with this.
#[derive(Debug)]
pub struct Server {
    process: Process,
    // After the process that was started from it.
    _scratch: Scratch,
}

impl Server {
    /// Starts it, and waits until it listens.
    pub fn start(place: &Place, name: &str, at: SocketAddr) -> anyhow::Result<Self> {
        let scratch = Scratch::create(&format!("grpc-{name}"))?;
        let script = scratch.path().join("server.py");
        fs::write(&script, SERVER)?;
        let mut command = Command::new(python()?);
        command.arg(script).arg(name).arg(at.to_string());
        let log = scratch.path().join("log");
        let process = Process::spawn(&format!("gRPC server {name}"), command, place, Some(&log))?;
        process.wait_until("sign that it listens", PATIENCE, || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("listening"))
        })?;
        Ok(Self { process, _scratch: scratch })
    }

    /// Ends it as a crash does.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process.kill()
    }
}

/// What calls are like.
#[derive(Clone, Debug)]
pub struct Calls {
    /// How many.
    pub number: u32,
    /// The method of the server: `Who`, `Flaky` or `Slow`.
    pub method: &'static str,
    /// Metadata.
    pub headers: Vec<(&'static str, String)>,
    /// Whether each has a connection of its own.
    pub fresh: bool,
    /// Whether they begin at once, and not one after the other.
    pub together: bool,
    /// Until the client gives up; a mesh that has a timeout of its own is quicker.
    pub deadline: Duration,
}

impl Calls {
    /// So many calls for the name of the server.
    #[must_use]
    pub const fn who(number: u32) -> Self {
        let headers = Vec::new();
        let deadline = Duration::from_secs(10);
        Self { number, method: "Who", headers, fresh: false, together: false, deadline }
    }
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// How often each text was the answer.
    pub texts: BTreeMap<String, u64>,
    /// How often each status was.
    pub failed: BTreeMap<String, u64>,
    /// One of the messages that came with a failure.
    pub message: String,
    /// How long each took.
    pub took: Vec<Duration>,
}

impl Answers {
    /// How often this text was the answer.
    #[must_use]
    pub fn of(&self, text: &str) -> u64 {
        self.texts.get(text).copied().unwrap_or(0)
    }
}

/// A client with one channel. It ends with this.
#[derive(Debug)]
pub struct Client {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    process: Process,
    scratch: Scratch,
}

impl Client {
    /// A client of a target as gRPC names it: an address, or `xds:///service.namespace`, for which
    /// it is told where the control plane is.
    pub fn start(place: &Place, target: &str, control: Option<SocketAddr>) -> anyhow::Result<Self> {
        Self::start_on(place, target, control, None)
    }

    /// The same, on a node that its bootstrap names.
    pub fn start_on(
        place: &Place,
        target: &str,
        control: Option<SocketAddr>,
        node: Option<&str>,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::create("grpc-client")?;
        let script = scratch.path().join("client.py");
        fs::write(&script, CLIENT)?;
        let mut command = Command::new(python()?);
        command.arg(script).arg(target).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(fs::File::create(scratch.path().join("log"))?);
        if let Some(control) = control {
            let bootstrap = scratch.path().join("bootstrap.json");
            let mut print = Command::new(bins::workspace("meshctl")?);
            print.args(["--server", &format!("http://{control}"), "grpc-bootstrap", "--id"]);
            print.arg(format!("grpc~{}", std::process::id()));
            print.args(node.iter().flat_map(|node| ["--node", node]));
            let said = run_command(print, &Place::default())?;
            ensure!(said.code == Some(0), "grpc-bootstrap: {}", said.stderr);
            fs::write(&bootstrap, said.stdout)?;
            command.env("GRPC_XDS_BOOTSTRAP", bootstrap);
        }
        let process = Process::spawn("gRPC client", command, place, None)?;
        let streams = process.with_child(|child| (child.stdin.take(), child.stdout.take()));
        let (Some(input), Some(output)) = streams else { anyhow::bail!("no pipes") };
        Ok(Self { input, output: BufReader::new(output), process, scratch })
    }

    /// Makes calls and waits for all of them.
    pub fn call(&mut self, calls: &Calls) -> anyhow::Result<Answers> {
        let ask = json!({
            "number": calls.number,
            "method": calls.method,
            "headers": calls.headers,
            "fresh": calls.fresh,
            "together": calls.together,
            "deadline": calls.deadline.as_secs_f64(),
        });
        writeln!(self.input, "{ask}").with_context(|| self.said())?;
        let mut line = String::new();
        let read = self.output.read_line(&mut line)?;
        ensure!(read > 0, "the client has ended: {}", self.said());
        let said: Value = serde_json::from_str(&line)?;
        let counts = |field: &str| {
            let counts = said.get(field).and_then(Value::as_object).into_iter().flatten();
            counts.map(|(text, count)| (text.clone(), count.as_u64().unwrap_or(0))).collect()
        };
        let took = said.get("took").and_then(Value::as_array).into_iter().flatten();
        let took = took.filter_map(Value::as_f64).map(Duration::from_secs_f64).collect();
        let message = said.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Answers { texts: counts("texts"), failed: counts("failed"), message, took })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a crash does.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process.kill()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}
