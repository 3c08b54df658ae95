//! Which resources a NACK names and why: `google.rpc.BadRequest` in the details of the status,
//! so that the server need not parse a sentence. The sentence says the same for people and for
//! servers that look no further.

use prost::{Message as _, Name};

use crate::ads::{Any, INVALID_ARGUMENT, Status};

/// Longest reason, name or message that is kept, in bytes: a NACK is a diagnosis, not a log.
const MAX_TEXT: usize = 1024;

/// `google.rpc.BadRequest`; the crate with the messages carries only the status itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FieldViolation {
    /// Name of the rejected resource.
    #[prost(string, tag = "1")]
    pub field: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub description: String,
}

impl Name for BadRequest {
    const NAME: &'static str = "BadRequest";
    const PACKAGE: &'static str = "google.rpc";

    fn type_url() -> String {
        "type.googleapis.com/google.rpc.BadRequest".to_owned()
    }
}

/// The status of a NACK of these `(name, reason)` pairs.
pub(crate) fn encode(rejected: &[(String, String)]) -> Status {
    let lines: Vec<String> = rejected
        .iter()
        .map(|(name, reason)| match name.as_str() {
            "" => reason.clone(),
            name => format!("{name}: {reason}"),
        })
        .collect();
    let violations = BadRequest {
        field_violations: rejected
            .iter()
            .map(|(name, reason)| FieldViolation {
                field: name.clone(),
                description: reason.clone(),
            })
            .collect(),
    };
    Status {
        code: INVALID_ARGUMENT,
        message: match lines.len() {
            0 => "rejected, no reason given".to_owned(),
            _ => lines.join("\n"),
        },
        details: vec![Any { type_url: BadRequest::type_url(), value: violations.encode_to_vec() }],
    }
}

/// The `(name, reason)` pairs of a NACK, at most `limit`.
///
/// Envoy and gRPC only send a sentence. Then the resources are the words in it that are names of
/// what the client was sent, or else the `only` one of the refused response; without either the name
/// is empty. The reason is what follows the name up to the next one, or else the sentence.
pub(crate) fn decode(
    status: &Status,
    only: Option<&str>,
    is_name: impl Fn(&str) -> bool,
    limit: usize,
) -> Vec<(String, String)> {
    let structured: Vec<(String, String)> = status
        .details
        .iter()
        .filter(|detail| detail.type_url == BadRequest::type_url())
        .filter_map(|detail| BadRequest::decode(detail.value.as_slice()).ok())
        .flat_map(|details| details.field_violations)
        .take(limit)
        .map(|violation| (shorten(violation.field), shorten(violation.description)))
        .collect();
    if !structured.is_empty() {
        return structured;
    }
    let message = shorten(status.message.trim().to_owned());
    let mut found = names_in(&message, is_name);
    found.truncate(limit);
    if found.is_empty() {
        let name = only.unwrap_or_default().to_owned();
        return vec![(name, message)];
    }
    // Where each name stands in front of its own reason, the reasons are told apart.
    let parts = found.iter().skip(1).map(|(_, at)| *at).chain([message.len()]);
    let own = found.iter().zip(parts).map(|((name, at), end)| {
        let rest = message.get(*at..end)?.strip_prefix(name.as_str())?.strip_prefix(':')?;
        // As gRPC begins the next one.
        let number = |c: char| c.is_ascii_digit() || c == ':' || c == ' ';
        let begun = rest.trim_end_matches(number).strip_suffix("resource index");
        let rest = begun.unwrap_or(rest);
        let rest = rest.trim_matches(|c: char| c.is_whitespace() || ",;".contains(c));
        (!rest.is_empty()).then(|| (name.clone(), rest.to_owned()))
    });
    let own: Option<Vec<_>> = own.collect();
    let own = own.filter(|own| own.len() > 1);
    own.unwrap_or_else(|| found.into_iter().map(|(name, _)| (name, message.clone())).collect())
}

/// The words of a sentence that are names, each once, and where it stands first.
fn names_in(message: &str, is_name: impl Fn(&str) -> bool) -> Vec<(String, usize)> {
    let apart = |c: char| c.is_whitespace() || "\"'`,;()[]{}<>".contains(c);
    let (mut found, mut at) = (Vec::<(String, usize)>::new(), 0_usize);
    for piece in message.split_inclusive(apart) {
        let word = piece.trim_end_matches(apart).trim_end_matches([':', '.']);
        let known = found.iter().any(|(name, _)| name == word);
        if !word.is_empty() && !known && is_name(word) {
            found.push((word.to_owned(), at));
        }
        at = at.saturating_add(piece.len());
    }
    found
}

fn shorten(mut text: String) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_reasons_survive() {
        let rejected = [
            ("default/web".to_owned(), "no such port".to_owned()),
            (String::new(), "map full".to_owned()),
        ];
        let status = encode(&rejected);
        assert_eq!(status.message, "default/web: no such port\nmap full");
        assert_eq!(decode(&status, Some("only"), |_| true, 10), rejected);
        assert_eq!(decode(&status, None, |_| true, 1), rejected[..1]);
    }

    #[test]
    fn names_are_found_in_the_sentences_of_envoy_and_grpc() {
        let find = |message: &str, only| -> Vec<(String, String)> {
            let known = ["shop/web:80", "shop/db", "echo.mesh"];
            let status = Status { message: message.to_owned(), ..Status::default() };
            decode(&status, only, |word| known.contains(&word), 10)
        };
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, reason)| ((*name).to_owned(), (*reason).to_owned())).collect()
        };
        let envoy = "Error adding/updating cluster(s) shop/web:80: no such policy, shop/db: bad\n";
        let told = pairs(&[("shop/web:80", "no such policy"), ("shop/db", "bad")]);
        assert_eq!(find(envoy, None), told);
        let grpc = "errors validating: [resource index 0: echo.mesh: INVALID_ARGUMENT: no]";
        assert_eq!(find(grpc, Some("other")), pairs(&[("echo.mesh", grpc)]));
        let grpc = "errors: [resource index 0: echo.mesh: no; resource index 1: shop/db: port 80";
        assert_eq!(find(grpc, None), pairs(&[("echo.mesh", "no"), ("shop/db", "port 80")]));
        let both = "shop/web:80 and shop/db are bad";
        assert_eq!(find(both, None), pairs(&[("shop/web:80", both), ("shop/db", both)]));
        let plain = "Proto constraint validation failed";
        assert_eq!(find(plain, Some("x")), pairs(&[("x", plain)]));
        assert_eq!(find(plain, None), pairs(&[("", plain)]));
    }

    #[test]
    fn a_plain_or_broken_status_yields_its_message() {
        let mut status = encode(&[]);
        let nothing = (String::new(), "rejected, no reason given".to_owned());
        assert_eq!(decode(&status, None, |_| false, 10), [nothing]);
        status.details[0].value = vec![0xff; 7];
        status.message = "é".repeat(MAX_TEXT);
        let decoded = decode(&status, None, |_| false, 10);
        assert_eq!(decoded.len(), 1);
        assert_eq!(decoded[0].1.len(), MAX_TEXT);
    }
}
