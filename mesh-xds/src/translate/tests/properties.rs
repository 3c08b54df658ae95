//! What holds for every configuration: routes are in Gateway API's order, whatever is referred to
//! exists, and equal input gives equal bytes.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::listener::v3::{Listener, filter};
use envoy_types::pb::envoy::config::route::v3::{
    RouteConfiguration, route::Action, route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use mesh_api::model::{
    Destination, HeaderMatch, HeaderValue, Mirror, PathMatch, RequestRule, RouteMatch, TrafficRule,
};
use proptest::prelude::*;
use prost::Message as _;

use super::super::routes::routes;
use super::super::{ASSIGNMENT, CLUSTER, LISTENER, Named, ROUTES, envoy, grpc, vacant};
use super::Objects;

const MANIFESTS: &str = include_str!("golden/split.yaml");

fn path() -> impl Strategy<Value = Option<PathMatch>> {
    let segments = prop::sample::select(vec!["/", "/a", "/a/b", "/ab", "/a/b/c"]);
    (segments, 0..4_u8).prop_map(|(path, kind)| match kind {
        0 => None,
        1 => Some(PathMatch::Exact(path.to_owned())),
        2 => Some(PathMatch::Prefix(path.to_owned())),
        _ => Some(PathMatch::Regex(format!("{path}.*"))),
    })
}

fn matches() -> impl Strategy<Value = Option<RouteMatch>> {
    let headers = prop::collection::btree_set(prop::sample::select(vec!["x", "y", "z"]), 0..3);
    let method = prop::option::of(Just("POST".to_owned()));
    (path(), headers, method).prop_map(|(path, headers, method)| {
        let header = |name: &str| HeaderMatch {
            name: name.to_owned(),
            value: HeaderValue::Exact("1".to_owned()),
        };
        let headers = headers.into_iter().map(header).collect();
        let all = RouteMatch { path, headers, method, grpc: None };
        (all != RouteMatch::default()).then_some(all)
    })
}

fn destination() -> impl Strategy<Value = Destination> {
    let version = prop::sample::select(vec![None, Some("v1"), Some("v2"), Some("gone")]);
    let service = prop::sample::select(vec!["shop/web", "shop/absent"]);
    (service, version).prop_map(|(service, version)| Destination {
        service: service.parse().unwrap(),
        version: version.map(|version| version.parse().unwrap()),
    })
}

fn rule() -> impl Strategy<Value = TrafficRule> {
    let mirror = prop::option::of(destination());
    (matches(), destination(), 0..4_u32, mirror).prop_map(|(matches, destination, weight, to)| {
        let mirror = to.map(|destination| Mirror { destination, percent: 50 });
        let request = RequestRule { matches, mirror, ..RequestRule::default() };
        TrafficRule { destination, weight, request: Some(Box::new(request)) }
    })
}

/// A service with such rules. Validation leaves no match without any weight.
fn objects() -> impl Strategy<Value = Objects> {
    prop::collection::vec(rule(), 0..12).prop_map(|mut rules| {
        for at in 0..rules.len() {
            let of = |rule: &&TrafficRule| rule.matches() == rules[at].matches();
            if rules.iter().filter(of).all(|rule| rule.weight == 0) {
                rules[at].weight = 1;
            }
        }
        let mut objects = Objects::read(MANIFESTS);
        for config in objects.configs.values_mut() {
            config.traffic_rules.clone_from(&rules);
        }
        objects
    })
}

/// Whether the one goes before the other by what Gateway API says, apart from regular expressions,
/// whose place it leaves open, and from the place in the configuration.
fn precedes(one: &RouteMatch, other: &RouteMatch) -> bool {
    let exact = |it: &RouteMatch| matches!(it.path, Some(PathMatch::Exact(_)));
    let prefix = |it: &RouteMatch| match &it.path {
        Some(PathMatch::Prefix(prefix)) => Some(prefix.len()),
        None => Some(1),
        Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => None,
    };
    if exact(one) != exact(other) {
        return exact(one);
    }
    match (prefix(one), prefix(other)) {
        (Some(one), Some(other)) if one != other => return one > other,
        (Some(_), None) | (None, Some(_)) => return false,
        _ => {}
    }
    if one.method.is_some() != other.method.is_some() {
        return one.method.is_some();
    }
    one.headers.len() > other.headers.len()
}

fn all(objects: &Objects) -> Vec<Vec<Named>> {
    let (mut by_envoy, mut by_grpc) = (Vec::new(), Vec::new());
    for view in objects.views() {
        let vacant = vacant(&view);
        by_envoy.extend(envoy::policy(&view, &vacant));
        by_envoy.extend(envoy::assignments(&view, &|_| true));
        by_grpc.extend(grpc::policy(&view, &vacant));
        by_grpc.extend(grpc::assignments(&view, &|_| true));
    }
    vec![by_envoy, by_grpc]
}

fn names<'a>(found: &'a [Named], type_url: &str) -> BTreeSet<&'a str> {
    let of_type = found.iter().filter(|it| it.type_url == type_url);
    of_type.map(|it| it.name.as_str()).collect()
}

fn routes_of(listener: &Listener) -> String {
    let chains = &listener.filter_chains;
    let filters = chains.iter().flat_map(|chain| &chain.filters);
    let configs = filters.filter_map(|filter| match filter.config_type.clone()? {
        filter::ConfigType::TypedConfig(any) => Some(any),
        filter::ConfigType::ConfigDiscovery(_) => None,
    });
    let api = listener.api_listener.iter().filter_map(|api| api.api_listener.clone());
    let any = configs.chain(api).next().unwrap();
    let manager = HttpConnectionManager::decode(any.value.as_slice()).unwrap();
    let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier else { panic!("{manager:?}") };
    rds.route_config_name
}

fn clusters_of(routes: &RouteConfiguration) -> Vec<String> {
    let mut found = Vec::new();
    for route in routes.virtual_hosts.iter().flat_map(|host| &host.routes) {
        let Some(Action::Route(action)) = &route.action else { continue };
        found.extend(action.request_mirror_policies.iter().map(|it| it.cluster.clone()));
        let to = action.cluster_specifier.clone().unwrap();
        if let ClusterSpecifier::WeightedClusters(weighted) = to {
            assert!(weighted.clusters.len() > 1);
            assert!(weighted.clusters.iter().all(|it| it.weight.unwrap().value > 0));
            found.extend(weighted.clusters.into_iter().map(|it| it.name));
        } else if let ClusterSpecifier::Cluster(name) = to {
            found.push(name);
        } else {
            panic!("{to:?}");
        }
    }
    found
}

proptest! {
    #[test]
    fn routes_are_in_order(objects in objects()) {
        for view in objects.views() {
            let all = routes(&view, &vacant(&view));
            let rules = &view.config.unwrap().traffic_rules;
            let distinct: BTreeSet<_> = rules.iter().map(TrafficRule::matches).collect();
            prop_assert_eq!(all.len(), distinct.len().max(1));
            for (at, later) in all.iter().enumerate() {
                let Some(later) = later.matches else {
                    prop_assert_eq!(at + 1, all.len());
                    continue;
                };
                for earlier in all[..at].iter().map(|it| it.matches.unwrap()) {
                    prop_assert!(!precedes(later, earlier), "{later:?} after {earlier:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_referred_to_exists(objects in objects()) {
        for found in all(&objects) {
            let clusters = names(&found, CLUSTER);
            prop_assert_eq!(&clusters, &names(&found, ASSIGNMENT));
            for Named { type_url, name, resource } in &found {
                match *type_url {
                    LISTENER => {
                        let listener = Listener::decode(&*resource.body).unwrap();
                        let routes = routes_of(&listener);
                        prop_assert!(names(&found, ROUTES).contains(routes.as_str()), "{name}");
                    }
                    ROUTES => {
                        let routes = RouteConfiguration::decode(&*resource.body).unwrap();
                        for cluster in clusters_of(&routes) {
                            prop_assert!(clusters.contains(cluster.as_str()), "{name}: {cluster}");
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn equal_input_gives_equal_bytes(objects in objects(), turn in 0..5_usize) {
        let mut other = objects.clone();
        other.endpoints.rotate_left(turn);
        prop_assert_eq!(all(&objects), all(&other));
    }

    #[test]
    fn no_name_is_in_both_dialects(objects in objects()) {
        let [by_envoy, by_grpc] = &all(&objects)[..] else { panic!("two") };
        for type_url in super::super::TYPES {
            prop_assert!(names(by_envoy, type_url).is_disjoint(&names(by_grpc, type_url)));
        }
    }
}

/// One rule's endpoints are gone: the others share what it had, as in the kernel.
#[test]
fn a_vacant_destination_gets_nothing() {
    let mut objects = Objects::read(MANIFESTS);
    let shares = |objects: &Objects| {
        let view = objects.views().next().unwrap();
        routes(&view, &vacant(&view)).pop().unwrap().shares.len()
    };
    assert_eq!(shares(&objects), 2);
    objects.endpoints.retain(|endpoint| endpoint.name.name.as_str() != "web-4");
    assert_eq!(shares(&objects), 1);
    objects.endpoints.clear();
    assert_eq!(shares(&objects), 2, "nobody can take it");
}
