//! `mesh.v1.Node` and `mesh.v1.Workloads`: takes the lists of workloads that agents report and
//! hands them out. Kept in memory only, as long as the node is known: an agent reports again on
//! every stream that it opens.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::Stream;
use mesh_api::model::Label;
use mesh_api::wire;
use mesh_api::wire::node_server::{Node, NodeServer};
use mesh_api::wire::workloads_server::{Workloads, WorkloadsServer};
use tonic::{Request, Response, Status};

use crate::xds::{NodeState, Nodes};
use mesh_api::convert::milliseconds;

/// Largest report, in bytes. With the longest paths, 10,000 workloads take some 8 MB.
const MAX_REPORT: usize = 16 << 20;
/// How long the report of a node is kept that has not been heard of on a stream. A new agent's
/// report may be here first.
const UNKNOWN: Duration = Duration::from_mins(1);

/// The two services, and all that they ask.
#[derive(Clone, Debug)]
pub struct WorkloadsApi {
    reports: Arc<Mutex<BTreeMap<String, Report>>>,
    nodes: Arc<Nodes>,
}

/// What a node has reported last.
#[derive(Clone, Debug)]
struct Report {
    at: Instant,
    list: Arc<wire::ReportWorkloadsRequest>,
}

impl WorkloadsApi {
    /// Without any report.
    #[must_use]
    pub fn new(nodes: Arc<Nodes>) -> Self {
        Self { reports: Arc::default(), nodes }
    }

    /// What agents call.
    #[must_use]
    pub fn for_agents(&self) -> NodeServer<Self> {
        NodeServer::new(self.clone()).max_decoding_message_size(MAX_REPORT)
    }

    /// What meshctl calls.
    #[must_use]
    pub fn for_people(&self) -> WorkloadsServer<Self> {
        WorkloadsServer::new(self.clone())
    }

    fn reports(&self) -> MutexGuard<'_, BTreeMap<String, Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces what a node has reported, and forgets nodes that are forgotten elsewhere.
    fn put(&self, list: wire::ReportWorkloadsRequest, now: Instant) {
        let table = self.nodes.lock();
        let mut reports = self.reports();
        reports.retain(|node, report| {
            table.node(node).is_some() || now.saturating_duration_since(report.at) < UNKNOWN
        });
        reports.insert(list.node.clone(), Report { at: now, list: Arc::new(list) });
    }

    /// The reports of one node, or of all, that are known to be nodes.
    fn find(&self, wanted: &str, now: Instant) -> Result<Vec<Listed>, Status> {
        let table = self.nodes.lock();
        let reports = self.reports();
        let listed = reports
            .iter()
            .filter(|(node, _)| wanted.is_empty() || node.as_str() == wanted)
            .filter_map(|(node, report)| Some(Listed::new(report, table.node(node)?, now)));
        let listed: Vec<Listed> = listed.collect();
        if !listed.is_empty() {
            return Ok(listed);
        }
        Err(Status::not_found(if wanted.is_empty() {
            "no node has reported its workloads yet".to_owned()
        } else if table.node(wanted).is_some() {
            format!(
                "node {wanted} has not reported its workloads: it does so when it connects; an \
                 older agent never does"
            )
        } else {
            format!(
                "there is no node {wanted}: nodes appear when their agents connect, see `meshctl \
                 status`"
            )
        }))
    }
}

/// A report to be sent; copied only then.
struct Listed {
    list: Arc<wire::ReportWorkloadsRequest>,
    connected: bool,
    away: Duration,
    age: Duration,
}

impl Listed {
    fn new(report: &Report, state: &NodeState, now: Instant) -> Self {
        let away = now.saturating_duration_since(state.since);
        Self {
            list: Arc::clone(&report.list),
            connected: state.connected,
            away: if state.connected { Duration::ZERO } else { away },
            age: now.saturating_duration_since(report.at),
        }
    }

    fn message(self) -> wire::NodeWorkloads {
        let list = wire::ReportWorkloadsRequest::clone(&self.list);
        wire::NodeWorkloads {
            node: list.node,
            connected: self.connected,
            away_ms: milliseconds(self.away),
            age_ms: milliseconds(self.age),
            workloads: list.workloads,
            omitted: list.omitted,
            namespaces: list.namespaces,
        }
    }
}

#[tonic::async_trait]
impl Node for WorkloadsApi {
    async fn report_workloads(
        &self,
        request: Request<wire::ReportWorkloadsRequest>,
    ) -> Result<Response<wire::ReportWorkloadsResponse>, Status> {
        let list = request.into_inner();
        list.node
            .parse::<Label>()
            .map_err(|error| Status::invalid_argument(format!("node {:?}: {error}", list.node)))?;
        let most = mesh_api::MAX_WORKLOADS;
        let longest = list.workloads.len().max(list.namespaces.len());
        if longest > most {
            return Err(Status::failed_precondition(format!(
                "{longest} workloads or namespaces are too many: report {most} at most, and how \
                 many are omitted"
            )));
        }
        self.put(list, Instant::now());
        Ok(Response::new(wire::ReportWorkloadsResponse {}))
    }
}

type ListStream = Pin<Box<dyn Stream<Item = Result<wire::NodeWorkloads, Status>> + Send>>;

#[tonic::async_trait]
impl Workloads for WorkloadsApi {
    type ListWorkloadsStream = ListStream;

    async fn list_workloads(
        &self,
        request: Request<wire::ListWorkloadsRequest>,
    ) -> Result<Response<ListStream>, Status> {
        let listed = self.find(&request.into_inner().node, Instant::now())?;
        let messages = listed.into_iter().map(|listed| Ok(listed.message()));
        Ok(Response::new(Box::pin(futures::stream::iter(messages))))
    }
}
