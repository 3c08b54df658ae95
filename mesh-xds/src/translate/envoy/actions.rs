//! What a route does beside forwarding: retries, copies, redirects and rewrites.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, RetryPolicy, RouteAction,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    retry_policy::{RetryHostPredicate, retry_host_predicate},
    route_action::{HostRewriteSpecifier, RequestMirrorPolicy},
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use mesh_api::model::{
    Mirror, PathMatch, PathModifier, Redirect, RequestRetries, RetryOn, Rewrite, RouteMatch,
};

use super::super::message::{any, duration, number, percent, regex};

/// How often another endpoint is looked for that has not had the request.
const OTHER_HOST_ATTEMPTS: i64 = 5;

pub(super) fn retries(retries: &RequestRetries) -> RetryPolicy {
    let RequestRetries { attempts, per_try_timeout, on } = retries;
    let status = |reason: &RetryOn| {
        if let RetryOn::Status(status) = reason { Some(u32::from(*status)) } else { None }
    };
    let statuses: Vec<u32> = on.iter().filter_map(status).collect();
    let mut names: Vec<&str> = on.iter().filter_map(|reason| reason.name()).collect();
    if !statuses.is_empty() {
        names.push("retriable-status-codes");
    }
    RetryPolicy {
        retry_on: names.join(","),
        num_retries: number(*attempts),
        per_try_timeout: per_try_timeout.and_then(duration),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(
                &PreviousHostsPredicate::default(),
            ))),
        }],
        host_selection_retry_max_attempts: OTHER_HOST_ATTEMPTS,
        retriable_status_codes: statuses,
        ..RetryPolicy::default()
    }
}

pub(super) fn mirror(mirror: &Mirror, cluster: String) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster,
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(percent(mirror.percent)),
            runtime_key: String::new(),
        }),
        // The copy says the same as the original, its host included.
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    }
}

/// Another path, in the words that both redirects and rewrites have.
enum NewPath {
    /// All of it; the query stays.
    Full(String),
    /// What the match's prefix stands for.
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

/// As Gateway API's `HTTPPathModifier`: `None` where nothing changes.
fn new_path(modifier: &PathModifier, matches: Option<&RouteMatch>) -> Option<NewPath> {
    let replacement = match modifier {
        PathModifier::Full(path) => return Some(NewPath::Full(path.clone())),
        PathModifier::Prefix(replacement) => replacement.trim_end_matches('/'),
    };
    let Some(PathMatch::Prefix(prefix)) = matches.and_then(|it| it.path.as_ref()) else {
        return None;
    };
    match (prefix.trim_end_matches('/'), replacement) {
        ("", "") => None,
        // The match stands for the slash.
        ("", replacement) => Some(NewPath::Prefix(format!("{replacement}/"))),
        // Whatever slash follows the prefix is the one of the root.
        (prefix, "") => {
            Some(NewPath::Regex(substitute(format!("^{}/*", escape(prefix)), "/".to_owned())))
        }
        (_, replacement) => Some(NewPath::Prefix(replacement.to_owned())),
    }
}

/// A text as a regular expression (RE2) for just that text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() && !"/-_~".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

const fn substitute(pattern: String, substitution: String) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(regex(pattern)), substitution }
}

pub(super) fn rewrite(action: &mut RouteAction, rewrite: &Rewrite, matches: Option<&RouteMatch>) {
    let Rewrite { hostname, path } = rewrite;
    let host = hostname.clone();
    action.host_rewrite_specifier = host.map(HostRewriteSpecifier::HostRewriteLiteral);
    match path.as_ref().and_then(|path| new_path(path, matches)) {
        // Substitutions leave the query alone; a backslash would stand for a group.
        Some(NewPath::Full(path)) => {
            let path = path.replace('\\', "\\\\");
            action.regex_rewrite = Some(substitute("^.*$".to_owned(), path));
        }
        Some(NewPath::Prefix(prefix)) => action.prefix_rewrite = prefix,
        Some(NewPath::Regex(regex)) => action.regex_rewrite = Some(regex),
        None => {}
    }
}

pub(super) fn redirect(redirect: &Redirect, matches: Option<&RouteMatch>) -> RedirectAction {
    let Redirect { scheme, hostname, port, path, status } = redirect;
    let path = path.as_ref().and_then(|path| new_path(path, matches));
    RedirectAction {
        host_redirect: hostname.clone().unwrap_or_default(),
        port_redirect: port.map(u32::from).unwrap_or_default(),
        response_code: match status {
            301 => RedirectResponseCode::MovedPermanently,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            _ => RedirectResponseCode::Found,
        }
        .into(),
        strip_query: false,
        scheme_rewrite_specifier: scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path.map(|path| match path {
            NewPath::Full(path) => PathRewriteSpecifier::PathRedirect(path),
            NewPath::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
            NewPath::Regex(regex) => PathRewriteSpecifier::RegexRewrite(regex),
        }),
    }
}
