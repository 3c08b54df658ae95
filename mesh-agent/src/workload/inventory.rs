//! The list of this node's workloads with the decision for each. Pure; its JSON form is
//! `/workloads` of the agent.

use serde::Serialize;

use super::identity::identify;
use crate::enrol::rules::Rules;
use crate::enrol::tree::Tree;
use crate::enrol::verdicts::{Namespace, judge};

/// All of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// By path of the cgroup.
    pub workloads: Vec<Listed>,
    /// How many more there are.
    pub omitted: u64,
    /// Network namespaces; empty where no flag speaks of them.
    pub namespaces: Vec<ListedNamespace>,
}

/// A workload and the decision for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// [`super::Kind`] as text.
    pub kind: &'static str,
    /// What it is called; a label of metrics.
    pub name: String,
    /// In Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// In a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Path from the root of cgroup v2.
    pub cgroup: String,
    /// Its id.
    pub cgroup_id: u64,
    /// Whether its cgroup is in the mesh.
    pub enrolled: bool,
    /// Which flag says so.
    pub reason: String,
}

/// A network namespace and the decision for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedNamespace {
    /// What it is called.
    pub name: String,
    /// Its cookie.
    pub cookie: u64,
    /// Whether it is in the mesh.
    pub enrolled: bool,
    /// Which flag says so.
    pub reason: String,
}

/// Lists what is there. Cgroups that only group others are left out.
#[must_use]
pub fn inventory(rules: &Rules, tree: &Tree, namespaces: &[Namespace]) -> Inventory {
    let mut list = Inventory::default();
    for (path, cgroup) in tree.cgroups() {
        let workload = identify(path, cgroup.id);
        if workload.is_group() {
            continue;
        }
        if list.workloads.len() == mesh_api::MAX_WORKLOADS {
            list.omitted += 1;
            continue;
        }
        list.workloads.push(Listed {
            kind: workload.kind.as_str(),
            name: workload.name,
            pod_uid: workload.pod_uid,
            container_id: workload.container_id,
            cgroup: workload.path,
            cgroup_id: workload.cgroup_id,
            enrolled: cgroup.why.verdict().is_in(),
            reason: cgroup.why.to_string(),
        });
    }
    if rules.filter_namespaces() {
        list.namespaces = namespaces
            .iter()
            .map(|namespace| {
                let (name, why) = judge(rules, namespace);
                ListedNamespace {
                    name,
                    cookie: namespace.cookie,
                    enrolled: why.verdict().is_in(),
                    reason: why.to_string(),
                }
            })
            .collect();
    }
    list
}
