//! Every page in light and in dark, as the system or the person asks: all text can be read.

use mesh_tests::browser::{Browser, Scheme};

use crate::shop::{SERVICES, Shop};
use crate::{is_live, shows, there};

fn theme(browser: &Browser) -> anyhow::Result<String> {
    // Which one it is can be seen in what the ground is.
    let body = "const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g);
        return Number(r) + Number(g) + Number(b) > 382 ? 'light' : 'dark'";
    Ok(browser.script(body, &[])?.as_str().unwrap_or_default().to_owned())
}

#[test]
fn every_page_can_be_read_in_light_and_in_dark() -> anyhow::Result<()> {
    let mut shop = Shop::start("looks")?;
    shop.trade()?;
    let pay = shop.counted["pay"].opened;
    let browser = &shop.browser;
    let pages = [
        ("graph", "/#/", "#graph .edge"),
        ("services", "/#/services", "#services [data-service]"),
        ("service", "/#/services/default/pay", "#callers td"),
        ("nodes", "/#/nodes", "#nodes [data-state=live]"),
        ("node", "/#/nodes/looks", "#edges td"),
        ("sync", "/#/sync", "#sync [data-state=live]"),
    ];
    for scheme in [Scheme::Light, Scheme::Dark] {
        browser.prefer(scheme)?;
        for (name, path, has) in &pages {
            browser.open(path)?;
            is_live(browser)?;
            there(browser, has)?;
            if *name == "service" {
                shows(browser, "opened", pay)?;
                there(browser, ".plot canvas")?;
            }
            assert_eq!(theme(browser)?, scheme.as_str(), "{name}");
            browser.screenshot(&format!("five-{name}-{}", scheme.as_str()))?;
            let (pale, looked) = browser.pale()?;
            assert!(pale.is_empty(), "{name} {scheme:?}: {pale:?}");
            assert!(looked > 15, "{name}: only {looked} texts");
        }
    }

    // The system says dark; the person says otherwise, and is remembered.
    browser.open("/")?;
    browser.click("#theme")?;
    assert_eq!(theme(browser)?, "light");
    browser.open("/#/services")?;
    there(browser, "#services [data-service]")?;
    assert_eq!(theme(browser)?, "light");
    browser.text("t")?;
    assert_eq!(theme(browser)?, "dark");
    assert_eq!(browser.count("#services [data-service]")?, u64::try_from(SERVICES.len())?);
    browser.audit()
}
