//! A real terminal to type into and to read from: a tmux server of our own, with one window.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::bins;
use crate::control::API;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::require;
use crate::scratch::{Scratch, unique};

/// How long a screen may take to look as it should.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of the shell.
const PROMPT: &str = "PS1=ready> ";

/// A terminal with a shell in it. The server ends with it, and with the server the shell.
#[derive(Debug)]
pub struct Terminal {
    socket: String,
    // Before its folder goes.
    _server: Process,
    scratch: Scratch,
}

impl Terminal {
    /// Opens one in a namespace, with a shell that has these variables.
    pub fn open(
        netns: &NetNs,
        (width, height): (u16, u16),
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let program = require::program("tmux", "tmux")?;
        let scratch = Scratch::create("terminal")?;
        let socket = unique("tmux");
        let mut command = Command::new(program);
        command.args(["-D", "-f", "/dev/null", "-L", &socket]).env_remove("TMUX");
        command.env("TMUX_TMPDIR", scratch.path()).env("LC_ALL", "C.UTF-8");
        let log = scratch.path().join("log");
        let server = Process::spawn("tmux", command, &Place::in_netns(netns), Some(&log))?;
        let terminal = Self { socket, _server: server, scratch };
        let (width, height) = (width.to_string(), height.to_string());
        // Some variables tmux takes from its client: all are given to the shell itself.
        let mut session = vec!["new-session", "-d", "-x", &width, "-y", &height];
        session.extend(["env", "-u", "NO_COLOR", "-u", "ENV", PROMPT]);
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        session.extend(variables.iter().map(String::as_str));
        session.extend(["sh", "-i"]);
        let deadline = Instant::now() + PATIENCE;
        // The server needs a moment for its socket.
        while let Err(error) = terminal.tmux(&session) {
            ensure!(Instant::now() < deadline, "{error:#}");
            thread::sleep(Duration::from_millis(20));
        }
        terminal.until("a prompt", |screen| screen.contains("ready>"))?;
        Ok(terminal)
    }

    /// Opens one whose shell finds `meshctl`, and that the control plane of the namespace.
    pub fn with_meshctl(
        netns: &NetNs,
        size: (u16, u16),
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        let meshctl = bins::workspace("meshctl")?;
        let path = format!("{}:{path}", meshctl.parent().context("/")?.display());
        let server = format!("http://{API}");
        let own = [("PATH", path.as_str()), ("MESH_SERVER", &server)];
        Self::open(netns, size, &[&own, variables].concat())
    }

    /// Types text as it is.
    pub fn text(&self, text: &str) -> anyhow::Result<()> {
        self.tmux(&["send-keys", "-l", "--", text]).map(drop)
    }

    /// Presses keys by tmux's names: `Enter`, `Escape`, `C-c`, `Down`, `q`.
    pub fn keys(&self, keys: &[&str]) -> anyhow::Result<()> {
        self.tmux(&[&["send-keys", "--"], keys].concat()).map(drop)
    }

    /// Types a command and Enter.
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        self.text(text)?;
        self.keys(&["Enter"])
    }

    /// Gives it another size.
    pub fn resize(&self, width: u16, height: u16) -> anyhow::Result<()> {
        let (width, height) = (width.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height]).map(drop)
    }

    /// What is on the screen.
    pub fn screen(&self) -> anyhow::Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the escape sequences of colours and the like.
    pub fn looks(&self) -> anyhow::Result<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// A value of tmux's, as in `#{alternate_on}`.
    pub fn value(&self, format: &str) -> anyhow::Result<String> {
        Ok(self.tmux(&["display-message", "-p", format])?.trim().to_owned())
    }

    /// Waits until the screen is right, and returns it.
    pub fn until(&self, what: &str, right: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen()?;
            if right(&screen) {
                return Ok(screen);
            }
            if Instant::now() > deadline {
                bail!("after {PATIENCE:?} the screen does not show {what}:\n{screen}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn tmux(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("tmux");
        // Never a server of its own making: that one would outlive us.
        command.args(["-N", "-u", "-L", &self.socket]).args(args);
        command.env("TMUX_TMPDIR", self.scratch.path()).env_remove("TMUX");
        let output = command.output().context("starting tmux")?;
        ensure!(
            output.status.success(),
            "tmux {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Whether something has another colour than the terminal's own (39 and 49).
#[must_use]
pub fn has_colours(looks: &str) -> bool {
    let basic =
        (0..8).any(|n| [3, 9].iter().any(|part| looks.contains(&format!("\u{1b}[{part}{n}m"))));
    basic || looks.contains("\u{1b}[38;")
}
