//! The browser of the page's tests, on pages of the test's own: a test that looks through a broken
//! glass proves nothing.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mesh_tests::browser::{Browser, Key, Scheme};
use mesh_tests::netns::NetNs;
use mesh_tests::process::{Place, Process};
use mesh_tests::scratch::Scratch;
use mesh_tests::{http, require};

const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000);

const ICON: &str = "<!doctype html><link rel=icon href='data:,'>";

const FORM: &str = "
<style>@media (prefers-color-scheme: dark) { body { background: #112 } }</style>
<p data-service=default/web><button id=one>more</button></p>
<input id=field> <p id=said>nothing</p> <p hidden class=line>a</p> <p class=line>b</p>
<p><a id=next href='next.html'>next</a>
<script>
let clicks = 0;
one.onclick = (event) => setTimeout(() => { said.textContent = `${++clicks} ${event.isTrusted}` }, 50);
field.onkeydown = (event) => { if (event.key === 'Enter') said.textContent = field.value };
</script>";

/// #777 on white is 4.48, #767676 is 4.54.
const COLOURS: &str = "
<style>body { background: white } .clear { outline: none }</style>
<p style='color: #777'>too pale</p> <p style='color: #767676'>just enough</p>
<p style='color: #777; font-size: 24px'>large</p> <p style='color: #777' hidden>hidden</p>
<p style='color: oklch(0.9 0 0)'>as pale</p>
<div style='background: #000'><p style='background: rgb(255 255 255 / 50%); color: #767676'>on grey</p></div>
<p style='color: black; opacity: 0.3'>faint</p>
<button class=clear id=bare>no outline</button>";

/// A server of some pages. Fields drop in order.
struct Site {
    browser: Browser,
    _server: Process,
    _folder: Scratch,
}

fn site(pages: &[(&str, &str)]) -> anyhow::Result<Site> {
    require::kernel()?;
    let netns = Arc::new(NetNs::create("browser")?);
    let folder = Scratch::create("site")?;
    for (name, text) in pages {
        folder.write(name, &format!("{ICON}{text}"))?;
    }
    let mut command = Command::new(require::program("python3", "python3")?);
    command.args(["-m", "http.server", &SERVER.port().to_string()]);
    command.args(["--bind", &SERVER.ip().to_string(), "--directory"]).arg(folder.path());
    let log = folder.path().join("log");
    let server = Process::spawn("python3", command, &Place::in_netns(&netns), Some(&log))?;
    server.wait_until("answer", Duration::from_secs(20), || {
        http::get_ok(&netns, SERVER, "/log").is_ok()
    })?;
    Ok(Site { browser: Browser::start(&netns, SERVER)?, _server: server, _folder: folder })
}

#[test]
fn a_browser_clicks_types_reads_and_takes_pictures() -> anyhow::Result<()> {
    let site = site(&[("form.html", FORM), ("next.html", "<p id=here>here")])?;
    let browser = &site.browser;
    browser.open("/form.html")?;
    let says = |text: &'static str| {
        browser.until(text, "return said.innerText === arguments[0]", &[text.into()])
    };
    browser.click("#one")?;
    says("1 true")?;
    let place = browser.script("return one.getBoundingClientRect().toJSON()", &[])?;
    let corner = |side: &str| place[side].as_f64().unwrap() + 3.0;
    browser.click_at(corner("x"), corner("y"))?;
    says("2 true")?;
    let focus = browser.focus()?;
    assert_eq!(focus.service.as_deref(), Some("default/web"));
    assert_eq!((focus.id.as_str(), focus.text.as_str()), ("one", "more"));

    browser.key(Key::Tab)?;
    let focus = browser.focus()?;
    assert!(focus.id == "field" && focus.visible, "{focus:?}");
    browser.text("ä/b")?;
    browser.key(Key::Enter)?;
    says("ä/b")?;
    assert_eq!(browser.read("#said")?.as_deref(), Some("ä/b"));
    assert_eq!(browser.read("#nobody")?, None);
    assert_eq!(
        browser.attribute("[data-service]", "data-service")?.as_deref(),
        Some("default/web")
    );
    assert_eq!(browser.count(".line")?, 1);
    assert!(browser.click("#nobody").is_err());

    browser.click("#next")?;
    browser.until("the next page", "return document.querySelector('#here')", &[])?;
    assert_eq!(browser.place()?, "/next.html");
    browser.back()?;
    browser.until("the form", "return document.querySelector('#one')", &[])?;

    let ground = "return getComputedStyle(document.body).backgroundColor";
    let colour = browser.script(ground, &[])?;
    browser.prefer(Scheme::Dark)?;
    assert_eq!(browser.script(ground, &[])?, "rgb(17, 17, 34)");
    assert_ne!(colour, "rgb(17, 17, 34)");
    let picture = browser.screenshot("browser-dark")?;
    let dark = std::fs::read(&picture)?;
    assert!(dark.starts_with(b"\x89PNG\r\n\x1a\n"));
    // Width and height come first.
    assert_eq!(dark.get(16..20), Some(&1280_u32.to_be_bytes()[..]));
    browser.prefer(Scheme::Light)?;
    assert_ne!(dark, std::fs::read(browser.screenshot("browser-light")?)?);
    let (heap, all) = browser.memory()?;
    assert!(heap > 100_000 && all > heap, "{heap} {all}");
    browser.audit()
}

#[test]
fn what_a_page_must_not_do_is_found() -> anyhow::Result<()> {
    let site = site(&[
        ("good.html", "<p>good"),
        ("throws.html", "<script>missing()</script>"),
        ("logs.html", "<script>console.error('oh no'); console.warn('hm')</script>"),
        ("lacks.html", "<script src=nothing.js></script>"),
        ("leaves.html", "<img src='http://10.9.9.9/a.png'>"),
        ("colours.html", COLOURS),
    ])?;
    let browser = &site.browser;
    for (page, why) in [
        ("throws", "missing is not defined"),
        ("logs", "oh no"),
        ("lacks", "404"),
        ("leaves", "request to http://10.9.9.9/a.png"),
    ] {
        let found = browser.open(&format!("/{page}.html"));
        let found = found.err().map_or_else(String::new, |error| format!("{error:#}"));
        assert!(found.contains(why) && !found.contains("hm"), "{page}: {found}");
        // Nothing of one page is held against the next.
        browser.open("/good.html")?;
    }

    browser.open("/colours.html")?;
    let (pale, looked) = browser.pale()?;
    let texts: Vec<_> = pale.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(texts, ["P on grey", "P as pale", "P faint", "P too pale"], "{pale:?}");
    assert!((4.47..4.49).contains(&pale[3].ratio), "{pale:?}");
    assert_eq!(looked, 7);
    browser.key(Key::Tab)?;
    let focus = browser.focus()?;
    assert!(focus.id == "bare" && !focus.visible, "{focus:?}");
    Ok(())
}

#[test]
fn nothing_of_a_browser_remains() -> anyhow::Result<()> {
    let site = site(&[("good.html", "<p>good")])?;
    site.browser.open("/good.html")?;
    let processes = site.browser.processes()?;
    assert!(processes.len() > 4, "{processes:?}");
    let start = std::time::Instant::now();
    drop(site.browser);
    let took = start.elapsed();
    let remains = |id: &u32| {
        // A zombie has no memory, and no command line.
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        !line.is_empty()
    };
    let left: Vec<_> = processes.into_iter().filter(remains).collect();
    assert!(left.is_empty(), "after {took:?}: {left:?}");
    Ok(())
}
