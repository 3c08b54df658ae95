//! Routes as gRPC clients understand them. A request that no route matches fails with UNAVAILABLE.

use std::collections::BTreeSet;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, RetryPolicy, Route as Wire, RouteAction, RouteConfiguration,
    RouteMatch as WireMatch, VirtualHost,
    route::Action,
    route_action::{
        HashPolicy, MaxStreamDuration,
        hash_policy::{FilterState, PolicySpecifier},
    },
    route_match::PathSpecifier,
};
use mesh_api::model::{
    Destination, GrpcMatch, PathMatch, RequestRetries, RequestRule, RetryOn, RouteMatch,
    ServicePort,
};

use super::super::View;
use super::super::message::{duration, number, regex};
use super::super::routes::{Route, routes as ordered};
use super::super::shared::{clusters, faults, header};
use super::{Library, cluster_name, is_hashed};

/// How much too early the timeouts of C-core's routes are over, at most. By how much is the same for
/// all calls of a process, and at least a second: it takes the second in which the process started
/// for that second's beginning, and one more off (grpc/grpc#34547, grpc/grpc#40633; 1.85.1 was run).
const CORE_IS_EARLY: Duration = Duration::from_secs(2);

pub(super) fn routes(
    view: &View<'_>,
    port: &ServicePort,
    vacant: &BTreeSet<Destination>,
    library: Library,
) -> RouteConfiguration {
    let name = super::name(view, port);
    let ordered = ordered(view, vacant);
    let routes = ordered.iter().flat_map(|route| self::route(view, port, route, library)).collect();
    RouteConfiguration {
        name: name.clone(),
        virtual_hosts: vec![VirtualHost {
            name,
            domains: vec!["*".to_owned()],
            routes,
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

/// None for what no request of gRPC can match.
fn route(view: &View<'_>, port: &ServicePort, route: &Route<'_>, library: Library) -> Vec<Wire> {
    let is_redirect = route.request.is_some_and(|request| request.redirect.is_some());
    let action = if is_redirect {
        // gRPC fails requests with an action that it does not know.
        Action::Redirect(RedirectAction::default())
    } else {
        Action::Route(forward(view, port, route, library))
    };
    let wire = |matches| Wire {
        r#match: Some(matches),
        typed_per_filter_config: faults(route.request),
        action: Some(action.clone()),
        ..Wire::default()
    };
    matches(route.matches).into_iter().map(wire).collect()
}

fn forward(
    view: &View<'_>,
    port: &ServicePort,
    route: &Route<'_>,
    library: Library,
) -> RouteAction {
    let none = RequestRule::default();
    let request = route.request.unwrap_or(&none);
    // Of a client's own, which is what it has one channel for.
    let channel = FilterState { key: "io.grpc.channel_id".to_owned() };
    let hash = HashPolicy {
        policy_specifier: Some(PolicySpecifier::FilterState(channel)),
        terminal: false,
    };
    let usual = view.config.and_then(|config| config.timeouts.as_deref()?.request);
    let timeout = request.timeout.or(usual);
    RouteAction {
        cluster_specifier: Some(clusters(&route.shares, |to| cluster_name(view, port, to))),
        max_stream_duration: timeout.map(|timeout| max_duration(timeout, library)),
        retry_policy: request.retries.as_ref().and_then(retries),
        hash_policy: is_hashed(view).then_some(hash).into_iter().collect(),
        ..RouteAction::default()
    }
}

/// A call is never given less time than the policy says.
fn max_duration(timeout: Duration, library: Library) -> MaxStreamDuration {
    let sent = match library {
        Library::Core => timeout.saturating_add(CORE_IS_EARLY),
        Library::Other => timeout,
    };
    MaxStreamDuration { max_stream_duration: duration(sent), ..MaxStreamDuration::default() }
}

/// gRPC retries for five of its statuses only (gRFC A44), and ignores the time for each try.
fn retries(retries: &RequestRetries) -> Option<RetryPolicy> {
    let of_grpc = retries.on.iter().copied().filter(|reason| reason.is_of_grpc());
    let names: Vec<&str> = of_grpc.filter_map(RetryOn::name).collect();
    (!names.is_empty()).then(|| RetryPolicy {
        retry_on: names.join(","),
        num_retries: number(retries.attempts),
        ..RetryPolicy::default()
    })
}

fn matches(matches: Option<&RouteMatch>) -> Vec<WireMatch> {
    let none = RouteMatch::default();
    let RouteMatch { path, headers, method, grpc } = matches.unwrap_or(&none);
    if method.as_ref().is_some_and(|method| method != "POST") {
        return Vec::new();
    }
    let paths = match (path, grpc) {
        (Some(PathMatch::Exact(path)), _) => vec![PathSpecifier::Path(path.clone())],
        (Some(PathMatch::Prefix(path)), _) => prefix(path),
        (Some(PathMatch::Regex(pattern)), _) => {
            vec![PathSpecifier::SafeRegex(regex(pattern.clone()))]
        }
        (None, Some(GrpcMatch { service, method: Some(method) })) => {
            vec![PathSpecifier::Path(format!("/{service}/{method}"))]
        }
        (None, Some(GrpcMatch { service, method: None })) => {
            vec![PathSpecifier::Prefix(format!("/{service}/"))]
        }
        (None, None) => vec![PathSpecifier::Prefix(String::new())],
    };
    let matches = |path| WireMatch {
        headers: headers.iter().map(header).collect(),
        path_specifier: Some(path),
        ..WireMatch::default()
    };
    paths.into_iter().map(matches).collect()
}

/// Whole segments, in the words that gRPC has: the path itself, and all below it.
fn prefix(path: &str) -> Vec<PathSpecifier> {
    match path.trim_end_matches('/') {
        "" => vec![PathSpecifier::Prefix(String::new())],
        path => {
            vec![PathSpecifier::Path(path.to_owned()), PathSpecifier::Prefix(format!("{path}/"))]
        }
    }
}
