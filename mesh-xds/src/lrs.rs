//! The Load Reporting Service: what clients count of their requests. Here are its messages and what
//! they mean; pure.
//!
//! Source: `envoy/service/load_stats/v3/lrs.proto`.

pub use envoy_types::pb::envoy::service::load_stats::v3::{
    LoadStatsRequest, LoadStatsResponse,
    load_reporting_service_client::LoadReportingServiceClient,
    load_reporting_service_server::{LoadReportingService, LoadReportingServiceServer},
};

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterStats;
use envoy_types::pb::google::protobuf;
use mesh_api::model::ObjectName;

use crate::ads::Node;

/// What a client announces that can be asked for all its clusters at once.
const SENDS_ALL: &str = "envoy.lrs.supports_send_all_clusters";

/// What a client counted of the requests to a service since its last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that ended well.
    pub successful: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Requests that the client did not send on: a limit, or a fault on purpose.
    pub dropped: u64,
    /// Requests that are under way now.
    pub in_progress: u64,
}

impl Load {
    fn add(&mut self, stats: &ClusterStats) {
        for locality in &stats.upstream_locality_stats {
            let sum = |to: &mut u64, value: u64| *to = to.saturating_add(value);
            sum(&mut self.successful, locality.total_successful_requests);
            sum(&mut self.failed, locality.total_error_requests);
            sum(&mut self.in_progress, locality.total_requests_in_progress);
        }
        self.dropped = self.dropped.saturating_add(stats.total_dropped_requests);
    }
}

/// Whether a client can be asked for all its clusters without their names.
#[must_use]
pub fn sends_all(node: Option<&Node>) -> bool {
    node.is_some_and(|node| node.client_features.iter().any(|feature| feature == SENDS_ALL))
}

/// Asks a client for reports, in this interval: of all clusters, or of some.
#[must_use]
pub fn ask(interval: Duration, clusters: Option<Vec<String>>) -> LoadStatsResponse {
    let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(interval.subsec_nanos()).unwrap_or(0);
    LoadStatsResponse {
        send_all_clusters: clusters.is_none(),
        clusters: clusters.unwrap_or_default(),
        load_reporting_interval: Some(protobuf::Duration { seconds, nanos }),
        report_endpoint_granularity: false,
    }
}

/// What a report says, by service. Clusters that are none of ours are left out.
#[must_use]
pub fn by_service(
    report: &LoadStatsRequest,
    is_ours: impl Fn(&str) -> bool,
) -> BTreeMap<ObjectName, Load> {
    let mut found = BTreeMap::<_, Load>::new();
    for stats in report.cluster_stats.iter().filter(|it| is_ours(&it.cluster_name)) {
        if let Some(service) = service_of(&stats.cluster_name) {
            found.entry(service).or_default().add(stats);
        }
    }
    found
}

/// The service whose rules lead to a cluster, from its name: `namespace/service/port` for Envoy,
/// `service.namespace:port` for gRPC, both with a destination behind `|`.
fn service_of(cluster: &str) -> Option<ObjectName> {
    let base = cluster.split('|').next()?;
    if let Some((service, _port)) = base.rsplit_once('/') {
        return service.parse().ok();
    }
    let (host, _port) = base.split_once(':')?;
    let (name, namespace) = host.split_once('.')?;
    format!("{namespace}/{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::endpoint::v3::UpstreamLocalityStats;

    use super::*;

    #[test]
    fn clusters_belong_to_services() {
        let of = |cluster| service_of(cluster).map(|name| name.to_string());
        assert_eq!(of("shop/web/http").as_deref(), Some("shop/web"));
        assert_eq!(of("shop/web/http|shop/db|v1").as_deref(), Some("shop/web"));
        assert_eq!(of("web.shop:http").as_deref(), Some("shop/web"));
        assert_eq!(of("web.shop:http|db.shop|a/b:c").as_deref(), Some("shop/web"));
        assert_eq!(of("xds"), None);
    }

    #[test]
    fn localities_and_destinations_of_a_service_are_summed() {
        let locality =
            |total_successful_requests, total_requests_in_progress| UpstreamLocalityStats {
                total_successful_requests,
                total_requests_in_progress,
                total_error_requests: 1,
                ..UpstreamLocalityStats::default()
            };
        let cluster = |name: &str, upstream_locality_stats| ClusterStats {
            cluster_name: name.to_owned(),
            upstream_locality_stats,
            total_dropped_requests: 2,
            ..ClusterStats::default()
        };
        let report = LoadStatsRequest {
            cluster_stats: vec![
                cluster("shop/web/http", vec![locality(3, 1), locality(4, 0)]),
                cluster("shop/web/http|shop/web|v2", vec![locality(u64::MAX, 2)]),
                cluster("shop/gone/http", vec![locality(9, 9)]),
            ],
            ..LoadStatsRequest::default()
        };
        let found = by_service(&report, |cluster| !cluster.contains("gone"));
        let load = Load { successful: u64::MAX, failed: 3, dropped: 4, in_progress: 3 };
        assert_eq!(found, [("shop/web".parse().unwrap(), load)].into());
    }
}
