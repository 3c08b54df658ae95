//! The control plane's page in a real browser: what it says is what was counted, by clicks and by keys,
//! with five services and with five hundred. Pictures of it are in `target/screenshots`.

mod five;
mod keys;
mod line;
mod looks;
mod many;
mod names;
mod nodes;
mod shop;
mod told;

use std::collections::BTreeMap;

use mesh_tests::browser::Browser;

/// The numbers of a service's page, exactly.
fn numbers(browser: &Browser) -> anyhow::Result<BTreeMap<String, u64>> {
    let body = "return Object.fromEntries([...document.querySelectorAll('[data-metric]')]
        .filter((it) => it.dataset.value).map((it) => [it.dataset.metric, Math.round(it.dataset.value)]))";
    Ok(serde_json::from_value(browser.script(body, &[])?)?)
}

/// Waits until a number of the page is this.
fn shows(browser: &Browser, metric: &str, number: u64) -> anyhow::Result<()> {
    browser.wait(&format!("{metric} {number}"), || {
        Ok((numbers(browser)?.get(metric) == Some(&number)).then_some(()))
    })
}

/// Waits until an element fits.
fn there(browser: &Browser, selector: &str) -> anyhow::Result<()> {
    let body = "return document.querySelector(arguments[0]) !== null";
    browser.until(selector, body, &[selector.into()]).map(drop)
}

/// Waits until the page is live.
fn is_live(browser: &Browser) -> anyhow::Result<()> {
    there(browser, "#live[data-state=live]")
}
