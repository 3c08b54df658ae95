//! What people can ask a node through the control plane: its open connections, and what it logs.

use std::fs;
use std::net::SocketAddrV4;

use anyhow::Context as _;
use mesh_tests::accel::End;
use mesh_tests::load::Mode;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

/// What `meshctl` prints as JSON.
fn json(bed: &Testbed, args: &[&str]) -> anyhow::Result<Value> {
    let said = bed.meshctl.ok(&[args, &["-o", "json"]].concat())?;
    Ok(serde_json::from_str(&said.stdout)?)
}

/// Waits until the node attends to commands.
fn wait_attending(bed: &Testbed, node: &str) -> anyhow::Result<()> {
    eventually(|| json(bed, &["log", node]).map(drop).map_err(|error| error.to_string()))
}

/// The lines of the agent's log that have this part.
fn lines(bed: &Testbed, part: &str) -> anyhow::Result<Vec<String>> {
    let log = fs::read_to_string(bed.node.scratch().join("log"))?;
    Ok(log.lines().filter(|line| line.contains(part)).map(str::to_owned).collect())
}

#[test]
fn connections_lists_what_is_open_with_names_until_it_ends() -> anyhow::Result<()> {
    let bed = Testbed::start("open")?;
    bed.apply_split(&[("v1", 1)])?;
    let (mut server, mut client) = (End::start(&bed.node.place())?, End::start(&bed.node.place())?);
    server.listen(SocketAddrV4::new(backend(0), PORT))?;
    let cookie = client.connect(VIP)?;
    server.accept()?;
    wait_attending(&bed, "open")?;
    let list = |more: &[&str]| json(&bed, &[&["connections", "open"], more].concat());
    let found = list(&["-n", "default", "--service", "web"])?;
    let [one] = found["connections"].as_array().context("no list")?.as_slice() else {
        anyhow::bail!("not one connection: {found}");
    };
    for (field, value) in [
        ("namespace", "default"),
        ("service", "web"),
        ("endpoint", "web-v1"),
        ("version", "v1"),
        ("protocol", "tcp"),
        ("state", "open"),
        ("frontend", &VIP.to_string()),
        ("backend", &SocketAddrV4::new(backend(0), PORT).to_string()),
    ] {
        assert_eq!(one[field], value, "{field} of {one}");
    }
    assert_eq!(one["cookie"].as_u64(), Some(cookie), "{one}");
    assert!(one["ageMs"].as_u64().is_some_and(|age| age < 600_000), "{one}");
    for other in [["--service", "api"], ["-n", "prod"]] {
        assert_eq!(list(&other)?["connections"], Value::Array(Vec::new()), "{other:?}");
    }
    client.close()?;
    drop((client, server));
    eventually(|| match list(&[]) {
        Ok(found) if found["connections"] == Value::Array(Vec::new()) => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

#[test]
fn levels_change_while_programs_run_and_go_back() -> anyhow::Result<()> {
    let mut bed = Testbed::start("levels")?;
    wait_attending(&bed, "levels")?;
    assert!(lines(&bed, " DEBUG ")?.is_empty());
    let before = json(&bed, &["log", "levels"])?;
    assert_eq!((&before["directives"], &before["remainingMs"]), (&"info".into(), &0.into()));

    let set = json(&bed, &["log", "levels", "--level", "info,h2=debug", "--for", "2s"])?;
    assert_eq!(set["directives"], "info,h2=debug");
    assert!(set["remainingMs"].as_u64().is_some_and(|left| (1..=2000).contains(&left)), "{set}");
    eventually(|| match lines(&bed, " DEBUG ") {
        Ok(lines) if lines.iter().any(|line| line.contains("h2::")) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    eventually(|| match json(&bed, &["log", "levels"]) {
        Ok(now) if now == before => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    assert_eq!(lines(&bed, "the log is as before")?.len(), 1);

    // The control plane is asked like a node.
    let own = json(&bed, &["log", "control-plane", "--level", "warn"])?;
    assert_eq!((&own["directives"], &own["node"]), (&"warn".into(), &"control-plane".into()));
    let own = json(&bed, &["log", "control-plane", "--level", "default"])?;
    assert_eq!(own["directives"], "info");

    let said = bed.meshctl.run(&["log", "levels", "--level", "a=b=c"])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    let said = bed.meshctl.run(&["log", "nobody"])?;
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.stderr.contains("meshctl status"), "{said:?}");
    bed.node.kill()?;
    eventually(|| match bed.meshctl.run(&["connections", "levels"]) {
        Ok(said) if said.code == Some(1) && said.stderr.contains("went away") => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

#[test]
fn the_access_log_is_switched_on_sampled_and_off() -> anyhow::Result<()> {
    let bed = Testbed::start("access")?;
    bed.apply_split(&[("v1", 1)])?;
    wait_attending(&bed, "access")?;
    let closed = || lines(&bed, "connection closed");
    let logged = |count| {
        eventually(|| match closed() {
            Ok(lines) if lines.len() == count => Ok(()),
            other => Err(format!("{other:?}")),
        })
    };
    let exchange = || -> anyhow::Result<()> {
        let place = bed.node.place();
        let (mut server, mut client) = (End::start(&place)?, End::start(&place)?);
        server.listen(SocketAddrV4::new(backend(0), PORT))?;
        client.connect(VIP)?;
        server.accept()?;
        client.send("question")?;
        assert_eq!(server.receive(8)?, "question");
        server.send("an answer")?;
        assert_eq!(client.receive(9)?, "an answer");
        client.close()?;
        Ok(())
    };
    exchange()?;
    let on = json(&bed, &["log", "access", "--access-log", "on"])?;
    assert_eq!((&on["accessLog"], &on["accessSample"]), (&true.into(), &1.into()));
    exchange()?;
    logged(1)?;
    let line = closed()?.remove(0);
    let (vip, to) = (VIP, SocketAddrV4::new(backend(0), PORT));
    for part in [
        format!("dst.addr={to} dst.frontend={vip} dst.service=\"web.default\""),
        "dst.endpoint=\"web-v1\" dst.version=\"v1\"".to_owned(),
        "bytes_sent=8 bytes_recv=9 duration=\"".to_owned(),
        "direction=\"outbound\" src.addr=".to_owned(),
    ] {
        assert!(line.contains(&part), "no {part} in {line}");
    }
    assert!(!line.contains("error="), "{line}");

    json(&bed, &["log", "access", "--sample", "5"])?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    let twenty = || Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Greet), 20);
    for logged_by_then in [5, 9] {
        assert_eq!(twenty()?.failed(), 0);
        logged(logged_by_then)?;
    }
    json(&bed, &["log", "access", "--access-log", "off"])?;
    assert_eq!(twenty()?.failed(), 0);
    json(&bed, &["log", "access", "--access-log", "on", "--sample", "1"])?;
    assert_eq!(twenty()?.failed(), 0);
    logged(29)
}
