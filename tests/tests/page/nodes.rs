//! Nodes that refuse what they are sent or are away, and endpoints that are not well, are shown as such.

use std::net::{Ipv4Addr, SocketAddrV4};

use mesh_tests::browser::Browser;
use mesh_tests::control;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::node::Node;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};

use crate::{is_live, there};

const OTHER_HTTP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15120);
const SECOND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 66), 80);

#[test]
fn nodes_that_refuse_or_are_away_and_endpoints_that_are_not_well_are_shown() -> anyhow::Result<()> {
    let bed = Testbed::start("good")?;
    let _servers = bed.serve(Mode::Http, &["v1"])?;
    // Index 0 is never given out: there is room for one service.
    let mut small = Node::prepare(&bed.netns, "small", &["--max-services", "2"])?;
    small.set_http(OTHER_HTTP);
    small.run()?;
    small.wait_ready()?;
    let check = "  healthCheck: {http: {path: /}, interval: 200ms, timeout: 150ms, \
                 unhealthyThreshold: 2, healthyThreshold: 2}\n";
    let on = "  node: good\n";
    // Nobody listens at the second one.
    let first = Manifest::new()
        .service("web", VIP, PORT)
        .endpoint_with("web", "web-1", "v1", backend(0), on)
        .endpoint_with("web", "web-2", "v1", backend(7), on)
        .config("web", check);
    bed.meshctl.apply(&first)?;
    let second = Manifest::new().service("second", SECOND, PORT).endpoint(
        "second",
        "second-1",
        "v1",
        backend(0),
    );
    let file = bed.meshctl.file(&second)?;
    bed.meshctl.ok(&["apply", "-f", &file])?;

    let browser = Browser::start(&bed.netns, control::HTTP)?;
    browser.open("/#/sync")?;
    is_live(&browser)?;
    there(&browser, "#sync [data-node=good][data-state=live]")?;
    there(&browser, "#sync [data-node=small][data-state=rejects]")?;
    let row = browser.read("#sync [data-node=small]")?.unwrap_or_default();
    assert!(row.contains("--max-services") && row.contains("default/second"), "{row}");
    let says = browser.read("#sync-says")?.unwrap_or_default();
    assert!(says.contains("1 of 2 nodes"), "{says}");
    browser.screenshot("nodes-sync-rejects")?;
    browser.click("#sync [data-node=small] a")?;
    there(&browser, "#nack:not([hidden])")?;
    let nack = browser.read("#nack")?.unwrap_or_default();
    assert!(nack.contains("--max-services"), "{nack}");
    let (pale, _) = browser.pale()?;
    assert!(pale.is_empty(), "{pale:?}");
    browser.screenshot("nodes-node-rejects")?;

    // A node that has gone.
    small.kill()?;
    browser.click("#nav [data-page=nodes]")?;
    there(&browser, "#nodes [data-node=small][data-state=away]")?;
    there(&browser, "#nodes [data-node=good][data-state=live]")?;
    browser.screenshot("nodes-away")?;

    // An endpoint that is not well: on its service's page, its node's, and in the graph.
    browser.click("#nav [data-page=graph]")?;
    there(&browser, "#graph .node.degraded[data-service='default/web']")?;
    there(&browser, "#service-list [data-service='default/web'] .degraded")?;
    let label = browser.attribute("#graph [data-service='default/web']", "aria-label")?;
    assert!(label.as_deref().is_some_and(|it| it.contains("1/2 healthy")), "{label:?}");
    browser.screenshot("nodes-graph-unhealthy")?;
    browser.click("#graph [data-service='default/web']")?;
    there(&browser, "#endpoints [data-health=unhealthy]")?;
    there(&browser, "#endpoints [data-health=healthy]")?;
    let row = browser.read("#endpoints [data-health=unhealthy]")?.unwrap_or_default();
    assert!(row.contains("web-2") && row.to_lowercase().contains("refused"), "{row}");
    browser.screenshot("nodes-service-unhealthy")?;
    browser.click("#endpoints [data-health=unhealthy] a")?;
    there(&browser, "#endpoints [data-health=unhealthy]")?;
    assert_eq!(browser.place()?, "/#/nodes/good");
    browser.audit()
}
