//! Reports the list of workloads to the control plane: when it has changed, and again on every
//! new stream, because the control plane keeps it in memory only.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::wire;
use mesh_api::wire::node_client::NodeClient;
use mesh_xds::backoff::Backoff;
use tokio::sync::watch;
use tonic::Request;
use tonic::transport::Endpoint;

use super::inventory::{Inventory, Listed, ListedNamespace};
use crate::refused::is_final;
use crate::xds::client::Line;

/// Least time between two reports.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a report may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What it needs.
#[derive(Debug)]
pub struct Reporter {
    /// Where the control plane is.
    pub endpoint: Endpoint,
    /// Name of the node.
    pub node: String,
    /// How the stream to the control plane is.
    pub line: watch::Receiver<Line>,
    /// The list.
    pub inventory: watch::Receiver<Arc<Inventory>>,
}

impl Reporter {
    /// Reports for ever; returns when nobody can say anything new any more.
    pub async fn run(mut self, random01: impl Fn() -> f64 + Send) -> String {
        let mut client = NodeClient::new(self.endpoint.connect_lazy());
        let mut backoff = Backoff::new(PAUSE, Duration::from_secs(30), 2.0);
        // What was reported, and on which stream.
        let mut reported: Option<(u64, Arc<Inventory>)> = None;
        loop {
            let stream = {
                let line = self.line.borrow_and_update();
                line.connected.then_some(line.streams)
            };
            let newest = Arc::clone(&self.inventory.borrow_and_update());
            let wanted = stream.map(|stream| (stream, newest));
            if let Some((stream, newest)) =
                wanted.filter(|wanted| reported.as_ref() != Some(wanted))
            {
                let mut request = Request::new(message(&self.node, &newest));
                request.set_timeout(TIMEOUT);
                let wait = match client.report_workloads(request).await {
                    Ok(_) => {
                        backoff.reset();
                        reported = Some((stream, newest));
                        PAUSE
                    }
                    Err(status) if is_final(status.code()) => {
                        tracing::warn!(
                            reason = status.message(),
                            "the control plane does not take the list of workloads"
                        );
                        reported = Some((stream, newest));
                        PAUSE
                    }
                    Err(status) => {
                        tracing::debug!(%status, "the workloads are not reported; trying again");
                        backoff.next(random01())
                    }
                };
                tokio::time::sleep(wait).await;
                continue;
            }
            let changed = tokio::select! {
                changed = self.line.changed() => changed,
                changed = self.inventory.changed() => changed,
            };
            if changed.is_err() {
                return "nobody lists the workloads any more".to_owned();
            }
        }
    }
}

fn message(node: &str, inventory: &Inventory) -> wire::ReportWorkloadsRequest {
    wire::ReportWorkloadsRequest {
        node: node.to_owned(),
        workloads: inventory.workloads.iter().map(workload).collect(),
        omitted: inventory.omitted,
        namespaces: inventory.namespaces.iter().map(namespace).collect(),
    }
}

fn workload(listed: &Listed) -> wire::Workload {
    wire::Workload {
        kind: listed.kind.to_owned(),
        name: listed.name.clone(),
        pod_uid: listed.pod_uid.clone().unwrap_or_default(),
        container_id: listed.container_id.clone().unwrap_or_default(),
        cgroup: listed.cgroup.clone(),
        cgroup_id: listed.cgroup_id,
        enrolled: listed.enrolled,
        reason: listed.reason.clone(),
    }
}

fn namespace(listed: &ListedNamespace) -> wire::NetworkNamespace {
    wire::NetworkNamespace {
        name: listed.name.clone(),
        cookie: listed.cookie,
        enrolled: listed.enrolled,
        reason: listed.reason.clone(),
    }
}
