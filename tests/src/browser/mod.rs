//! A real browser to look at the control plane's page with: headless Chromium, in a namespace that has
//! no way out. It opens, clicks, types, reads, waits and takes pictures, as a person would.

mod audit;
mod driver;
mod input;
mod looks;

use std::fs;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::driver::Driver;
use crate::bins;
use crate::netns::NetNs;
use crate::ui;

pub use self::input::Key;
pub use self::looks::{Focus, Pale};

/// How long a page may take to look as it should.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one window. It and all of its processes end with it.
#[derive(Debug)]
pub struct Browser {
    driver: Driver,
    origin: String,
}

/// A tab of the window.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tab(Value);

/// What people's systems ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    /// As style sheets call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Browser {
    /// Starts one in a namespace, for the pages of one server there. Its system asks for light pages.
    pub fn start(netns: &Arc<NetNs>, server: SocketAddrV4) -> anyhow::Result<Self> {
        let browser = Self { driver: Driver::start(netns)?, origin: format!("http://{server}") };
        browser.prefer(Scheme::Light)?;
        // What it did before any page was asked for is not the page's.
        browser.driver.log("browser")?;
        browser.driver.log("performance")?;
        Ok(browser)
    }

    /// Loads a page from its beginning (`/`, `/#/nodes`), even where it is the one that is shown, and
    /// checks it as [`Self::audit`] does.
    pub fn open(&self, path: &str) -> anyhow::Result<()> {
        self.load(path)?;
        self.audit()
    }

    /// The same without the check.
    pub fn load(&self, path: &str) -> anyhow::Result<()> {
        // Another fragment alone would load nothing.
        self.driver.post("url", &json!({"url": "about:blank"}))?;
        self.driver.post("url", &json!({"url": format!("{}{path}", self.origin)})).map(drop)
    }

    /// One step back in the history, as by the button.
    pub fn back(&self) -> anyhow::Result<()> {
        self.driver.post("back", &json!({})).map(drop)
    }

    /// The tab that is in front.
    pub fn tab(&self) -> anyhow::Result<Tab> {
        self.driver.get("window").map(Tab)
    }

    /// Opens another one, in front of the others.
    pub fn new_tab(&self) -> anyhow::Result<Tab> {
        let mut tab = self.driver.post("window/new", &json!({"type": "tab"}))?;
        let tab = Tab(tab["handle"].take());
        self.to_front(&tab)?;
        Ok(tab)
    }

    /// Has a tab in front, so that the others are hidden; everything else is done in it.
    pub fn to_front(&self, tab: &Tab) -> anyhow::Result<()> {
        self.driver.post("window", &json!({"handle": tab.0}))?;
        self.driver.devtools("Page.bringToFront", &json!({})).map(drop)
    }

    /// Where it is, without the server: `/#/nodes`.
    pub fn place(&self) -> anyhow::Result<String> {
        let url = self.driver.get("url")?;
        let url = url.as_str().context("no address")?;
        Ok(url.strip_prefix(&self.origin).unwrap_or(url).to_owned())
    }

    /// Makes the system ask for light or dark pages.
    pub fn prefer(&self, scheme: Scheme) -> anyhow::Result<()> {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme.as_str()});
        self.driver
            .devtools("Emulation.setEmulatedMedia", &json!({"features": [feature]}))
            .map(drop)
    }

    /// Runs a function's body in the page, with `arguments`, and returns what it returns.
    pub fn script(&self, body: &str, arguments: &[Value]) -> anyhow::Result<Value> {
        self.driver.post("execute/sync", &json!({"script": body, "args": arguments}))
    }

    /// Has a script run in every page before the page's own.
    pub fn before_pages(&self, script: &str) -> anyhow::Result<()> {
        self.driver
            .devtools("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}))
            .map(drop)
    }

    /// Waits until a function's body returns something true in the page, and returns that.
    pub fn until(&self, what: &str, body: &str, arguments: &[Value]) -> anyhow::Result<Value> {
        self.wait(what, || {
            let value = self.script(body, arguments)?;
            let no = [json!(null), json!(false), json!(0), json!("")].contains(&value);
            Ok((!no).then_some(value))
        })
    }

    /// Waits until `look` finds something. What the page shows at the end of patience is in the error,
    /// and in a picture.
    pub fn wait<T>(
        &self,
        what: &str,
        look: impl Fn() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = look();
            if let Ok(Some(found)) = found {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let why = found.err().map_or_else(String::new, |error| format!(" ({error:#})"));
                bail!("after {PATIENCE:?} there is no {what}{why}:\n{}", self.describe());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails where the page has logged an error, or asked anyone but its server, since the last audit.
    pub fn audit(&self) -> anyhow::Result<()> {
        self.audit_but(&[])
    }

    /// The same, except for complaints that contain one of these.
    pub fn audit_but(&self, forgiven: &[&str]) -> anyhow::Result<()> {
        let (console, network) = (self.driver.log("browser")?, self.driver.log("performance")?);
        let mut complaints = audit::complaints(&console, &network, &self.origin);
        complaints.retain(|it| !forgiven.iter().any(|part| it.contains(part)));
        ensure!(complaints.is_empty(), "{}:\n{}", self.place()?, complaints.join("\n"));
        Ok(())
    }

    /// Takes a picture of the window: `target/screenshots/<name>.png`.
    pub fn screenshot(&self, name: &str) -> anyhow::Result<PathBuf> {
        let target = bins::own_dir()?;
        let folder = target.parent().context("no target folder")?.join("screenshots");
        fs::create_dir_all(&folder).with_context(|| format!("mkdir {}", folder.display()))?;
        let picture = self.driver.get("screenshot")?;
        let picture = STANDARD.decode(picture.as_str().context("no picture")?)?;
        let path = folder.join(format!("{name}.png"));
        fs::write(&path, picture).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Memory of the page's objects, and of all of the browser's processes (their shares of what they
    /// share), in bytes.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        self.driver.devtools("HeapProfiler.collectGarbage", &json!({}))?;
        let heap = self.driver.devtools("Runtime.getHeapUsage", &json!({}))?;
        // A number with a fraction of zero.
        let heap = heap["usedSize"].as_f64().context("no size of the heap")?;
        let heap = format!("{heap:.0}").parse()?;
        let processes = self.driver.processes()?;
        Ok((heap, processes.into_iter().filter_map(proportional).sum()))
    }

    /// Ids of all processes of the browser.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
        self.driver.processes()
    }

    /// What there is to be seen, for error messages.
    fn describe(&self) -> String {
        let place = self.place().unwrap_or_default();
        let text = self.script("return document.body.innerText", &[]);
        let text = text.ok().and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default();
        let name = thread::current().name().unwrap_or("main").replace("::", "-");
        let picture = self.screenshot(&format!("failed-{name}"));
        let picture =
            picture.map_or_else(|_| "no picture".to_owned(), |it| it.display().to_string());
        let console = self.driver.log("browser").unwrap_or_default();
        let console: Vec<_> = console.iter().map(|line| line["message"].to_string()).collect();
        format!("{place} ({picture})\n{text}\n--- console\n{}", console.join("\n"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A failing test wants to know what there was to be seen.
        if thread::panicking() {
            ui::note(self.describe());
        }
    }
}

/// A process's memory, in bytes.
fn proportional(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
