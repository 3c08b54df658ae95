//! Everything without a mouse, with a focus that can be seen.

use mesh_tests::browser::{Browser, Focus, Key};

use crate::told::{Edge, Told, services};
use crate::{is_live, shows, there};

/// Presses a key until the focus is where it should be; it can be seen at every step.
fn walk(browser: &Browser, key: Key, to: impl Fn(&Focus) -> bool) -> anyhow::Result<()> {
    for _ in 0..25 {
        browser.key(key)?;
        let focus = browser.focus()?;
        anyhow::ensure!(focus.visible, "no visible focus: {focus:?}");
        if to(&focus) {
            return Ok(());
        }
    }
    anyhow::bail!("not reached with {key:?}: {:?}", browser.focus()?)
}

#[test]
fn keys_alone_lead_everywhere() -> anyhow::Result<()> {
    let mut told = Told::start("keys", &services(&["web", "shop", "db", "dbcache"]))?;
    let edge = |to, opened| Edge { from: "people", to, version: "v1", opened, closed: opened };
    told.report(&[edge("web", 30), edge("db", 20), edge("dbcache", 10)])?;
    let browser = &told.browser;
    browser.open("/")?;
    is_live(browser)?;
    there(browser, "#service-list [data-service='default/db']")?;

    // By the filter to a service.
    browser.text("/")?;
    let focus = browser.focus()?;
    assert!(focus.id == "filter" && focus.visible, "{focus:?}");
    browser.text("default/db")?;
    browser.wait("two services", || {
        Ok((browser.count("#service-list [data-service]")? == 2).then_some(()))
    })?;
    walk(browser, Key::Tab, |it| {
        it.service.as_deref() == Some("default/db") && it.text.contains("default/")
    })?;
    walk(browser, Key::Down, |it| it.service.as_deref() == Some("default/dbcache"))?;
    walk(browser, Key::Up, |it| it.service.as_deref() == Some("default/db"))?;
    browser.key(Key::Enter)?;
    shows(browser, "opened", 20)?;
    assert_eq!(browser.place()?, "/#/services/default/db");

    // Back, where what was filtered still is.
    browser.back()?;
    there(browser, "#filter")?;
    browser.wait("the filter as before", || {
        let value = browser.script("return document.querySelector('#filter')?.value", &[])?;
        let two = browser.count("#service-list [data-service]")? == 2;
        Ok((two && value == "default/db").then_some(()))
    })?;
    browser.text("/")?;
    browser.key(Key::Escape)?;
    browser.wait("all services", || {
        Ok((browser.count("#service-list [data-service]")? == 4).then_some(()))
    })?;

    // In the graph itself, from node to node.
    walk(browser, Key::Tab, |it| it.service.is_some())?;
    let first = browser.focus()?.service;
    let ways = [Key::Right, Key::Down, Key::Up, Key::Left];
    let moved = ways.iter().any(|way| {
        let moved = browser.key(*way).and_then(|()| browser.focus());
        moved.is_ok_and(|it| it.visible && it.service != first)
    });
    assert!(moved, "arrows lead nowhere from {first:?}");

    // By letters to other pages, and down a table.
    browser.text("gs")?;
    there(browser, "#services [data-service='default/web']")?;
    assert_eq!(browser.place()?, "/#/services");
    walk(browser, Key::Tab, |it| it.text == "default/db")?;
    walk(browser, Key::Down, |it| it.text == "default/dbcache")?;
    walk(browser, Key::Down, |it| it.text == "default/shop")?;
    walk(browser, Key::Down, |it| it.text == "default/web")?;
    browser.key(Key::Enter)?;
    shows(browser, "opened", 30)?;
    browser.text("gn")?;
    there(browser, "#nodes [data-node='node-a']")?;
    walk(browser, Key::Tab, |it| it.text == "node-a")?;
    browser.key(Key::Enter)?;
    shows(browser, "opened", 60)?;
    browser.text("gc")?;
    there(browser, "#sync-says")?;

    // The list of keys opens, and closes.
    browser.text("?")?;
    browser.wait("the keys", || Ok((browser.count("dialog[open]")? == 1).then_some(())))?;
    browser.screenshot("keys")?;
    browser.key(Key::Escape)?;
    browser.wait("no keys", || Ok((browser.count("dialog[open]")? == 0).then_some(())))?;
    browser.audit()
}
