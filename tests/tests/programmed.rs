//! `meshctl diff node/NODE`: what the kernel's maps hold is read back from them, so that a change which
//! nobody made through the mesh is named, and so is a node that lags behind.

use std::path::Path;

use anyhow::Context as _;
use mesh_common::names;
use mesh_tests::bpftool;
use mesh_tests::meshctl::Said;
use mesh_tests::testbed::{SMALL, Testbed, VIP, backend};
use mesh_tests::wait::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Of the node of a test, which is called like its testbed.
fn diff(bed: &Testbed, node: &str) -> anyhow::Result<Said> {
    bed.meshctl.run(&["diff", &format!("node/{node}")])
}

/// Waits until the node can be asked, and is as it should be.
fn wait_in_sync(bed: &Testbed, node: &str) -> anyhow::Result<()> {
    eventually(|| match diff(bed, node) {
        Ok(said) if said.code == Some(0) && said.stdout.starts_with("in sync: ") => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

/// The lines of a comparison that ends with 1, without its head.
fn lines(bed: &Testbed, node: &str) -> anyhow::Result<Vec<String>> {
    let said = diff(bed, node)?;
    anyhow::ensure!(said.code == Some(1), "{said:?}");
    let mut lines = said.stdout.lines();
    let head = [lines.next(), lines.next()].map(Option::unwrap_or_default);
    anyhow::ensure!(head[0].starts_with("--- intended\t(revision "), "{head:?}");
    anyhow::ensure!(head[1].starts_with("+++ programmed on "), "{head:?}");
    Ok(lines.map(str::to_owned).collect())
}

/// What bpftool takes as bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A key or a value of an entry as bpftool prints it, without BTF.
fn bytes(of: &Value) -> anyhow::Result<Vec<u8>> {
    let all = of.as_array().context("no list of bytes")?;
    let byte = |it: &Value| {
        let text = it.as_str()?;
        u8::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    all.iter().map(|it| byte(it).with_context(|| format!("{it} is no byte"))).collect()
}

fn update(pin: &Path, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
    let (pin, key, value) = (pin.to_string_lossy(), hex(key), hex(value));
    let command = format!("map update pinned {pin} key hex {key} value hex {value}");
    bpftool::call(&command.split(' ').collect::<Vec<_>>())?;
    Ok(())
}

fn delete(pin: &Path, key: &[u8]) -> anyhow::Result<()> {
    let command = format!("map delete pinned {} key hex {}", pin.to_string_lossy(), hex(key));
    bpftool::call(&command.split(' ').collect::<Vec<_>>())?;
    Ok(())
}

/// The entries in use whose value has this number in a field, as (key, value) in bytes.
fn entries(pin: &Path, field: &str, number: u64) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in bpftool::dump(pin)? {
        if find(&entry["formatted"]["value"], field) == Some(number) {
            found.push((bytes(&entry["key"])?, bytes(&entry["value"])?));
        }
    }
    Ok(found)
}

/// The first number of this name.
fn find(value: &Value, field: &str) -> Option<u64> {
    let object = value.as_object()?;
    let inner = |it: &Value| it.as_object()?.values().find_map(Value::as_u64);
    let own = object.get(field).and_then(|it| it.as_u64().or_else(|| inner(it)));
    own.or_else(|| object.values().find_map(|inner| find(inner, field)))
}

const NODE: &str = "programmed";
const WEB: &str = "service/default/web:80/TCP/IPv4";

#[test]
fn a_change_behind_the_agents_back_is_named_and_nothing_else() -> anyhow::Result<()> {
    let bed = Testbed::start(NODE)?;
    bed.apply_split(&[("v1", 1), ("v2", 3)])?;
    wait_in_sync(&bed, NODE)?;
    let (one, two) = (format!("{}:8080", backend(0)), format!("{}:8080", backend(1)));

    // A share: the slots of the service all go to one backend.
    let pin = bed.node.map(names::SLOTS);
    let before = entries(&pin, "service", 1)?;
    assert!(!before.is_empty(), "no slot of the service");
    let backends = bed.node.map(names::BACKENDS);
    let second = entries(&backends, "service", 1)?.pop().context("no backend")?.0;
    for (key, value) in &before {
        let mut value = value.clone();
        value[4..8].copy_from_slice(&second);
        value[8..12].copy_from_slice(&second);
        update(&pin, key, &value)?;
    }
    let expected = [
        format!("- {WEB} endpoint {one} share: 25%"),
        format!("- {WEB} endpoint {two} share: 75%"),
        format!("+ {WEB} endpoint {two} share: 100%"),
    ];
    assert_eq!(lines(&bed, NODE)?, expected);
    let said = bed.meshctl.run(&["diff", "node/programmed", "-o", "json"])?;
    let report: Value = serde_json::from_str(&said.stdout)?;
    assert_eq!((said.code, &report["inSync"]), (Some(1), &false.into()));
    assert_eq!(report["differences"][1]["programmed"], "100%", "{report}");
    for (key, value) in &before {
        update(&pin, key, value)?;
    }
    wait_in_sync(&bed, NODE)?;

    // An address of the service.
    let pin = bed.node.map(names::FRONTENDS);
    let (key, value) = entries(&pin, "service", 1)?.pop().context("no frontend")?;
    delete(&pin, &key)?;
    assert_eq!(lines(&bed, NODE)?, [format!("- {WEB} frontend {VIP}: there")]);
    update(&pin, &key, &value)?;
    wait_in_sync(&bed, NODE)
}

#[test]
fn a_node_that_rejects_lags_or_does_not_answer_is_not_in_sync() -> anyhow::Result<()> {
    let flags = [&SMALL[..2], &["--max-backends", "2", "--max-slots", "64"]].concat();
    let bed = Testbed::start_with("lagging", &flags)?;
    wait_in_sync(&bed, "lagging")?;
    // One endpoint fits: index 0 is not given out.
    let manifest = mesh_tests::manifest::Manifest::new()
        .service("web", VIP, 8080)
        .endpoint("web", "web-v1", "v1", backend(0))
        .endpoint("web", "web-v2", "v2", backend(1));
    let file = bed.meshctl.file(&manifest)?;
    bed.meshctl.ok(&["apply", "-f", &file])?;
    eventually(|| match diff(&bed, "lagging") {
        Ok(said) if said.code == Some(1) && said.stderr.contains("rejects revision") => {
            assert!(said.stderr.contains("--max-backends"), "{said:?}");
            assert!(said.stdout.contains(&format!("- {WEB} programmed: yes\n")), "{said:?}");
            Ok(())
        }
        other => Err(format!("{other:?}")),
    })?;
    let agent = Pid::from_raw(bed.node.id()?.try_into()?);
    kill(agent, Signal::SIGSTOP)?;
    let said = diff(&bed, "lagging");
    kill(agent, Signal::SIGCONT)?;
    let said = said?;
    assert_eq!(said.code, Some(124), "{said:?}");
    assert!(said.stderr.contains("has not answered"), "{said:?}");
    let said = bed.meshctl.run(&["diff", "node/nobody"])?;
    assert_eq!(said.code, Some(4), "{said:?}");
    Ok(())
}
