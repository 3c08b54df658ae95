//! Names that look like HTML are shown as text: whatever a name may be, it runs nothing.

use crate::told::{Edge, Told, services};
use crate::{is_live, shows, there};

/// Labels are any visible characters of ASCII without spaces.
const EVIL: &str = "<img/src=x/onerror=alert(1)>&amp;\"'";
const SCRIPT: &str = "</td><script>alert(2)</script>";

#[test]
fn names_that_look_like_html_are_text() -> anyhow::Result<()> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let manifest = format!(
        "{}---\n{{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {{name: web-1}},\n \
         spec: {{service: web, address: 10.77.1.1, version: {evil}, workload: {script}, \
         node: {evil}}}}}\n",
        services(&["web", "db"]),
        evil = quoted(EVIL),
        script = quoted(SCRIPT),
    );
    let mut told = Told::start("names", &manifest)?;
    EVIL.clone_into(&mut told.node);
    let edge = |from, to| Edge { from, to, version: EVIL, opened: 5, closed: 5 };
    told.report(&[edge(EVIL, "web"), edge(SCRIPT, "db")])?;
    let browser = &told.browser;
    let shown = |selector: &str, text: &str| {
        let body = "return [...document.querySelectorAll(arguments[0])]
            .some((it) => it.textContent.includes(arguments[1]))";
        browser.until(&format!("{text} in {selector}"), body, &[selector.into(), text.into()])
    };
    browser.open("/")?;
    is_live(browser)?;
    shown("#graph title", EVIL)?;
    // What runs the endpoint of `web` connects to `db`.
    there(browser, "#graph [data-from='default/web'][data-to='default/db']")?;
    browser.screenshot("names-graph")?;
    browser.click("#graph [data-service='default/web']")?;
    shows(browser, "opened", 5)?;
    for (table, text) in [
        ("#endpoints", EVIL),
        ("#endpoints", SCRIPT),
        ("#versions", EVIL),
        ("#callers", EVIL),
        ("#workloads", EVIL),
    ] {
        shown(table, text)?;
    }
    browser.screenshot("names-service")?;
    browser.click("#endpoints a")?;
    there(browser, "#node-title")?;
    shown("h1", EVIL)?;
    shows(browser, "opened", 10)?;
    shown("#edges", SCRIPT)?;
    browser.click("#nav [data-page=nodes]")?;
    shown("#nodes", EVIL)?;

    // Also in an address that somebody sends.
    browser.load("/#/services/default/%3Cimg%20src=x%20onerror=alert(1)%3E")?;
    shown("h1", "<img src=x onerror=alert(1)>")?;
    browser.audit_but(&["400 (Bad Request)"])?;
    browser.open("/#/?q=%3Cimg%20src=x%20onerror=alert(1)%3E")?;
    is_live(browser)?;
    // An alert that is open would have failed every command; an element would be there.
    assert_eq!(browser.count("img, main script")?, 0);
    browser.audit()
}
