//! What of the page decides and draws nothing (layout, sums, health, formats), checked in the browser
//! that runs it.

use std::sync::Arc;

use mesh_tests::browser::Browser;
use mesh_tests::control::{ControlPlane, HTTP};
use mesh_tests::netns::NetNs;
use mesh_tests::require;

#[test]
fn layout_sums_health_and_formats_are_right() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = Arc::new(NetNs::create("parts")?);
    let _control = ControlPlane::start(&netns)?;
    let browser = Browser::start(&netns, HTTP)?;
    browser.open("/")?;
    let answer = browser.script(include_str!("page_parts.js"), &[])?;
    let checks = answer["checks"].as_u64().unwrap_or_default();
    assert_eq!(answer["failed"], serde_json::json!([]), "of {checks}");
    assert!(checks > 100, "only {checks}");
    browser.audit()
}
