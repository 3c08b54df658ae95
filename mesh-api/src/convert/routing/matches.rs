//! Which requests a rule is for: wire ⇄ model.

use std::collections::BTreeSet;

use crate::convert::shorten;
use crate::model::{GrpcMatch, HeaderMatch, HeaderValue, PathMatch, RouteMatch};
use crate::violation::{Fields, Reason};
use crate::wire;

/// Most conditions for headers of a match, as in Gateway API.
const MAX_HEADERS: usize = 16;
/// Longest path, value or regular expression, in bytes.
const MAX_TEXT: usize = 1024;
/// Most memory that a compiled regular expression may take, in bytes: repetitions of repetitions
/// take more.
const MAX_COMPILED: usize = 64 << 10;

pub(super) fn from_wire(fields: &mut Fields, at: &str, spec: wire::Match) -> Option<RouteMatch> {
    if spec == wire::Match::default() {
        fields.invalid(at, "nothing in it: give path, headers, method or grpc, or remove match");
        return None;
    }
    let wire::Match { path, headers, method, grpc } = spec;
    if headers.len() > MAX_HEADERS {
        let message = format!("{} headers: use at most {MAX_HEADERS}", headers.len());
        fields.invalid(format!("{at}.headers"), message);
    }
    if grpc.is_some() && (path.is_some() || !method.is_empty()) {
        let message = "not beside path or method: a gRPC method is a path, and its method is POST";
        fields.invalid(format!("{at}.grpc"), message);
    }
    let mut names = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, spec) in headers.into_iter().take(MAX_HEADERS).enumerate() {
        let at = format!("{at}.headers[{index}]");
        let Some(header) = header(fields, &at, &spec) else { continue };
        if !names.insert(header.name.clone()) {
            let message = "an earlier condition has the same name";
            fields.push(Reason::Duplicate, format!("{at}.name"), message);
        }
        checked.push(header);
    }
    checked.sort();
    Some(RouteMatch {
        path: path.and_then(|spec| self::path(fields, &format!("{at}.path"), spec)),
        headers: checked,
        method: self::method(fields, at, method),
        grpc: grpc.and_then(|spec| self::grpc(fields, &format!("{at}.grpc"), spec)),
    })
}

fn path(fields: &mut Fields, at: &str, spec: wire::PathMatch) -> Option<PathMatch> {
    let wire::PathMatch { r#type, value } = spec;
    let at_value = format!("{at}.value");
    let r#type = fields.check(&format!("{at}.type"), wire::MatchType::try_from(r#type))?;
    if r#type == wire::MatchType::RegularExpression {
        return regex(fields, &at_value, &value).then_some(PathMatch::Regex(value));
    }
    if !is_path(&value) {
        let message = format!("{:?} is no path: begin with /, without ? and #", shorten(&value));
        fields.invalid(at_value, message);
        return None;
    }
    if r#type == wire::MatchType::Exact {
        return Some(PathMatch::Exact(value));
    }
    // As in Gateway API, `/shop/` and `/shop` are the same prefix.
    let prefix = if value.len() > 1 { value.trim_end_matches('/').to_owned() } else { value };
    Some(PathMatch::Prefix(prefix))
}

/// Whether it is an absolute path without a query.
pub(super) fn is_path(value: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    value.starts_with('/') && value.len() <= MAX_TEXT && value.bytes().all(is_good)
}

fn header(fields: &mut Fields, at: &str, spec: &wire::HeaderMatch) -> Option<HeaderMatch> {
    let wire::HeaderMatch { r#type, name, value } = spec;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= 256 && name.bytes().all(is_token);
    if !is_name {
        let message = format!("{:?} is no name of a header", shorten(name));
        fields.invalid(format!("{at}.name"), message);
    }
    let at_value = format!("{at}.value");
    let value = match fields.check(&format!("{at}.type"), wire::MatchType::try_from(*r#type))? {
        wire::MatchType::RegularExpression => {
            regex(fields, &at_value, value).then(|| HeaderValue::Regex(value.clone()))
        }
        wire::MatchType::PathPrefix => {
            let message = "PathPrefix is for paths: use Exact or RegularExpression";
            fields.invalid(format!("{at}.type"), message);
            None
        }
        wire::MatchType::Unspecified | wire::MatchType::Exact => {
            let is_good = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            let is_good = value.len() <= MAX_TEXT && value.bytes().all(is_good);
            if value.is_empty() || !is_good {
                let message = format!("use 1 to {MAX_TEXT} printable ASCII characters");
                fields.invalid(at_value, message);
                return None;
            }
            Some(HeaderValue::Exact(value.clone()))
        }
    };
    is_name.then_some(HeaderMatch { name: name.to_ascii_lowercase(), value: value? })
}

fn method(fields: &mut Fields, at: &str, method: String) -> Option<String> {
    if method.is_empty() {
        return None;
    }
    if method.len() > 32 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let message = format!("{:?} is no method: use GET, POST and the like", shorten(&method));
        fields.invalid(format!("{at}.method"), message);
        return None;
    }
    Some(method)
}

fn grpc(fields: &mut Fields, at: &str, spec: wire::GrpcMatch) -> Option<GrpcMatch> {
    let wire::GrpcMatch { service, method } = spec;
    let is_name = |name: &str, extra: &[u8]| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || extra.contains(&byte);
        !name.is_empty() && name.len() <= MAX_TEXT && name.bytes().all(is_good)
    };
    let is_service = is_name(&service, b"_.");
    if !is_service {
        let message = "required: the service with its package, such as shop.v1.Orders";
        fields.invalid(format!("{at}.service"), message);
    }
    let is_method = method.is_empty() || is_name(&method, b"_");
    if !is_method {
        let message = format!("{:?} is no name of a method", shorten(&method));
        fields.invalid(format!("{at}.method"), message);
    }
    let method = (!method.is_empty()).then_some(method);
    (is_service && is_method).then_some(GrpcMatch { service, method })
}

/// Whether it is a regular expression that takes time and memory in proportion to its length.
fn regex(fields: &mut Fields, at: &str, value: &str) -> bool {
    if value.is_empty() || value.len() > MAX_TEXT {
        fields.invalid(at, format!("use 1 to {MAX_TEXT} bytes"));
        return false;
    }
    let compiled = regex::bytes::RegexBuilder::new(value)
        .unicode(false)
        .size_limit(MAX_COMPILED)
        .nest_limit(32)
        .build();
    let error = match compiled {
        Ok(_) => return true,
        Err(regex::Error::CompiledTooBig(_)) => {
            "grows too large: use fewer and smaller repetitions".to_owned()
        }
        Err(error) => {
            let text = error.to_string();
            let said = text.lines().last().unwrap_or_default();
            format!("is no regular expression: {}", said.trim_start_matches("error: "))
        }
    };
    fields.invalid(at, format!("{:?} {error}", shorten(value)));
    false
}

pub(super) fn to_wire(route: &RouteMatch) -> wire::Match {
    let RouteMatch { path, headers, method, grpc } = route;
    let path = path.as_ref().map(|path| {
        let (r#type, value) = match path {
            PathMatch::Exact(value) => (wire::MatchType::Exact, value),
            PathMatch::Prefix(value) => (wire::MatchType::PathPrefix, value),
            PathMatch::Regex(value) => (wire::MatchType::RegularExpression, value),
        };
        wire::PathMatch { r#type: r#type.into(), value: value.clone() }
    });
    let header = |HeaderMatch { name, value }: &HeaderMatch| {
        let (r#type, value) = match value {
            HeaderValue::Exact(value) => (wire::MatchType::Exact, value),
            HeaderValue::Regex(value) => (wire::MatchType::RegularExpression, value),
        };
        wire::HeaderMatch { r#type: r#type.into(), name: name.clone(), value: value.clone() }
    };
    wire::Match {
        path,
        headers: headers.iter().map(header).collect(),
        method: method.clone().unwrap_or_default(),
        grpc: grpc.as_ref().map(|GrpcMatch { service, method }| wire::GrpcMatch {
            service: service.clone(),
            method: method.clone().unwrap_or_default(),
        }),
    }
}
