//! How wire types look in YAML and JSON: enums by name, durations as "1m30s", defaults left out.

use std::time::Duration;

use serde::{Deserializer, Serializer};

use crate::manifest::duration::{format_duration, parse_duration};
use crate::manifest::shorten;

/// Whether a field can be left out of a manifest.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! enum_serde {
    ($module:ident, $name:path, { $($variant:ident => $text:literal),+ $(,)? }) => {
        pub(crate) mod $module {
            use serde::{Deserialize as _, Deserializer, Serializer};

            use $name as Enum;

            pub(crate) fn serialize<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
                match Enum::try_from(*value) {
                    $(Ok(Enum::$variant) => to.serialize_str($text),)+
                    Ok(Enum::Unspecified) => to.serialize_str(""),
                    Err(error) => Err(serde::ser::Error::custom(error)),
                }
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
                let text = String::deserialize(from)?;
                match text.as_str() {
                    $($text => Ok(Enum::$variant.into()),)+
                    other => Err(serde::de::Error::unknown_variant(other, &[$($text),+])),
                }
            }
        }
    };
}

enum_serde!(protocol, crate::wire::Protocol, { Tcp => "TCP", Udp => "UDP" });
enum_serde!(on_no_backend, crate::wire::OnNoBackend, {
    Refuse => "Refuse",
    PassThrough => "PassThrough",
});
enum_serde!(refuse_errno, crate::wire::RefuseErrno, {
    Ehostunreach => "EHOSTUNREACH",
    Econnrefused => "ECONNREFUSED",
    Enetunreach => "ENETUNREACH",
    Eacces => "EACCES",
    Eperm => "EPERM",
    Etimedout => "ETIMEDOUT",
    Econnreset => "ECONNRESET",
    Eagain => "EAGAIN",
});
enum_serde!(client_key, crate::wire::ClientKey, {
    NetworkNamespace => "NetworkNamespace",
    Workload => "Workload",
});
enum_serde!(load_balancer_policy, crate::wire::LoadBalancerPolicy, {
    Random => "Random",
    RoundRobin => "RoundRobin",
    LeastConnections => "LeastConnections",
    Maglev => "Maglev",
});
enum_serde!(hash_key, crate::wire::HashKey, {
    NetworkNamespace => "NetworkNamespace",
    Workload => "Workload",
    Connection => "Connection",
});
enum_serde!(locality_mode, crate::wire::LocalityMode, {
    PreferLocal => "PreferLocal",
    Strict => "Strict",
});
enum_serde!(locality_scope, crate::wire::LocalityScope, {
    Node => "Node",
    Zone => "Zone",
    Region => "Region",
});
enum_serde!(initial_health, crate::wire::InitialHealth, {
    Healthy => "Healthy",
    Unhealthy => "Unhealthy",
});
enum_serde!(acceleration, crate::wire::Acceleration, {
    Off => "Off",
    On => "On",
    Auto => "Auto",
});
enum_serde!(on_no_proxy, crate::wire::OnNoProxy, { Bypass => "Bypass", Refuse => "Refuse" });
enum_serde!(match_type, crate::wire::MatchType, {
    Exact => "Exact",
    PathPrefix => "PathPrefix",
    RegularExpression => "RegularExpression",
});
enum_serde!(endpoint_state, crate::wire::EndpointState, {
    Serving => "Serving",
    Draining => "Draining",
});

/// Milliseconds, written with units.
pub(crate) mod duration_ms {
    use std::fmt;

    use serde::de::{Error, Visitor};

    use super::{Deserializer, Duration, Serializer, format_duration, parse_duration, shorten};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(crate) fn serialize<S: Serializer>(ms: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(Duration::from_millis(*ms)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        from.deserialize_str(Milliseconds)
    }

    struct Milliseconds;

    impl Visitor<'_> for Milliseconds {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration like 250ms, 5s or 1m30s")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            let duration = parse_duration(text).ok_or_else(|| {
                E::custom(format!(
                    "{:?} is no duration: write it like 250ms, 5s or 1m30s",
                    shorten(text)
                ))
            })?;
            u64::try_from(duration.as_millis()).map_err(E::custom)
        }
    }
}

/// Milliseconds that may be absent, where zero means something else.
pub(crate) mod optional_duration_ms {
    use super::{Deserializer, Serializer, duration_ms};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(crate) fn serialize<S: Serializer>(ms: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match ms {
            Some(ms) => duration_ms::serialize(ms, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        duration_ms::deserialize(from).map(Some)
    }
}
