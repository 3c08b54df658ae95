//! Routes of a service's port. What no route matches is answered with 404.

use std::collections::BTreeSet;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route as Wire, RouteAction, RouteConfiguration, RouteMatch as WireMatch,
    VirtualHost, route::Action, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_api::model::{Destination, GrpcMatch, PathMatch, RequestRule, RouteMatch};

use super::super::View;
use super::super::message::{duration, regex};
use super::super::routes::{Route, routes as ordered};
use super::super::shared::{clusters, faults, header, header_matcher};
use super::{Proxied, actions, cluster_name};

pub(super) fn routes(
    view: &View<'_>,
    proxied: &Proxied<'_>,
    name: &str,
    vacant: &BTreeSet<Destination>,
) -> RouteConfiguration {
    let ordered = ordered(view, vacant);
    let routes = ordered.iter().map(|route| self::route(view, proxied, route)).collect();
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: name.to_owned(),
            domains: vec!["*".to_owned()],
            routes,
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

fn route(view: &View<'_>, proxied: &Proxied<'_>, route: &Route<'_>) -> Wire {
    let redirect = route.request.and_then(|request| request.redirect.as_ref());
    let action = match redirect {
        Some(redirect) => Action::Redirect(actions::redirect(redirect, route.matches)),
        None => Action::Route(forward(view, proxied, route)),
    };
    Wire {
        r#match: Some(matches(route.matches)),
        typed_per_filter_config: faults(route.request),
        action: Some(action),
        ..Wire::default()
    }
}

fn forward(view: &View<'_>, proxied: &Proxied<'_>, route: &Route<'_>) -> RouteAction {
    let none = RequestRule::default();
    let request = route.request.unwrap_or(&none);
    let name = |to: &Destination| cluster_name(view, proxied.port, to);
    let usual = view.config.and_then(|config| config.timeouts.as_deref()?.request);
    let mut action = RouteAction {
        cluster_specifier: Some(clusters(&route.shares, name)),
        // Envoy's own 15 s would surprise.
        timeout: duration(request.timeout.or(usual).unwrap_or(Duration::ZERO)),
        retry_policy: request.retries.as_ref().map(actions::retries),
        request_mirror_policies: request
            .mirror
            .iter()
            .map(|mirror| actions::mirror(mirror, name(&mirror.destination)))
            .collect(),
        ..RouteAction::default()
    };
    if let Some(rewrite) = &request.rewrite {
        actions::rewrite(&mut action, rewrite, route.matches);
    }
    action
}

fn matches(matches: Option<&RouteMatch>) -> WireMatch {
    let none = RouteMatch::default();
    let RouteMatch { path, headers, method, grpc } = matches.unwrap_or(&none);
    let method = method.iter().map(|it| header_matcher(":method", MatchPattern::Exact(it.clone())));
    let headers: Vec<HeaderMatcher> = method.chain(headers.iter().map(header)).collect();
    WireMatch {
        headers,
        path_specifier: Some(match (path, grpc) {
            (Some(PathMatch::Exact(path)), _) => PathSpecifier::Path(path.clone()),
            (Some(PathMatch::Prefix(path)), _) => prefix(path),
            (Some(PathMatch::Regex(pattern)), _) => {
                PathSpecifier::SafeRegex(regex(pattern.clone()))
            }
            (None, Some(GrpcMatch { service, method: Some(method) })) => {
                PathSpecifier::Path(format!("/{service}/{method}"))
            }
            (None, Some(GrpcMatch { service, method: None })) => prefix(&format!("/{service}")),
            (None, None) => PathSpecifier::Prefix(String::new()),
        }),
        ..WireMatch::default()
    }
}

/// Whole segments. All paths begin with the one that has none.
fn prefix(path: &str) -> PathSpecifier {
    match path.trim_end_matches('/') {
        "" => PathSpecifier::Prefix("/".to_owned()),
        path => PathSpecifier::PathSeparatedPrefix(path.to_owned()),
    }
}
