//! chromedriver, the Chromium that it starts, and what is said to it: the W3C's `WebDriver`,
//! JSON over HTTP. Everything runs in a namespace without a way out and in a cgroup of its own, with
//! which all of the browser's processes end.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::cgroup::Cgroup;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::require;
use crate::scratch::Scratch;

/// How long a start, or the answer to one command, may take on a machine that has much to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// Of the window, in CSS pixels.
pub(super) const SIZE: (u32, u32) = (1280, 900);

/// A browser with one session.
#[derive(Debug)]
pub(super) struct Driver {
    session: String,
    address: SocketAddrV4,
    netns: Arc<NetNs>,
    // In this order: chromedriver, what it has started, and the folder they write to.
    _process: Process,
    cgroup: Cgroup,
    scratch: Scratch,
}

impl Driver {
    /// Starts both programs.
    pub(super) fn start(netns: &Arc<NetNs>) -> anyhow::Result<Self> {
        let chromium = require::program("chromium", "chromium")?;
        let program = require::program("chromedriver", "chromium-driver")?;
        let scratch = Scratch::create("browser")?;
        let cgroup = Cgroup::create("browser")?;
        let log = scratch.path().join("log");
        let mut command = Command::new(program);
        command.arg("--port=0").env("HOME", scratch.path()).env("TMPDIR", scratch.path());
        for folder in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            command.env_remove(folder);
        }
        let place = Place::in_netns(netns).and_cgroup(&cgroup);
        let process = Process::spawn("chromedriver", command, &place, Some(&log))?;
        let mut port = None;
        process.wait_until("port", PATIENCE, || {
            port = fs::read_to_string(&log).ok().and_then(|log| port_in(&log));
            port.is_some()
        })?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.context("no port")?);
        let netns = Arc::clone(netns);
        let session = String::new();
        let mut driver = Self { session, address, netns, _process: process, cgroup, scratch };
        let wanted = capabilities(&chromium, driver.scratch.path());
        let answer = driver.exchange("POST", "/session", Some(&wanted))?;
        driver.session.push_str(answer["sessionId"].as_str().context("no session")?);
        Ok(driver)
    }

    /// Does a command of the session and returns its value.
    pub(super) fn post(&self, command: &str, body: &Value) -> anyhow::Result<Value> {
        let path = format!("/session/{}/{command}", self.session);
        self.exchange("POST", &path, Some(body)).with_context(|| format!("browser: {command}"))
    }

    /// Asks for a value of the session.
    pub(super) fn get(&self, command: &str) -> anyhow::Result<Value> {
        let path = format!("/session/{}/{command}", self.session);
        self.exchange("GET", &path, None).with_context(|| format!("browser: {command}"))
    }

    /// Does a command of Chromium's own protocol (`Emulation.setEmulatedMedia`).
    pub(super) fn devtools(&self, command: &str, parameters: &Value) -> anyhow::Result<Value> {
        self.post("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
            .with_context(|| command.to_owned())
    }

    /// What a log (`browser`, `performance`) has got since it was asked for the last time.
    pub(super) fn log(&self, which: &str) -> anyhow::Result<Vec<Value>> {
        let mut log = self.post("se/log", &json!({"type": which}))?;
        Ok(log.as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Ids of all processes of the browser.
    pub(super) fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let processes = fs::read_to_string(self.cgroup.path().join("cgroup.procs"))?;
        Ok(processes.lines().filter_map(|id| id.parse().ok()).collect())
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let address = self.address;
        let mut stream = self.netns.run(|| TcpStream::connect(address))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = read_answer(&mut BufReader::new(stream))?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            None => Ok(value),
            Some(error) => {
                // The rest of the message is a stack of addresses.
                let message = value["message"].as_str().unwrap_or_default();
                bail!("{error}: {}", message.split("\n  (Session info").next().unwrap_or_default())
            }
        }
    }
}

/// chromedriver keeps connections open whatever it is asked for: the length says where an answer ends.
fn read_answer(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            bail!("chromedriver closed the connection");
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn port_in(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("successfully on port ")?;
    let (port, _) = rest.split_once('.')?;
    port.parse().ok()
}

/// What the session shall be: a new profile, nothing fetched by itself, and both logs.
fn capabilities(chromium: &Path, scratch: &Path) -> Value {
    let profile: PathBuf = scratch.join("profile");
    let (width, height) = SIZE;
    let arguments = [
        "--headless=new".to_owned(),
        // Chromium's sandbox refuses root.
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        // Where it is small, Chromium's processes crash.
        "--disable-dev-shm-usage".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--no-first-run".to_owned(),
        // The browser ends when chromedriver does.
        "--remote-debugging-pipe".to_owned(),
        "--lang=en-US".to_owned(),
        format!("--window-size={width},{height}"),
        format!("--user-data-dir={}", profile.display()),
    ];
    let preferences =
        json!({"session": {"restore_on_startup": 4, "startup_urls": ["about:blank"]}});
    json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        "goog:chromeOptions": {
            "binary": chromium,
            "args": arguments,
            "prefs": preferences,
            "perfLoggingPrefs": {"enableNetwork": true, "enablePage": false},
        },
    }}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_once_it_is_there() {
        assert_eq!(port_in("Starting ChromeDriver 156.0 on port 0\n"), None);
        let log = "on port 0\nChromeDriver was started successfully on port 35049.\n";
        assert_eq!(port_in(log), Some(35049));
    }
}
