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
/// what the client was sent, or else the `only` one of the refused response, and the sentence is
/// the reason for each; without either the name is empty.
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
    let message = shorten(status.message.clone());
    let apart = |c: char| c.is_whitespace() || "\"'`,;()[]{}<>".contains(c);
    let words = message.split(apart).map(|word| word.trim_end_matches([':', '.']));
    let mut names: Vec<&str> = words.filter(|word| !word.is_empty() && is_name(word)).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(limit);
    if names.is_empty() {
        names.push(only.unwrap_or_default());
    }
    names.into_iter().map(|name| (name.to_owned(), message.clone())).collect()
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
        let find = |message: &str, only| -> Vec<String> {
            let known = ["shop/web:80", "shop/db", "echo.mesh"];
            let status = Status { message: message.to_owned(), ..Status::default() };
            let found = decode(&status, only, |word| known.contains(&word), 10);
            assert!(found.iter().all(|(_, reason)| reason == message));
            found.into_iter().map(|(name, _)| name).collect()
        };
        let envoy = "Error adding/updating cluster(s) shop/web:80: no such policy, shop/db: bad";
        assert_eq!(find(envoy, None), ["shop/db", "shop/web:80"]);
        let grpc = "errors validating: [resource index 0: echo.mesh: INVALID_ARGUMENT: no]";
        assert_eq!(find(grpc, Some("other")), ["echo.mesh"]);
        assert_eq!(find("Proto constraint validation failed", Some("x")), ["x"]);
        assert_eq!(find("Proto constraint validation failed", None), [""]);
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
