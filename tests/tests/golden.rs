//! Golden scripts, twice: on maps in memory (compiler and reconciler alone) and on the kernel
//! (control plane, xDS, agent and pinned maps in between). Both must hold the same lines.

use anyhow::{Context as _, bail};
use mesh_agent::compile::Limits;
use mesh_agent::ledger::Journal;
use mesh_agent::maps::memory::MemoryMaps;
use mesh_agent::reconcile::Reconciler;
use mesh_agent::world::{Change, NodeLocality};
use mesh_api::manifest;
use mesh_api::model::{Kind, Object, ObjectRef};
use mesh_tests::script::{self, Script, Step, normal};
use mesh_tests::testbed::Testbed;
use mesh_tests::ui;
use mesh_tests::wait::eventually;

/// As the scripts spell it.
const NODE: &str = "golden";

const LIMITS: Limits = Limits { frontends: 256, services: 128, slots: 2_048, backends: 512 };

#[test]
fn scripts_hold_on_maps_in_memory() -> anyhow::Result<()> {
    for mut script in script::all()? {
        let name = script.name();
        let mut reconciler = Reconciler::open(
            MemoryMaps::new(LIMITS),
            Journal::in_memory(),
            NodeLocality { node: Some(NODE.parse()?), ..NodeLocality::default() },
        )?;
        for (stamp, step) in (1..).zip(&mut script.steps) {
            match step {
                Step::Apply(text) => reconciler.change(parse(&name, text)?),
                Step::Delete { kind, name } => reconciler.change([remove(kind, name)?]),
                Step::Maps(expected) => {
                    let found = normal(&reconciler.maps().image().to_string());
                    if Script::updating() {
                        *expected = found;
                    } else {
                        assert_eq!(found, normal(expected), "{name}, section {stamp}");
                    }
                    continue;
                }
            }
            reconciler.install(stamp)?;
            reconciler.retire(std::time::Duration::ZERO)?;
        }
        if Script::updating() {
            script.write()?;
        }
    }
    Ok(())
}

fn parse(name: &str, text: &str) -> anyhow::Result<Vec<Change>> {
    let objects = match manifest::parse(name, text) {
        Ok(objects) => objects,
        Err(problems) => bail!("{name}: {problems}"),
    };
    objects
        .into_iter()
        .map(|located| match Object::try_from(located.into_object()) {
            Ok(object) => Ok(Change::Put(object)),
            Err(errors) => bail!("{name}: {errors:?}"),
        })
        .collect()
}

fn remove(kind: &str, name: &str) -> anyhow::Result<Change> {
    let kind = Kind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)
        .with_context(|| format!("no kind {kind}"))?;
    let name = name.parse()?;
    Ok(Change::Remove(ObjectRef { kind, name }))
}

#[test]
fn scripts_hold_on_the_kernel() -> anyhow::Result<()> {
    for script in script::all()? {
        let name = script.name();
        ui::say(format!("script {name}"));
        let bed = Testbed::start(NODE)?;
        let mut settled = String::new();
        for (number, step) in (1..).zip(&script.steps) {
            match step {
                Step::Apply(text) => {
                    bed.meshctl.apply_text(text)?;
                }
                Step::Delete { kind, name } => {
                    let (namespace, name) = name.split_once('/').context("namespace/name")?;
                    bed.meshctl.ok(&["delete", kind, name, "--namespace", namespace])?;
                }
                Step::Maps(expected) => {
                    // What is no longer used is freed a moment after the change is live.
                    settled = normal(expected);
                    eventually(|| {
                        let found = bed.node.dump().map_err(|error| error.to_string())?;
                        if policy(&found) == settled {
                            return Ok(());
                        }
                        Err(format!(
                            "{name}, section {number}: expected\n{settled}\nfound\n{}",
                            policy(&found)
                        ))
                    })?;
                }
            }
        }
        assert!(!settled.is_empty() || name == "empty", "{name} expects nothing");
    }
    Ok(())
}

/// The lines of a dump that are policy, not counters.
fn policy(dump: &str) -> String {
    let kinds = ["FRONTEND ", "SERVICE ", "POLICY ", "SLOT ", "BACKEND "];
    let lines = dump.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
    normal(&lines.collect::<Vec<_>>().join("\n"))
}
