//! What services and their configs say, in a few words each, in the terms of manifests.

use std::time::Duration;

use mesh_api::manifest::duration::format_duration;
use mesh_api::wire;

/// As in `Refuse (EHOSTUNREACH)`.
pub(crate) fn no_backend(spec: &wire::Service) -> String {
    match spec.on_no_backend() {
        wire::OnNoBackend::Unspecified | wire::OnNoBackend::Refuse => {
            format!("Refuse ({})", spec.refuse_errno().to_model())
        }
        wire::OnNoBackend::PassThrough => "PassThrough".to_owned(),
    }
}

/// As in `NetworkNamespace for 3h`; empty without affinity.
pub(crate) fn affinity(spec: &wire::Service) -> String {
    let Some(affinity) = &spec.session_affinity else { return String::new() };
    let key = match affinity.key() {
        wire::ClientKey::Unspecified | wire::ClientKey::NetworkNamespace => "NetworkNamespace",
        wire::ClientKey::Workload => "Workload",
    };
    let time = affinity.timeout_ms.map(|ms| format!(" for {}", duration(ms)));
    format!("{key}{}", time.unwrap_or_default())
}

/// As in `RoundRobin`, or `Maglev by Workload`.
pub(crate) fn policy(spec: &wire::ServiceConfig) -> String {
    let balancer = spec.load_balancer.unwrap_or_default();
    let policy = match balancer.policy() {
        wire::LoadBalancerPolicy::Unspecified | wire::LoadBalancerPolicy::Random => "Random",
        wire::LoadBalancerPolicy::RoundRobin => "RoundRobin",
        wire::LoadBalancerPolicy::LeastConnections => "LeastConnections",
        wire::LoadBalancerPolicy::Maglev => {
            return match balancer.hash_key() {
                wire::HashKey::Unspecified | wire::HashKey::NetworkNamespace => {
                    "Maglev by NetworkNamespace"
                }
                wire::HashKey::Workload => "Maglev by Workload",
                wire::HashKey::Connection => "Maglev by Connection",
            }
            .to_owned();
        }
    };
    policy.to_owned()
}

/// As in `PreferLocal (Node)`; empty where locality plays no part.
pub(crate) fn locality(spec: &wire::ServiceConfig) -> String {
    let Some(locality) = spec.load_balancer.and_then(|balancer| balancer.locality) else {
        return String::new();
    };
    let mode = match locality.mode() {
        wire::LocalityMode::Unspecified => return String::new(),
        wire::LocalityMode::PreferLocal => "PreferLocal",
        wire::LocalityMode::Strict => "Strict",
    };
    let scope = match locality.scope() {
        wire::LocalityScope::Unspecified | wire::LocalityScope::Node => "Node",
        wire::LocalityScope::Zone => "Zone",
        wire::LocalityScope::Region => "Region",
    };
    format!("{mode} ({scope})")
}

/// As in `30s`; empty where connections are left to end on their own.
pub(crate) fn drain_timeout(spec: &wire::ServiceConfig) -> String {
    spec.drain_timeout_ms.map(duration).unwrap_or_default()
}

/// `On`; `None` where it is off, as for most.
pub(crate) fn acceleration(spec: &wire::ServiceConfig) -> Option<&'static str> {
    match spec.acceleration() {
        wire::Acceleration::Unspecified | wire::Acceleration::Off => None,
        wire::Acceleration::On => Some("On"),
        wire::Acceleration::Auto => Some("Auto"),
    }
}

fn duration(milliseconds: u64) -> String {
    format_duration(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_said_where_something_happens_and_left_out_where_nothing_does() {
        let service = wire::Service::default();
        assert_eq!(
            (no_backend(&service), affinity(&service)),
            ("Refuse (EHOSTUNREACH)".to_owned(), String::new())
        );
        let config = wire::ServiceConfig::default();
        assert_eq!(policy(&config), "Random");
        assert_eq!((locality(&config), drain_timeout(&config)), (String::new(), String::new()));
        assert_eq!(acceleration(&config), None);
    }

    #[test]
    fn what_is_configured_is_said() {
        let service = wire::Service {
            refuse_errno: wire::RefuseErrno::Econnrefused.into(),
            session_affinity: Some(wire::SessionAffinity {
                client_ip: false,
                timeout_ms: Some(5_400_000),
                key: wire::ClientKey::Workload.into(),
            }),
            ..wire::Service::default()
        };
        assert_eq!(no_backend(&service), "Refuse (ECONNREFUSED)");
        assert_eq!(affinity(&service), "Workload for 1h30m");
        let config = wire::ServiceConfig {
            load_balancer: Some(wire::LoadBalancer {
                policy: wire::LoadBalancerPolicy::Maglev.into(),
                hash_key: wire::HashKey::Connection.into(),
                locality: Some(wire::LocalityPolicy {
                    mode: wire::LocalityMode::Strict.into(),
                    scope: wire::LocalityScope::Zone.into(),
                }),
                ..wire::LoadBalancer::default()
            }),
            drain_timeout_ms: Some(0),
            acceleration: wire::Acceleration::On.into(),
            ..wire::ServiceConfig::default()
        };
        assert_eq!(policy(&config), "Maglev by Connection");
        assert_eq!(
            (locality(&config).as_str(), drain_timeout(&config).as_str()),
            ("Strict (Zone)", "0s")
        );
        assert_eq!(acceleration(&config), Some("On"));
    }
}
