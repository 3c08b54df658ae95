//! Reports of workloads live as long as their node is known.

use mesh_api::wire;
use mesh_api::wire::node_client::NodeClient;
use mesh_api::wire::workloads_client::WorkloadsClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::agent::Agent;
use crate::testing::{PATIENCE, Running};

/// Size of what 10,000 workloads with long paths may take.
const MAX_ANSWER: usize = 16 << 20;

struct Clients {
    agents: NodeClient<Channel>,
    people: WorkloadsClient<Channel>,
}

impl Clients {
    async fn of(control: &Running) -> Self {
        let address = format!("http://{}", control.bound.grpc);
        let agents = NodeClient::connect(address.clone()).await.unwrap();
        let people = WorkloadsClient::connect(address).await.unwrap();
        Self { agents, people: people.max_decoding_message_size(MAX_ANSWER) }
    }

    async fn report(&mut self, node: &str, count: usize) -> Result<(), Status> {
        let workload = |n| wire::Workload {
            kind: "pod".to_owned(),
            name: format!("workload-{n}"),
            cgroup: format!("/{}/{n}", "kubepods.slice/".repeat(16)),
            enrolled: true,
            ..wire::Workload::default()
        };
        let request = wire::ReportWorkloadsRequest {
            node: node.to_owned(),
            workloads: (0..count).map(workload).collect(),
            ..wire::ReportWorkloadsRequest::default()
        };
        self.agents.report_workloads(request).await.map(drop)
    }

    async fn list(&mut self, node: &str) -> Result<Vec<wire::NodeWorkloads>, Status> {
        let request = wire::ListWorkloadsRequest { node: node.to_owned() };
        let mut stream = self.people.list_workloads(request).await?.into_inner();
        let mut listed = Vec::new();
        while let Some(node) = stream.message().await? {
            listed.push(node);
        }
        Ok(listed)
    }
}

#[tokio::test]
async fn a_report_is_listed_and_goes_stale_with_its_node() {
    let control = Running::start().await;
    let mut clients = Clients::of(&control).await;
    let nobody = clients.list("").await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    assert!(nobody.message().contains("no node has reported"), "{nobody}");

    // Who is no node is not listed.
    clients.report("node-1", 1).await.unwrap();
    let unknown = clients.list("node-1").await.unwrap_err();
    assert!(unknown.message().contains("there is no node node-1"), "{unknown}");

    let mut one = Agent::connect(control.bound.grpc, "node-1").await;
    one.revision().await;
    let mut two = Agent::connect(control.bound.grpc, "node-2").await;
    two.revision().await;
    let silent = clients.list("node-2").await.unwrap_err();
    assert_eq!(silent.code(), Code::NotFound);
    assert!(silent.message().contains("node-2 has not reported"), "{silent}");

    clients.report("node-2", 5000).await.unwrap();
    clients.report("node-1", 2).await.unwrap();
    let all = clients.list("").await.unwrap();
    let sizes: Vec<_> = all.iter().map(|it| (it.node.as_str(), it.workloads.len())).collect();
    assert_eq!(sizes, [("node-1", 2), ("node-2", 5000)]);
    assert!(all.iter().all(|it| it.connected && it.away_ms == 0));

    two.disconnect();
    let stale = async {
        loop {
            let listed = clients.list("node-2").await.unwrap();
            if !listed[0].connected {
                return listed;
            }
            tokio::task::yield_now().await;
        }
    };
    let stale = tokio::time::timeout(PATIENCE, stale).await.unwrap();
    assert_eq!(stale[0].workloads.len(), 5000, "kept");
    drop(one);
    control.stop().await;
}

#[tokio::test]
async fn reports_that_cannot_be_are_refused() {
    let control = Running::start().await;
    let mut clients = Clients::of(&control).await;
    let error = clients.report("", 1).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    clients.report("node-1", mesh_api::MAX_WORKLOADS).await.unwrap();
    let error = clients.report("node-1", mesh_api::MAX_WORKLOADS + 1).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    control.stop().await;
}
