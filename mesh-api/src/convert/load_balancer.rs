//! Load balancer: wire ⇄ model.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::bounds;
use crate::model::{HashKey, LoadBalancer, LocalityMode, LocalityPolicy, LocalityScope, Policy};
use crate::violation::Fields;
use crate::wire;

const SLOW_START: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Percent of the endpoints; 0 is never.
const PANIC: RangeInclusive<u32> = 0..=100;

pub(super) fn from_wire(fields: &mut Fields, spec: &wire::LoadBalancer) -> LoadBalancer {
    let policy = policy(fields, spec.policy);
    let hash_key = hash_key(fields, spec.hash_key);
    if hash_key.is_some() && policy.is_some_and(|policy| policy != Policy::Maglev) {
        let message = "hashKey is only for Maglev: use that policy, or remove hashKey";
        fields.invalid("spec.loadBalancer.policy", message);
    }
    let locality = spec.locality.and_then(|spec| locality(fields, spec));
    let slow_start = bounds::duration(spec.slow_start_ms);
    let slow_start =
        bounds::optional(fields, "spec.loadBalancer.slowStart", slow_start, &SLOW_START);
    let panic_threshold = Some(spec.panic_threshold);
    let panic_threshold =
        bounds::optional(fields, "spec.loadBalancer.panicThreshold", panic_threshold, &PANIC);
    LoadBalancer {
        policy: policy.unwrap_or_default(),
        hash_key: hash_key.unwrap_or_default(),
        locality,
        slow_start,
        panic_threshold: bounds::percent(panic_threshold.unwrap_or(0)),
    }
}

/// `None` where there is no such policy.
fn policy(fields: &mut Fields, value: i32) -> Option<Policy> {
    match fields.check("spec.loadBalancer.policy", wire::LoadBalancerPolicy::try_from(value))? {
        wire::LoadBalancerPolicy::Unspecified | wire::LoadBalancerPolicy::Random => {
            Some(Policy::Random)
        }
        wire::LoadBalancerPolicy::RoundRobin => Some(Policy::RoundRobin),
        wire::LoadBalancerPolicy::LeastConnections => Some(Policy::LeastConnections),
        wire::LoadBalancerPolicy::Maglev => Some(Policy::Maglev),
    }
}

/// `None` where nothing is said.
fn hash_key(fields: &mut Fields, value: i32) -> Option<HashKey> {
    match fields.check("spec.loadBalancer.hashKey", wire::HashKey::try_from(value))? {
        wire::HashKey::Unspecified => None,
        wire::HashKey::NetworkNamespace => Some(HashKey::NetworkNamespace),
        wire::HashKey::Workload => Some(HashKey::Workload),
        wire::HashKey::Connection => Some(HashKey::Connection),
    }
}

fn locality(fields: &mut Fields, spec: wire::LocalityPolicy) -> Option<LocalityPolicy> {
    const MODE: &str = "spec.loadBalancer.locality.mode";
    let mode = match fields.check(MODE, wire::LocalityMode::try_from(spec.mode)) {
        Some(wire::LocalityMode::Unspecified) => {
            fields.invalid(MODE, "required: PreferLocal or Strict");
            None
        }
        Some(wire::LocalityMode::PreferLocal) => Some(LocalityMode::PreferLocal),
        Some(wire::LocalityMode::Strict) => Some(LocalityMode::Strict),
        None => None,
    };
    let scope = wire::LocalityScope::try_from(spec.scope);
    let scope = match fields.check("spec.loadBalancer.locality.scope", scope)? {
        wire::LocalityScope::Unspecified | wire::LocalityScope::Node => LocalityScope::Node,
        wire::LocalityScope::Zone => LocalityScope::Zone,
        wire::LocalityScope::Region => LocalityScope::Region,
    };
    Some(LocalityPolicy { mode: mode?, scope })
}

/// `None` for what a config without one means.
pub(super) fn to_wire(balancer: LoadBalancer) -> Option<wire::LoadBalancer> {
    let LoadBalancer { policy, hash_key, locality, slow_start, panic_threshold } = balancer;
    if balancer == LoadBalancer::default() {
        return None;
    }
    let hash_key = match (policy, hash_key) {
        (Policy::Maglev, HashKey::NetworkNamespace) => wire::HashKey::NetworkNamespace,
        (Policy::Maglev, HashKey::Workload) => wire::HashKey::Workload,
        (Policy::Maglev, HashKey::Connection) => wire::HashKey::Connection,
        (Policy::Random | Policy::RoundRobin | Policy::LeastConnections, _) => {
            wire::HashKey::Unspecified
        }
    };
    let policy = match policy {
        Policy::Random => wire::LoadBalancerPolicy::Random,
        Policy::RoundRobin => wire::LoadBalancerPolicy::RoundRobin,
        Policy::LeastConnections => wire::LoadBalancerPolicy::LeastConnections,
        Policy::Maglev => wire::LoadBalancerPolicy::Maglev,
    };
    Some(wire::LoadBalancer {
        policy: policy.into(),
        hash_key: hash_key.into(),
        locality: locality.map(Into::into),
        slow_start_ms: slow_start.map(super::milliseconds),
        panic_threshold: panic_threshold.into(),
    })
}

impl From<LocalityPolicy> for wire::LocalityPolicy {
    fn from(policy: LocalityPolicy) -> Self {
        let LocalityPolicy { mode, scope } = policy;
        let mode = match mode {
            LocalityMode::PreferLocal => wire::LocalityMode::PreferLocal,
            LocalityMode::Strict => wire::LocalityMode::Strict,
        };
        let scope = match scope {
            LocalityScope::Node => wire::LocalityScope::Node,
            LocalityScope::Zone => wire::LocalityScope::Zone,
            LocalityScope::Region => wire::LocalityScope::Region,
        };
        Self { mode: mode.into(), scope: scope.into() }
    }
}
