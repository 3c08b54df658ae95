//! Every map can be read by a person with `bpftool`: named fields, not bytes.

use std::collections::BTreeSet;

use mesh_common::names;
use mesh_tests::bpftool;
use mesh_tests::load::Mode;
use mesh_tests::testbed::{Testbed, VIP};
use mesh_tests::traffic::{Plan, Traffic};
use serde_json::Value;

/// Maps that can be walked, and field names that must show in them.
const WALKABLE: [(&str, &[&str]); 15] = [
    (names::FRONTENDS, &["addr", "octets", "port", "proto", "service"]),
    (
        names::SERVICES,
        &["slot_base", "slot_count", "generation", "algorithm", "flags", "refuse_errno"],
    ),
    (names::POLICIES, &["max_connections", "max_failures", "consecutive_failures", "connect_ms"]),
    (names::SERVICE_GUARDS, &["load", "breaker", "ejected", "refused_open"]),
    (names::BACKEND_GUARDS, &["load", "breaker", "outlier", "skipped"]),
    (names::SLOTS, &["service", "backend", "alias", "threshold"]),
    (names::BACKENDS, &["addr", "octets", "port", "service", "generation"]),
    (
        names::BACKEND_COUNTERS,
        &["attempts", "opened", "failed", "closed", "bytes_sent", "bytes_received"],
    ),
    (names::EDGES, &["cgroup", "backend", "generation", "opened", "failed", "bytes_sent"]),
    (names::SERVICE_COUNTERS, &["refused", "passed"]),
    (names::REASONS, &["count"]),
    (names::SERVICE_STATE, &["cursor"]),
    (names::BACKEND_STATE, &["active"]),
    (names::CONNS_STATE, &["overflowed"]),
    (names::TUNABLES, &["abi_version", "flags", "revision"]),
];

/// Maps that are empty here, too long to walk, or socket storage, which cannot be walked: their
/// types are with the map for bpftool to print.
const TYPED: [(&str, &str, &[&str]); 16] = [
    (
        names::CONNS,
        "ConnRecord",
        &["frontend_addr", "backend_addr", "frontend_port", "backend_port", "stage", "started_ns"],
    ),
    (names::CONNS_INDEX, "ConnGroup", &["cookies"]),
    (names::CONNS_OVERFLOW, "ConnRecord", &["frontend_addr", "backend_addr", "stage"]),
    (names::FLOWS, "Flow", &["frontend_addr", "backend_addr", "generation", "used"]),
    (names::AFFINITY, "Affinity", &["backend", "generation", "used_ns"]),
    (names::CGROUPS, "CgroupKey", &["id"]),
    (names::NAMESPACES, "NetnsKey", &["cookie"]),
    (names::AUTO_CLIENTS, "AutoKey", &["cgroup", "service"]),
    (names::PAIRINGS, "PairKey", &["client_addr", "server_port", "client_seq", "netns"]),
    (
        names::PAIRS,
        "Pair",
        &["id", "sent_path", "received_path", "client_at", "server_at", "sent", "received"],
    ),
    (names::ACCELERATED, "Accelerated", &["id", "place", "end"]),
    (names::LOCALS, "FrontendKey", &["addr", "port", "proto"]),
    (names::PEERS, "ClientId", &["number"]),
    (names::INBOUND, "InboundKey", &["endpoint", "client"]),
    (names::REFUSALS, "RefusalKey", &["cgroup", "service"]),
    (names::ACCEPTED, "Accepted", &["key", "started_ns", "sent", "received", "received_mark"]),
];

/// Maps whose values have no structure: a ring, socket storage that holds a number, and a sockhash.
const UNTYPED: [&str; 3] = [names::EVENTS, names::DIRECT, names::SOCKETS];

#[test]
fn bpftool_shows_named_fields_of_every_pinned_map() -> anyhow::Result<()> {
    let bed = Testbed::start("dump")?;
    let _servers = bed.serve(Mode::Greet, &["v1", "v2"])?;
    bed.apply_split(&[("v1", 1), ("v2", 1)])?;
    Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Greet), 100)?;

    let tested: BTreeSet<&str> = {
        let walkable = WALKABLE.iter().map(|(name, _)| *name);
        walkable.chain(TYPED.iter().map(|(name, ..)| *name)).chain(UNTYPED).collect()
    };
    assert_eq!(tested, BTreeSet::from(names::MAPS), "a map without a test");

    for (name, fields) in WALKABLE {
        let entries = bpftool::dump(&bed.node.map(name))?;
        let first = entries.first().unwrap_or(&Value::Null);
        let formatted = &first["formatted"];
        let mut seen = BTreeSet::new();
        keys(formatted, &mut seen);
        for field in fields {
            assert!(seen.contains(*field), "{name}: no {field} in {formatted}");
        }
    }
    let show = |name| {
        let pin = bed.node.map(name);
        bpftool::json(&["map", "show", "pinned", &pin.to_string_lossy()])
    };
    for (name, of, fields) in TYPED {
        let btf = btf_struct(&show(name)?, of)?;
        for field in fields {
            assert!(btf.contains(&format!("'{field}'")), "{name}: no {field} in\n{btf}");
        }
    }
    // A ring has neither keys nor values, so there is nothing that bpftool could name.
    assert_eq!(show(names::EVENTS)?["type"], "ringbuf");
    Ok(())
}

/// All names in a JSON value.
fn keys(value: &Value, seen: &mut BTreeSet<String>) {
    if let Some(object) = value.as_object() {
        for (key, value) in object {
            seen.insert(key.clone());
            keys(value, seen);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        keys(value, seen);
    }
}

/// What bpftool prints of a structure in the BTF of a map.
fn btf_struct(owner: &Value, name: &str) -> anyhow::Result<String> {
    let id = owner["btf_id"].as_u64().unwrap_or(0).to_string();
    let text = bpftool::call(&["btf", "dump", "id", &id])?;
    let mut lines = text.lines();
    let head = format!("STRUCT '{name}'");
    let first = lines.find(|line| line.contains(&head)).unwrap_or_default();
    let members = lines.take_while(|line| line.starts_with('\t'));
    Ok([first].into_iter().chain(members).collect::<Vec<_>>().join("\n"))
}
