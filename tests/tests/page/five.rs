//! From the graph by clicks to the numbers of every service, which must be those of its clients, of the
//! agent's metrics and of the API; also while the page is open.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_tests::control;
use mesh_tests::http;
use mesh_tests::load::Mode;
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::{Value, json};

use crate::shop::{Counted, SERVICES, Shop, WAYS, vip};
use crate::{is_live, numbers, shows, there};

/// The metrics of the agent. Istio's names of bytes are the server's.
fn metrics_agree(shop: &Shop, service: &str, counted: Counted) -> anyhow::Result<()> {
    let Counted { opened, failed, sent, received } = counted;
    eventually(|| {
        let metrics = shop.bed.node.metrics().map_err(|error| error.to_string())?;
        for (name, number) in [
            ("istio_tcp_connections_opened_total", opened),
            ("istio_tcp_connections_closed_total", opened),
            ("istio_tcp_connections_failed_total", failed),
            ("istio_tcp_received_bytes_total", sent),
            ("istio_tcp_sent_bytes_total", received),
        ] {
            let labels = [("destination_service_name", service), ("reporter", "source")];
            metrics.expect(name, &labels, number)?;
        }
        Ok(())
    })
}

fn ask(shop: &Shop, path: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&http::get_ok(&shop.bed.netns, control::HTTP, path)?)?)
}

/// Clicks a service's node in the graph and reads its page.
fn visit(shop: &Shop, service: &str) -> anyhow::Result<()> {
    let browser = &shop.browser;
    browser.click(&format!("#graph [data-service='default/{service}']"))?;
    there(browser, ".numbers [data-metric=opened][data-value]")?;
    assert_eq!(browser.place()?, format!("/#/services/default/{service}"));
    let counted = shop.counted.get(service).copied().unwrap_or_default();
    shows(browser, "closed", counted.opened)?;
    let numbers = numbers(browser)?;
    let Counted { opened, failed, sent, received } = counted;
    for (name, number) in [
        ("opened", opened),
        ("closed", opened),
        ("failed", failed),
        ("refused", 0),
        ("open", 0),
        ("bytes_sent", sent),
        ("bytes_received", received),
    ] {
        assert_eq!(numbers.get(name), Some(&number), "{name} of {service}: {numbers:?}");
    }
    metrics_agree(shop, service, counted)?;
    let stat = ask(shop, &format!("/api/v1/stat?namespace=default&service={service}"))?;
    let total = &stat["rows"][0]["total"];
    for (name, number) in [
        ("opened", opened),
        ("closed", opened),
        ("failed", failed),
        ("bytes_sent", sent),
        ("bytes_received", received),
    ] {
        assert_eq!(total[name].as_u64().unwrap_or(0), number, "{name} of {service}: {stat}");
    }
    Ok(())
}

#[test]
fn clicks_lead_from_the_graph_to_numbers_that_match_the_metrics() -> anyhow::Result<()> {
    let mut shop = Shop::start("page")?;
    shop.trade()?;
    shop.browser.open("/")?;
    is_live(&shop.browser)?;
    for service in SERVICES {
        there(&shop.browser, &format!("#graph [data-service='default/{service}']"))?;
        there(&shop.browser, &format!("#service-list [data-service='default/{service}']"))?;
    }
    for (from, to) in WAYS {
        let from = if from == "people" { "client /".to_owned() } else { format!("default/{from}") };
        there(&shop.browser, &format!("#graph [data-from^='{from}'][data-to='default/{to}']"))?;
    }
    assert_eq!(shop.browser.count("#service-list [data-service]")?, 5);
    for service in SERVICES {
        visit(&shop, service)?;
        shop.browser.click("#nav [data-page=graph]")?;
        there(&shop.browser, "#graph [data-service='default/db']")?;
    }

    // Half of those to `pay` fail, which is to be seen on the way there.
    let plan = Plan { pause: Duration::from_millis(20), ..Plan::to(vip("pay"), Mode::Request) };
    let traffic = Traffic::start(&shop.place("cart")?, plan)?;
    traffic.wait_for(30, Duration::from_secs(20))?;
    there(&shop.browser, "#graph .edge.bad[data-from='default/cart'][data-to='default/pay']")?;
    there(&shop.browser, "#graph .edge:not(.bad)[data-to='default/db']")?;
    shop.browser.screenshot("five-graph-failing")?;
    let outcome = traffic.stop()?;
    assert!(outcome.failed() > 0);
    shop.note("pay", &outcome);

    // What is open follows what is done, without being loaded again.
    visit(&shop, "pay")?;
    shop.browser.script("window.marked = true", &[])?;
    for round in 1..=3 {
        shop.connect("cart", "pay", 10 + round)?;
        let counted = shop.counted["pay"];
        shows(&shop.browser, "opened", counted.opened)?;
        shows(&shop.browser, "failed", counted.failed)?;
    }
    assert_eq!(shop.browser.script("return window.marked", &[])?, true);
    plots_are_the_series(&shop, "pay")?;
    shop.browser.screenshot("five-service")?;
    shop.browser.audit()
}

/// Connections by the time of their point, of the API.
fn series(shop: &Shop, service: &str) -> anyhow::Result<BTreeMap<u64, u64>> {
    let query = format!("namespace=default&service={service}&range=15m&points=180");
    let answer = ask(shop, &format!("/api/v1/series?{query}"))?;
    let (step, end) = (&answer["step_ms"], &answer["end_ms"]);
    let points = answer["rows"][0]["points"].as_array().cloned().unwrap_or_default();
    let time = |ago: u64| Some(end.as_u64()? - ago * step.as_u64()?);
    let point = |it: &Value| Some((time(it["ago"].as_u64()?)?, it["opened"].as_u64().unwrap_or(0)));
    Ok(points.iter().filter_map(point).collect())
}

/// The plots are drawn, and the first line of the first is what the API says.
fn plots_are_the_series(shop: &Shop, service: &str) -> anyhow::Result<()> {
    let body = "
        const plots = [...document.querySelectorAll('.plot')];
        const drawn = (canvas) => {
          const {width, height} = canvas;
          if (!width || !height) return 0;
          const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
          return data.filter((part, at) => at % 4 === 3 && part > 0).length;
        };
        const pixels = plots.map((it) => drawn(it.querySelector('canvas')));
        const [times, opened] = plots[0].data;
        const step = times.length > 1 ? times[1] - times[0] : 0;
        const points = times.map((time, at) => [Math.round(time * 1000), opened[at] * step]);
        return {pixels, points};";
    shop.browser.wait("plots as the series are", || {
        let shown = shop.browser.script(body, &[])?;
        let pixels: Vec<u64> = serde_json::from_value(shown["pixels"].clone())?;
        anyhow::ensure!(pixels.len() == 3 && pixels.iter().all(|it| *it > 500), "{pixels:?}");
        let series = series(shop, service)?;
        let points = shown["points"].as_array().cloned().unwrap_or_default();
        let all: f64 = points.iter().filter_map(|it| it[1].as_f64()).sum();
        let opened = shop.counted.get(service).map_or(0, |it| it.opened);
        anyhow::ensure!(
            all.round().to_string() == opened.to_string(),
            "{all} of {opened}: {shown}"
        );
        for point in &points {
            // A point that is not known has no number, and the API does not say it.
            let time = point[0].as_u64().unwrap_or_default();
            let connections = point[1].as_f64().unwrap_or_default().round();
            let Some(expected) = series.get(&time) else {
                anyhow::ensure!(connections == 0.0, "{point} is not in {series:?}");
                continue;
            };
            anyhow::ensure!(json!(expected).as_f64() == Some(connections), "{point}: {series:?}");
        }
        Ok(Some(()))
    })
}
