//! Which crate may depend on which, from `cargo metadata`; and that the compiler's version is the
//! same wherever it is written.

use super::source::{Source, Violation};
use crate::workspace::{Package, Workspace};

/// Members and the members they may depend on. mesh-tests may use all and is not listed.
const MEMBERS: [(&str, &[&str]); 10] = [
    ("mesh-agent", &["mesh-api", "mesh-common", "mesh-health", "mesh-telemetry", "mesh-xds"]),
    ("mesh-api", &[]),
    ("mesh-common", &[]),
    ("mesh-control", &["mesh-api", "mesh-health", "mesh-telemetry", "mesh-xds"]),
    ("mesh-ebpf", &["mesh-common"]),
    ("mesh-health", &["mesh-api"]),
    ("mesh-telemetry", &[]),
    ("mesh-xds", &["mesh-api"]),
    ("meshctl", &["mesh-api", "mesh-telemetry"]),
    ("xtask", &[]),
];

/// Libraries with one door: who may depend on them.
const DOORS: [(&str, &[&str]); 7] = [
    ("aya", &["mesh-agent", "mesh-common", "mesh-tests"]),
    ("aya-ebpf", &["mesh-ebpf"]),
    ("envoy-types", &["mesh-xds"]),
    ("opentelemetry", &["mesh-telemetry"]),
    ("redb", &["mesh-agent", "mesh-control"]),
    ("tracing-opentelemetry", &["mesh-telemetry"]),
    ("tracing-subscriber", &["mesh-telemetry"]),
];

/// All breaches in the manifests.
pub(super) fn check(workspace: &Workspace, sources: &[Source]) -> Vec<Violation> {
    let mut found: Vec<_> = workspace
        .packages
        .iter()
        .flat_map(|package| package_arrows(package, &workspace.packages))
        .collect();
    found.extend(versions(workspace, sources));
    let manifests = sources.iter().filter(|source| source.path.ends_with("/Cargo.toml"));
    found.extend(manifests.filter_map(lints));
    found
}

fn package_arrows(package: &Package, members: &[Package]) -> Vec<Violation> {
    let mut messages = Vec::new();
    let allowed =
        MEMBERS.iter().find(|(name, _)| *name == package.name).map(|(_, allowed)| *allowed);
    // Tests of a crate may look at others; what is shipped may not.
    for dependency in package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev")) {
        let name = dependency.name.as_str();
        let is_member = members.iter().any(|member| member.name == name);
        if is_member && allowed.is_some_and(|allowed| !allowed.contains(&name)) {
            messages.push(format!("must not depend on {name}: see the arrows in ARCHITECTURE.md"));
        }
        let door = DOORS.iter().find(|(library, _)| *library == name);
        if door.is_some_and(|(_, users)| !users.contains(&package.name.as_str())) {
            messages.push(format!("must not depend on {name}: go through the crate that may"));
        }
        if package.name == "mesh-common" && !(name == "aya" && dependency.optional) {
            messages.push(format!(
                "mesh-common depends on nothing (but {name} is there): copy the few lines"
            ));
        }
    }
    let path = format!("{}/Cargo.toml", folder(package));
    messages.into_iter().map(|message| Violation { path: path.clone(), line: 1, message }).collect()
}

fn folder(package: &Package) -> &str {
    let folder = package.manifest_path.parent().and_then(|folder| folder.file_name());
    folder.and_then(|name| name.to_str()).unwrap_or(&package.name)
}

fn versions(workspace: &Workspace, sources: &[Source]) -> Vec<Violation> {
    const PATH: &str = "rust-toolchain.toml";
    let violation = |message| Violation { path: PATH.to_owned(), line: 1, message };
    let text = sources.iter().find(|source| source.path == PATH).map(|source| source.text.as_str());
    let channel =
        text.and_then(|text| text.lines().find_map(|line| line.strip_prefix("channel = ")));
    let Some(channel) = channel.map(|value| value.trim_matches('"')) else {
        return vec![violation("no `channel`: pin the compiler here".to_owned())];
    };
    let other = |package: &&Package| {
        !package.rust_version.as_deref().is_some_and(|version| same_release(version, channel))
    };
    let packages = workspace.packages.iter().filter(other);
    packages
        .map(|package| {
            let version = package.rust_version.as_deref().unwrap_or("none");
            violation(format!(
                "channel {channel}, but rust-version of {} is {version}: make them agree",
                package.name
            ))
        })
        .collect()
}

/// Do `1.95` and `1.95.0` name the same release?
fn same_release(version: &str, channel: &str) -> bool {
    channel.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn lints(manifest: &Source) -> Option<Violation> {
    let good = manifest.text.contains("[lints]\nworkspace = true");
    let message = "the workspace's lints are not in force: add `[lints]` with `workspace = true`";
    (!good).then(|| manifest.violation(1, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &str) -> Package {
        serde_json::from_str(&format!(
            r#"{{"name":"{name}","id":"{name}","manifest_path":"/x/{name}/Cargo.toml",
                "rust_version":"1.95","dependencies":{dependencies}}}"#
        ))
        .unwrap()
    }

    fn count(name: &str, dependencies: &str) -> usize {
        let members = ["mesh-api", "mesh-common", "mesh-control"].map(|name| package(name, "[]"));
        package_arrows(&package(name, dependencies), &members).len()
    }

    #[test]
    fn agent_and_control_plane_share_only_the_contract() {
        assert_eq!(count("mesh-agent", r#"[{"name":"mesh-api","kind":null,"optional":false}]"#), 0);
        assert_eq!(
            count("mesh-agent", r#"[{"name":"mesh-control","kind":null,"optional":false}]"#),
            1
        );
        assert_eq!(
            count("mesh-control", r#"[{"name":"mesh-common","kind":null,"optional":false}]"#),
            1
        );
        assert_eq!(
            count("mesh-control", r#"[{"name":"mesh-common","kind":"dev","optional":false}]"#),
            0
        );
    }

    #[test]
    fn mesh_common_depends_on_nothing() {
        assert_eq!(count("mesh-common", r#"[{"name":"aya","kind":null,"optional":true}]"#), 0);
        assert_eq!(count("mesh-common", r#"[{"name":"aya","kind":null,"optional":false}]"#), 1);
        assert_eq!(count("mesh-common", r#"[{"name":"serde","kind":null,"optional":true}]"#), 1);
    }

    #[test]
    fn libraries_have_one_door() {
        assert_eq!(
            count("mesh-control", r#"[{"name":"envoy-types","kind":null,"optional":false}]"#),
            1
        );
    }

    #[test]
    fn releases_are_compared_by_their_parts() {
        assert!(same_release("1.95", "1.95.0"));
        assert!(same_release("1.95.0", "1.95.0"));
        assert!(!same_release("1.9", "1.95.0"));
    }
}
