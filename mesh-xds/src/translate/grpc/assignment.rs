//! Endpoint sets that gRPC honours. It ignores the weights of endpoints, but those of localities
//! count: endpoints of one weight make a locality of their own, whose weight is their sum. Ring
//! hash does look at endpoints' weights.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};

use super::super::message::number;
use super::super::pool::{Place, Pool, Status, fit};
use super::super::shared;

/// gRPC knows no panic: where too few are healthy, all are said to be nobody knows what.
pub(super) fn assignment(name: &str, pool: Pool, hashed: bool) -> ClusterLoadAssignment {
    let Pool { mut places, panics } = pool;
    for place in &mut places {
        if panics && place.status == Status::Unhealthy {
            place.status = Status::Unknown;
        }
    }
    // It would leave out the others itself; here their weights must not count.
    places.retain(|place| place.status.is_usable());
    let mut groups: BTreeMap<_, Vec<&Place>> = BTreeMap::new();
    for place in &places {
        let by_weight = (!hashed).then_some(place.weight);
        let key = (place.priority, place.region.clone(), place.zone.clone(), by_weight);
        groups.entry(key).or_default().push(place);
    }
    // What ring hash looks at is the product of both weights.
    let sum = |group: &[&Place]| {
        let sum: u64 = group.iter().map(|place| u64::from(place.weight)).sum();
        if hashed { 1 } else { u32::try_from(sum).unwrap_or(u32::MAX) }
    };
    let mut weights: Vec<u32> = groups.values().map(|group| sum(group)).collect();
    fit(weights.iter_mut());
    let locality = |((key, group), weight): ((_, Vec<&Place>), u32)| {
        let (priority, _, _, by_weight): (_, _, _, Option<u32>) = key;
        let sub_zone = by_weight.map(|weight| format!("weight-{weight}")).unwrap_or_default();
        let endpoint = |place: &&Place| {
            let weight = if hashed { place.weight } else { 1 };
            shared::endpoint(place, place.status, weight)
        };
        LocalityLbEndpoints {
            locality: group.first().map(|place| shared::locality(place, sub_zone)),
            lb_endpoints: group.iter().map(endpoint).collect(),
            load_balancing_weight: number(weight),
            priority,
            ..LocalityLbEndpoints::default()
        }
    };
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: groups.into_iter().zip(weights).map(locality).collect(),
        ..ClusterLoadAssignment::default()
    }
}
