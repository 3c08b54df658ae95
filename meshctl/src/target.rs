//! What a verb is about, as typed: `service reviews`, `svc/reviews`, `endpoints`.

use mesh_api::model::{Kind, Name};
use mesh_api::wire;

use crate::failure::Failure;

/// A kind and any number of names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) names: Vec<String>,
}

/// The words for a kind, the one that is printed first.
const KINDS: [(Kind, [&str; 3]); 3] = [
    (Kind::Service, ["service", "services", "svc"]),
    (Kind::Endpoint, ["endpoint", "endpoints", "ep"]),
    (Kind::ServiceConfig, ["serviceconfig", "serviceconfigs", "sc"]),
];

/// The word for a kind in output, as in `service/reviews`.
pub(crate) const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "service",
        Kind::Endpoint => "endpoint",
        Kind::ServiceConfig => "serviceconfig",
    }
}

/// Reads a kind in any of its spellings, also as manifests write it.
pub(crate) fn parse_kind(text: &str) -> Result<Kind, Failure> {
    let lower = text.to_lowercase();
    let found = KINDS.iter().find(|(_, words)| words.contains(&lower.as_str()));
    let all = || {
        let words = KINDS.map(|(_, [word, _, short])| format!("{word} ({short})"));
        words.join(", ")
    };
    match found {
        Some((kind, _)) => Ok(*kind),
        None => Err(Failure::usage(format!("there is no kind {text:?}: use {}", all()))),
    }
}

/// Reads `KIND [NAME...]` or `KIND/NAME...`.
pub(crate) fn parse(words: &[String]) -> Result<Target, Failure> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Failure::usage("say which kind: service, endpoint or serviceconfig"));
    };
    let target = if first.contains('/') {
        let mut kinds = Vec::new();
        let mut names = Vec::new();
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                return Err(Failure::usage(format!("{word:?}: write it as KIND/NAME, too")));
            };
            kinds.push(parse_kind(kind)?);
            names.push(name.to_owned());
        }
        kinds.dedup();
        let &[kind] = kinds.as_slice() else {
            return Err(Failure::usage("one kind at a time"));
        };
        Target { kind, names }
    } else {
        Target { kind: parse_kind(first)?, names: rest.to_vec() }
    };
    for name in &target.names {
        name.parse::<Name>().map_err(|error| Failure::usage(format!("name {name:?}: {error}")))?;
    }
    Ok(target)
}

/// Reads exactly one object.
pub(crate) fn parse_one(words: &[String], namespace: &str) -> Result<wire::ObjectRef, Failure> {
    let Target { kind, names } = parse(words)?;
    match names.as_slice() {
        [name] => Ok(reference(kind, namespace, name)),
        [] => Err(Failure::usage(format!("say which {}", word(kind)))),
        _ => Err(Failure::usage(format!("one {} at a time", word(kind)))),
    }
}

/// Names an object on the wire.
pub(crate) fn reference(kind: Kind, namespace: &str, name: &str) -> wire::ObjectRef {
    wire::ObjectRef {
        kind: wire::Kind::from(kind).into(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(words: &[&str]) -> Result<Target, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words).map_err(|failure| failure.to_string())
    }

    #[test]
    fn every_spelling_is_understood() {
        for (kind, spellings) in [
            (Kind::Service, ["service", "Services", "svc", "Service"]),
            (Kind::Endpoint, ["endpoint", "endpoints", "ep", "EP"]),
            (Kind::ServiceConfig, ["serviceconfig", "ServiceConfigs", "sc", "ServiceConfig"]),
        ] {
            for spelling in spellings {
                assert_eq!(parse_kind(spelling).expect("a kind"), kind);
            }
            assert_eq!(parse_kind(word(kind)).expect("a kind"), kind);
        }
    }

    #[test]
    fn names_come_after_the_kind_or_behind_a_slash() {
        let names = |target: Result<Target, String>| target.map(|target| target.names);
        assert_eq!(names(target(&["svc"])), Ok(vec![]));
        assert_eq!(names(target(&["svc", "a", "b"])), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(names(target(&["svc/a", "service/b"])), Ok(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["pod"][..],
            &[],
            &["svc/a", "ep/b"],
            &["svc/a", "b"],
            &["svc", "A"],
            &["svc/"],
            &["svc", "a/b"],
        ] {
            target(words).expect_err("refused");
        }
    }
}
