//! When the line to the control plane breaks, the page says so and keeps what it knows.

use crate::told::{Edge, Told, services};
use crate::{is_live, numbers, shows, there};

#[test]
fn what_was_known_stays_while_the_control_plane_is_away() -> anyhow::Result<()> {
    let mut told = Told::start("line", &services(&["web", "db"]))?;
    let edge = |opened| Edge { from: "people", to: "web", version: "v1", opened, closed: 234 };
    told.report(&[edge(1234)])?;
    told.browser.open("/#/services/default/web")?;
    is_live(&told.browser)?;
    shows(&told.browser, "open", 1000)?;
    told.browser.script("window.marked = true", &[])?;

    told.control.kill()?;
    there(&told.browser, "#live[data-state=reconnecting]")?;
    let said = told.browser.read("#live")?.unwrap_or_default();
    assert!(said.contains("old"), "{said}");
    let known = numbers(&told.browser)?;
    assert_eq!((known["opened"], known["closed"], known["open"]), (1234, 234, 1000));
    let (pale, _) = told.browser.pale()?;
    assert!(pale.is_empty(), "{pale:?}");
    told.browser.screenshot("reconnecting")?;
    // Other pages are as they were, too.
    told.browser.click("#nav [data-page=graph]")?;
    there(&told.browser, "#graph [data-service='default/web']")?;
    there(&told.browser, "#live[data-state=reconnecting]")?;

    told.control.restart()?;
    told.report(&[edge(1300)])?;
    is_live(&told.browser)?;
    told.browser.click("#graph [data-service='default/web']")?;
    shows(&told.browser, "opened", 1300)?;
    assert_eq!(told.browser.script("return window.marked", &[])?, true);
    // That nobody answered meanwhile is all that went wrong.
    told.browser.audit_but(&["net::ERR_"])
}

#[test]
fn tabs_and_pages_that_were_left_take_no_connection_from_others() -> anyhow::Result<()> {
    let mut told = Told::start("tabs", &services(&["web"]))?;
    let edge = |opened| Edge { from: "people", to: "web", version: "v1", opened, closed: opened };
    told.report(&[edge(7)])?;
    let first = told.browser.tab()?;
    // A browser has six connections to a server for all of its tabs, and each page wants two.
    for _ in 0..5 {
        told.browser.open("/#/services/default/web")?;
        shows(&told.browser, "opened", 7)?;
    }
    for _ in 0..5 {
        told.browser.new_tab()?;
        told.browser.open("/#/services/default/web")?;
        is_live(&told.browser)?;
        shows(&told.browser, "opened", 7)?;
    }
    // Whoever comes back sees what is new.
    told.report(&[edge(8)])?;
    told.browser.to_front(&first)?;
    shows(&told.browser, "opened", 8)?;
    is_live(&told.browser)?;
    told.browser.audit()
}
