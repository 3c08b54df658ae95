//! The rules of a service as routes in the order in which clients try them: the precedence of
//! Gateway API's `HTTPRoute` and `GRPCRoute`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use mesh_api::model::{Destination, PathMatch, RequestRule, RouteMatch, TrafficRule};

use super::View;

/// Requests that match, and what is done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// `None`: all that no route before matches.
    pub(super) matches: Option<&'a RouteMatch>,
    /// What is done beside sending them somewhere.
    pub(super) request: Option<&'a RequestRule>,
    /// Where they go, each with its share, which is not 0; none where they are redirected.
    pub(super) shares: Vec<(Destination, u32)>,
}

/// All routes of a service, the first to try first. `vacant` destinations get nothing as long as
/// there are others.
pub(super) fn routes<'a>(view: &View<'a>, vacant: &BTreeSet<Destination>) -> Vec<Route<'a>> {
    let rules = view.config.map_or(&[][..], |config| &config.traffic_rules);
    if rules.is_empty() {
        return vec![Route { matches: None, request: None, shares: vec![(view.whole(), 1)] }];
    }
    let mut groups: BTreeMap<Option<&RouteMatch>, (usize, Vec<&'a TrafficRule>)> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let group = groups.entry(rule.matches()).or_insert_with(|| (index, Vec::new()));
        group.1.push(rule);
    }
    let mut ordered: Vec<_> = groups.into_iter().collect();
    ordered.sort_by_key(|(matches, (index, _))| (rank(*matches), *index));
    let route = |(matches, (_, rules)): (Option<&'a RouteMatch>, (usize, Vec<&'a TrafficRule>))| {
        // Rules with one match say the same about requests.
        let request = rules.first().and_then(|rule| rule.request.as_deref());
        Route { matches, request, shares: shares(&rules, vacant) }
    };
    ordered.into_iter().map(route).collect()
}

fn shares(rules: &[&TrafficRule], vacant: &BTreeSet<Destination>) -> Vec<(Destination, u32)> {
    let redirects = |rule: &&TrafficRule| {
        rule.request.as_ref().is_some_and(|request| request.redirect.is_some())
    };
    let mut shares: BTreeMap<Destination, u32> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.weight > 0 && !redirects(rule)) {
        let share = shares.entry(rule.destination.clone()).or_default();
        *share = share.saturating_add(rule.weight);
    }
    if shares.keys().any(|to| !vacant.contains(to)) {
        shares.retain(|to, _| !vacant.contains(to));
    }
    shares.into_iter().collect()
}

/// What comes first has the lower one: exact paths, long prefixes before short ones, regular
/// expressions, and what matches every path; then those with a method, and those with more
/// headers. What is equal in all of this goes by its place in the configuration.
fn rank(matches: Option<&RouteMatch>) -> impl Ord {
    let Some(RouteMatch { path, headers, method, grpc }) = matches else {
        return (u8::MAX, Reverse(0), false, Reverse(0));
    };
    let (class, length) = match (path, grpc) {
        (Some(PathMatch::Exact(_)), _) => (0, 0),
        // A prefix of all paths is as good as none.
        (Some(PathMatch::Prefix(prefix)), _) if prefix.len() > 1 => (1, prefix.len()),
        (Some(PathMatch::Regex(_)), _) => (2, 0),
        (None, Some(grpc)) if grpc.method.is_some() => (0, 0),
        (None, Some(grpc)) => (1, grpc.service.len() + 1),
        (Some(PathMatch::Prefix(_)) | None, _) => (3, 0),
    };
    (class, Reverse(length), method.is_none(), Reverse(headers.len()))
}
