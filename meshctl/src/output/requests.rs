//! Traffic rules for requests, in words.

use std::time::Duration;

use mesh_api::manifest::duration::format_duration;
use mesh_api::wire;

use super::objects::{destination_text, shares};

/// The rules that the kernel can follow: for all that no match says anything about.
pub(crate) fn of_connections(spec: &wire::ServiceConfig) -> Vec<&wire::TrafficRule> {
    let is_one = |rule: &&wire::TrafficRule| rule.r#match.is_none() && rule.redirect.is_none();
    spec.traffic_rules.iter().filter(is_one).collect()
}

/// A row for each rule of a configuration that is about requests: match, destination, share, and
/// what else is done. Empty where none is.
pub(crate) fn rows(spec: &wire::ServiceConfig) -> Vec<[String; 4]> {
    let plain = |rule: &wire::TrafficRule| wire::TrafficRule {
        destination: rule.destination.clone(),
        weight: rule.weight,
        ..wire::TrafficRule::default()
    };
    if spec.traffic_rules.iter().all(|rule| plain(rule) == *rule) {
        return Vec::new();
    }
    let row = |rule: &wire::TrafficRule| {
        let alike = spec.traffic_rules.iter().filter(|other| other.r#match == rule.r#match);
        let alike: Vec<_> = alike.collect();
        let place = alike.iter().position(|other| *other == rule).unwrap_or_default();
        let (to, share) = shares(&alike).into_iter().nth(place).unwrap_or_default();
        let to = if rule.redirect.is_some() { String::new() } else { to };
        [matched(rule.r#match.as_ref()), to, share, actions(rule)]
    };
    spec.traffic_rules.iter().map(row).collect()
}

/// Which requests.
fn matched(spec: Option<&wire::Match>) -> String {
    let Some(wire::Match { path, headers, method, grpc }) = spec else {
        return "(others)".to_owned();
    };
    let mut parts = Vec::new();
    if !method.is_empty() {
        parts.push(method.clone());
    }
    if let Some(wire::PathMatch { r#type, value }) = path {
        parts.push(match wire::MatchType::try_from(*r#type) {
            Ok(wire::MatchType::Exact) => format!("path={value}"),
            Ok(wire::MatchType::RegularExpression) => format!("path~{value}"),
            _ => format!("path={}/*", value.trim_end_matches('/')),
        });
    }
    if let Some(wire::GrpcMatch { service, method }) = grpc {
        let method = if method.is_empty() { "*" } else { method };
        parts.push(format!("grpc={service}/{method}"));
    }
    for wire::HeaderMatch { r#type, name, value } in headers {
        let is_regex = *r#type == i32::from(wire::MatchType::RegularExpression);
        parts.push(format!("{name}{}{value}", if is_regex { '~' } else { '=' }));
    }
    parts.join(" ")
}

/// What else is done.
fn actions(rule: &wire::TrafficRule) -> String {
    let duration = |ms: u64| format_duration(Duration::from_millis(ms));
    let mut parts = Vec::new();
    if let Some(ms) = rule.timeout_ms {
        parts.push(format!("timeout {}", duration(ms)));
    }
    if let Some(retries) = &rule.retries {
        let per_try = retries.per_try_timeout_ms;
        let per_try = per_try.map_or_else(String::new, |ms| format!(" of {}", duration(ms)));
        parts.push(format!("retries {}{per_try}", retries.attempts));
    }
    if let Some(mirror) = &rule.mirror {
        let to = destination_text(&mirror.destination.clone().unwrap_or_default());
        parts.push(format!("mirror {}% to {to}", mirror.percent.unwrap_or(100)));
    }
    if let Some(delay) = rule.fault.as_ref().and_then(|fault| fault.delay.as_ref()) {
        let percent = delay.percent.unwrap_or(100);
        parts.push(format!("delay {} for {percent}%", duration(delay.duration_ms)));
    }
    if let Some(abort) = rule.fault.as_ref().and_then(|fault| fault.abort.as_ref()) {
        let status = match abort.grpc_status {
            Some(status) => format!("gRPC {status}"),
            None => abort.http_status.to_string(),
        };
        parts.push(format!("abort with {status} for {}%", abort.percent.unwrap_or(100)));
    }
    if let Some(redirect) = &rule.redirect {
        parts.push(format!("redirect {}", redirect.status_code));
    }
    if rule.rewrite.is_some() {
        parts.push("rewrite".to_owned());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(version: &str, weight: u32) -> wire::TrafficRule {
        let version = version.to_owned();
        let destination = wire::Destination { version, ..wire::Destination::default() };
        wire::TrafficRule { destination: Some(destination), weight, ..wire::TrafficRule::default() }
    }

    #[test]
    fn rules_for_connections_have_no_row() {
        let traffic_rules = vec![to("v1", 9), to("v2", 1)];
        let spec = wire::ServiceConfig { traffic_rules, ..wire::ServiceConfig::default() };
        assert!(rows(&spec).is_empty());
        assert_eq!(of_connections(&spec).len(), 2);
    }

    #[test]
    fn a_rule_says_which_requests_go_where_and_what_is_done() {
        let path = wire::PathMatch { value: "/shop".to_owned(), ..wire::PathMatch::default() };
        let header = wire::HeaderMatch {
            name: "user".to_owned(),
            value: "a.*".to_owned(),
            r#type: wire::MatchType::RegularExpression.into(),
        };
        let which = wire::Match {
            path: Some(path),
            headers: vec![header],
            method: "GET".to_owned(),
            ..wire::Match::default()
        };
        let retries = wire::RequestRetries {
            attempts: 2,
            per_try_timeout_ms: Some(200),
            ..wire::RequestRetries::default()
        };
        let first = wire::TrafficRule {
            r#match: Some(which.clone()),
            timeout_ms: Some(1000),
            retries: Some(retries),
            ..to("v2", 1)
        };
        let second = wire::TrafficRule { r#match: Some(which), ..to("v3", 3) };
        let spec = wire::ServiceConfig {
            traffic_rules: vec![first, second, to("v1", 1)],
            ..wire::ServiceConfig::default()
        };
        let rows: Vec<String> = rows(&spec).iter().map(|row| row.join(" | ")).collect();
        assert_eq!(
            rows,
            [
                "GET path=/shop/* user~a.* | v2 | 25% | timeout 1s, retries 2 of 200ms",
                "GET path=/shop/* user~a.* | v3 | 75% | ",
                "(others) | v1 | 100% | ",
            ]
        );
        assert_eq!(of_connections(&spec).len(), 1);
    }
}
