//! What a rule does with requests: wire ⇄ model.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{destination, destination_to_wire, matches};
use crate::convert::bounds::{duration, optional, or, percent};
use crate::convert::{milliseconds, shorten};
use crate::manifest::duration::format_duration;
use crate::model::{
    Abort, Fault, Mirror, ObjectName, PathMatch, PathModifier, Redirect, RequestRetries, RetryOn,
    Rewrite, RouteMatch,
};
use crate::violation::Fields;
use crate::wire;

/// Of a request, and of each time that it is sent.
pub(in crate::convert) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_hours(24);
const DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
const ATTEMPTS: RangeInclusive<u32> = 1..=10;
const PERCENT: RangeInclusive<u32> = 0..=100;
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
const USUAL_REDIRECT: u16 = 302;

pub(super) fn timeout(fields: &mut Fields, at: &str, ms: Option<u64>) -> Option<Duration> {
    optional(fields, &format!("{at}.timeout"), duration(ms), &TIMEOUT)
}

pub(super) fn retries(
    fields: &mut Fields,
    at: &str,
    spec: wire::RequestRetries,
    timeout: Option<Duration>,
) -> RequestRetries {
    let at = format!("{at}.retries");
    let wire::RequestRetries { attempts, per_try_timeout_ms, retry_on } = spec;
    let at_attempts = format!("{at}.attempts");
    let attempts = optional(fields, &at_attempts, Some(attempts), &ATTEMPTS).unwrap_or(1);
    let at_try = format!("{at}.perTryTimeout");
    let per_try_timeout = optional(fields, &at_try, duration(per_try_timeout_ms), &TIMEOUT);
    if let (Some(per_try), Some(all)) = (per_try_timeout, timeout)
        && per_try > all
    {
        let all = format_duration(all);
        let message = format!("longer than the rule's timeout, which is {all}: use at most {all}");
        fields.invalid(at_try, message);
    }
    let mut on = BTreeSet::new();
    for (index, name) in retry_on.iter().enumerate() {
        if let Some(reason) = retry_on_of(name) {
            on.insert(reason);
            continue;
        }
        let names = RetryOn::NAMED.map(|(_, name)| name).join(", ");
        let message = format!(
            "{:?} is unknown: use a status from 400 to 599, or one of {names}",
            shorten(name)
        );
        fields.invalid(format!("{at}.retryOn[{index}]"), message);
    }
    if on.is_empty() {
        on.extend(RetryOn::USUAL);
    }
    RequestRetries { attempts, per_try_timeout, on }
}

fn retry_on_of(name: &str) -> Option<RetryOn> {
    let named = RetryOn::NAMED.into_iter().find(|(_, it)| *it == name).map(|(it, _)| it);
    let status = || name.parse().ok().filter(|status| (400..=599).contains(status));
    named.or_else(|| status().map(RetryOn::Status))
}

/// A percentage; absent means all.
fn share(fields: &mut Fields, at: &str, value: Option<u32>) -> u8 {
    percent(or(fields, &format!("{at}.percent"), value, &PERCENT, 100).unwrap_or(100))
}

pub(super) fn mirror(
    fields: &mut Fields,
    at: &str,
    name: &ObjectName,
    spec: wire::Mirror,
) -> Option<Mirror> {
    let at = format!("{at}.mirror");
    let percent = share(fields, &at, spec.percent);
    let destination = destination(fields, &format!("{at}.destination"), name, spec.destination)?;
    Some(Mirror { destination, percent })
}

pub(super) fn fault(fields: &mut Fields, at: &str, spec: wire::Fault) -> Option<Fault> {
    let at = format!("{at}.fault");
    if spec == wire::Fault::default() {
        fields.invalid(at, "nothing in it: give delay or abort, or remove fault");
        return None;
    }
    let delay = spec.delay.and_then(|wire::FaultDelay { duration_ms, percent }| {
        let at = format!("{at}.delay");
        let wait = Some(Duration::from_millis(duration_ms));
        let percent = share(fields, &at, percent);
        Some((optional(fields, &format!("{at}.duration"), wait, &DELAY)?, percent))
    });
    let abort = spec.abort.and_then(|spec| abort(fields, &format!("{at}.abort"), spec));
    Some(Fault { delay, abort })
}

fn abort(fields: &mut Fields, at: &str, spec: wire::FaultAbort) -> Option<(Abort, u8)> {
    let percent = share(fields, at, spec.percent);
    let abort = match (spec.http_status, spec.grpc_status) {
        (0, Some(status)) => {
            let status = optional(fields, &format!("{at}.grpcStatus"), Some(status), &(1..=16))?;
            u8::try_from(status).ok().map(Abort::Grpc)
        }
        (status, None) if status != 0 => {
            let status = optional(fields, &format!("{at}.httpStatus"), Some(status), &(200..=599))?;
            u16::try_from(status).ok().map(Abort::Http)
        }
        _ => {
            fields.invalid(at, "give one of httpStatus and grpcStatus");
            None
        }
    };
    Some((abort?, percent))
}

fn modifier(
    fields: &mut Fields,
    at: &str,
    spec: wire::PathModifier,
    matches: Option<&RouteMatch>,
) -> Option<PathModifier> {
    let wire::PathModifier { replace_full_path: full, replace_prefix_match: prefix } = spec;
    let (field, text) = match (full.is_empty(), prefix.is_empty()) {
        (false, true) => ("replaceFullPath", full),
        (true, false) => ("replacePrefixMatch", prefix),
        _ => {
            fields.invalid(at, "give one of replaceFullPath and replacePrefixMatch");
            return None;
        }
    };
    if !matches::is_path(&text) {
        let message = format!("{:?} is no path: begin with /, without ? and #", shorten(&text));
        fields.invalid(format!("{at}.{field}"), message);
        return None;
    }
    if field == "replaceFullPath" {
        return Some(PathModifier::Full(text));
    }
    let path = matches.and_then(|matches| matches.path.as_ref());
    if !matches!(path, Some(PathMatch::Prefix(_))) {
        let message = "only beside match.path of type PathPrefix: there is no prefix to replace";
        fields.invalid(format!("{at}.{field}"), message);
        return None;
    }
    Some(PathModifier::Prefix(text))
}

/// A name or address of a host; `None` where it is absent, or none.
fn hostname(fields: &mut Fields, at: &str, text: String) -> Option<String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if text.len() > 253 || !text.bytes().all(is_good) {
        let message = format!("{:?} is no name of a host", shorten(&text));
        fields.invalid(format!("{at}.hostname"), message);
        return None;
    }
    (!text.is_empty()).then_some(text)
}

pub(super) fn redirect(
    fields: &mut Fields,
    at: &str,
    spec: wire::Redirect,
    matches: Option<&RouteMatch>,
) -> Option<Redirect> {
    let at = format!("{at}.redirect");
    let wire::Redirect { scheme, hostname: host, port, path, status_code } = spec;
    if !["", "http", "https"].contains(&scheme.as_str()) {
        fields.invalid(format!("{at}.scheme"), "use http or https, or leave it out");
    }
    let status = u16::try_from(status_code).unwrap_or(u16::MAX);
    let status = if status == 0 { USUAL_REDIRECT } else { status };
    if !REDIRECTS.contains(&status) {
        let message = format!("{status_code} is out of range: use 301, 302, 303, 307 or 308");
        fields.invalid(format!("{at}.statusCode"), message);
    }
    let port = if port == 0 {
        None
    } else {
        optional(fields, &format!("{at}.port"), Some(port), &(1..=65_535))
    };
    let redirect = Redirect {
        scheme: (!scheme.is_empty()).then_some(scheme),
        hostname: hostname(fields, &at, host),
        port: port.and_then(|port| u16::try_from(port).ok()),
        path: path.and_then(|spec| modifier(fields, &format!("{at}.path"), spec, matches)),
        status,
    };
    let Redirect { scheme, hostname, port, path, .. } = &redirect;
    if scheme.is_none() && hostname.is_none() && port.is_none() && path.is_none() {
        let message = "leads back to where it came from: give scheme, hostname, port or path";
        fields.invalid(at, message);
        return None;
    }
    Some(redirect)
}

pub(super) fn rewrite(
    fields: &mut Fields,
    at: &str,
    spec: wire::Rewrite,
    matches: Option<&RouteMatch>,
) -> Option<Rewrite> {
    let at = format!("{at}.rewrite");
    if spec == wire::Rewrite::default() {
        fields.invalid(at, "nothing in it: give hostname or path, or remove rewrite");
        return None;
    }
    let hostname = hostname(fields, &at, spec.hostname);
    let path = spec.path.and_then(|it| modifier(fields, &format!("{at}.path"), it, matches));
    (hostname.is_some() || path.is_some()).then_some(Rewrite { hostname, path })
}

pub(super) fn retries_to_wire(retries: &RequestRetries) -> wire::RequestRetries {
    let RequestRetries { attempts, per_try_timeout, on } = retries;
    let name = |reason: &RetryOn| match (reason.name(), reason) {
        (None, RetryOn::Status(status)) => status.to_string(),
        (name, _) => name.unwrap_or_default().to_owned(),
    };
    wire::RequestRetries {
        attempts: *attempts,
        per_try_timeout_ms: per_try_timeout.map(milliseconds),
        retry_on: on.iter().map(name).collect(),
    }
}

pub(super) fn mirror_to_wire(name: &ObjectName, mirror: &Mirror) -> wire::Mirror {
    let Mirror { destination, percent } = mirror;
    let destination = Some(destination_to_wire(name, destination));
    wire::Mirror { destination, percent: Some(u32::from(*percent)) }
}

pub(super) fn fault_to_wire(fault: &Fault) -> wire::Fault {
    wire::Fault {
        delay: fault.delay.map(|(wait, percent)| wire::FaultDelay {
            duration_ms: milliseconds(wait),
            percent: Some(percent.into()),
        }),
        abort: fault.abort.map(|(abort, percent)| {
            let (http_status, grpc_status) = match abort {
                Abort::Http(status) => (status.into(), None),
                Abort::Grpc(status) => (0, Some(status.into())),
            };
            wire::FaultAbort { http_status, grpc_status, percent: Some(percent.into()) }
        }),
    }
}

fn modifier_to_wire(path: &PathModifier) -> wire::PathModifier {
    let none = String::new();
    let (full, prefix) = match path {
        PathModifier::Full(full) => (full, &none),
        PathModifier::Prefix(prefix) => (&none, prefix),
    };
    wire::PathModifier { replace_full_path: full.clone(), replace_prefix_match: prefix.clone() }
}

pub(super) fn redirect_to_wire(redirect: &Redirect) -> wire::Redirect {
    let Redirect { scheme, hostname, port, path, status } = redirect;
    wire::Redirect {
        scheme: scheme.clone().unwrap_or_default(),
        hostname: hostname.clone().unwrap_or_default(),
        port: port.map(u32::from).unwrap_or_default(),
        path: path.as_ref().map(modifier_to_wire),
        status_code: (*status).into(),
    }
}

pub(super) fn rewrite_to_wire(rewrite: &Rewrite) -> wire::Rewrite {
    let Rewrite { hostname, path } = rewrite;
    wire::Rewrite {
        hostname: hostname.clone().unwrap_or_default(),
        path: path.as_ref().map(modifier_to_wire),
    }
}
