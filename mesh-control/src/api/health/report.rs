//! Reports of agents: wire → model, within limits.

use std::time::{Duration, Instant};

use mesh_api::model::{Health, ObjectName};
use mesh_api::wire;
use tonic::Status;

use crate::health::aggregate::Finding;
use crate::health::book::AgentReport;

/// Most endpoints of one report.
pub(super) const MAX_ENDPOINTS: usize = 100_000;
/// Most guards of one report.
const MAX_GUARDS: usize = 10_000;
/// Longest text that is kept, in bytes.
const MAX_TEXT: usize = 256;
/// How long a report is good for that does not say it.
const TTL: Duration = Duration::from_secs(15);
/// Shortest and longest time that a report can be good for.
const TTLS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));

pub(super) fn decode(
    request: wire::ReportHealthRequest,
    now: Instant,
) -> Result<AgentReport, Status> {
    let wire::ReportHealthRequest { node, full, endpoints, gone, guards, guards_omitted, ttl_ms } =
        request;
    let label = node
        .parse()
        .map_err(|error| Status::invalid_argument(format!("node {node:?}: {error}")))?;
    let count = endpoints.len().max(gone.len());
    if count > MAX_ENDPOINTS {
        return Err(Status::failed_precondition(format!(
            "health of {count} endpoints is too much for one node: {MAX_ENDPOINTS} is the most"
        )));
    }
    if guards.len() > MAX_GUARDS {
        let count = guards.len();
        return Err(Status::failed_precondition(format!(
            "{count} guards are too many: report {MAX_GUARDS} at most, and how many are omitted"
        )));
    }
    let ttl = if ttl_ms == 0 { TTL } else { Duration::from_millis(ttl_ms) };
    let findings = endpoints.into_iter().map(|endpoint| finding(endpoint, now));
    let gone = gone.iter().map(|reference| name(&reference.namespace, &reference.name));
    let tidied = |mut guard: wire::GuardReport| {
        tidy(&mut guard.cause);
        guard
    };
    Ok(AgentReport {
        node: label,
        full,
        ttl: ttl.clamp(TTLS.0, TTLS.1),
        findings: findings.collect::<Result<_, Status>>()?,
        gone: gone.collect::<Result<_, Status>>()?,
        guards: wire::NodeGuards {
            node,
            guards: guards.into_iter().map(tidied).collect(),
            omitted: guards_omitted,
        },
    })
}

fn finding(
    mut endpoint: wire::EndpointReport,
    now: Instant,
) -> Result<(ObjectName, Finding), Status> {
    let name = name(&endpoint.namespace, &endpoint.name)?;
    let status = match endpoint.status() {
        wire::HealthStatus::Healthy => Some(Health::Healthy),
        wire::HealthStatus::Unhealthy => Some(Health::Unhealthy),
        wire::HealthStatus::Unspecified => None,
    };
    tidy(&mut endpoint.reason);
    let finding = Finding {
        status,
        reason: endpoint.reason,
        since: now.checked_sub(Duration::from_millis(endpoint.since_ms)).unwrap_or(now),
        latency_us: endpoint.latency_us,
    };
    Ok((name, finding))
}

fn name(namespace: &str, name: &str) -> Result<ObjectName, Status> {
    let wrong = |error| Status::invalid_argument(format!("endpoint {namespace}/{name}: {error}"));
    Ok(ObjectName {
        namespace: namespace.parse().map_err(wrong)?,
        name: name.parse().map_err(wrong)?,
    })
}

/// For a terminal and a log line: nothing that moves the cursor, and not too long.
fn tidy(text: &mut String) {
    text.retain(|it| !it.is_control());
    text.truncate(text.floor_char_boundary(MAX_TEXT));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_are_shown_is_tidy() {
        let endpoint = wire::EndpointReport {
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            reason: format!("\u{1b}[2Jstatus\r\n 503\u{9b}\0 {}", "ü".repeat(300)),
            ..wire::EndpointReport::default()
        };
        let guard = wire::GuardReport { cause: "a\nb".to_owned(), ..wire::GuardReport::default() };
        let request = wire::ReportHealthRequest {
            node: "n1".to_owned(),
            endpoints: vec![endpoint],
            guards: vec![guard],
            ..wire::ReportHealthRequest::default()
        };
        let report = decode(request, Instant::now()).unwrap();
        let (_, finding) = &report.findings[0];
        assert!(finding.reason.starts_with("[2Jstatus 503 ü"), "{}", finding.reason);
        assert!((MAX_TEXT - 1..=MAX_TEXT).contains(&finding.reason.len()));
        assert_eq!(report.guards.guards[0].cause, "ab");
    }
}
