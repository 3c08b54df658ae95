//! Generates `wire` from the protos, without protoc, and gives it the serde form of manifests.

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Enum fields: written by name; the module of `wire_serde` says which.
const ENUMS: &[(&str, &str)] = &[
    ("ServicePort.protocol", "protocol"),
    ("Service.on_no_backend", "on_no_backend"),
    ("Service.refuse_errno", "refuse_errno"),
    ("SessionAffinity.key", "client_key"),
    ("Endpoint.state", "endpoint_state"),
    ("LoadBalancer.policy", "load_balancer_policy"),
    ("LoadBalancer.hash_key", "hash_key"),
    ("LocalityPolicy.mode", "locality_mode"),
    ("LocalityPolicy.scope", "locality_scope"),
    ("HealthCheck.initial_state", "initial_health"),
    ("ServiceConfig.acceleration", "acceleration"),
    ("ServiceConfig.on_no_proxy", "on_no_proxy"),
    ("PathMatch.type", "match_type"),
    ("HeaderMatch.type", "match_type"),
];

fn main() -> Outcome {
    println!("cargo::rerun-if-changed=proto");
    let protos = [
        "mesh/v1/objects.proto",
        "mesh/v1/control.proto",
        "mesh/v1/workloads.proto",
        "mesh/v1/health.proto",
        "mesh/v1/telemetry.proto",
        "mesh/v1/nodes.proto",
    ];
    let files = protox::compile(protos, ["proto"])?;

    let mut config = tonic_prost_build::configure().btree_map(".mesh.v1");
    for message in OBJECTS {
        let path = format!(".mesh.v1.{message}");
        config = config
            .type_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]")
            .type_attribute(
                &path,
                "#[serde(rename_all = \"camelCase\", deny_unknown_fields, default)]",
            )
            .field_attribute(
                &path,
                "#[serde(skip_serializing_if = \"crate::wire_serde::is_default\")]",
            );
    }
    for (field, module) in ENUMS {
        config = config.field_attribute(
            format!(".mesh.v1.{field}"),
            format!("#[serde(with = \"crate::wire_serde::{module}\")]"),
        );
    }
    // As Kubernetes spells it.
    config = config
        .field_attribute(".mesh.v1.SessionAffinity.client_ip", "#[serde(rename = \"clientIP\")]");
    for file in &files.file {
        for message in &file.message_type {
            if !OBJECTS.contains(&message.name()) {
                continue;
            }
            for field in &message.field {
                if let Some(name) = field.name().strip_suffix("_ms") {
                    let with = if field.proto3_optional() {
                        "optional_duration_ms"
                    } else {
                        "duration_ms"
                    };
                    config = config.field_attribute(
                        format!(".mesh.v1.{}.{}", message.name(), field.name()),
                        format!(
                            "#[serde(rename = \"{}\", with = \"crate::wire_serde::{with}\")]",
                            camel(name)
                        ),
                    );
                }
            }
        }
    }
    config.compile_fds(files)?;
    Ok(())
}

/// The messages that people write in manifests.
const OBJECTS: &[&str] = &[
    "Metadata",
    "Service",
    "ServicePort",
    "SessionAffinity",
    "Endpoint",
    "Locality",
    "ServiceConfig",
    "TrafficRule",
    "PathMatch",
    "HeaderMatch",
    "GrpcMatch",
    "RequestRetries",
    "Mirror",
    "Fault",
    "FaultDelay",
    "FaultAbort",
    "PathModifier",
    "Redirect",
    "Rewrite",
    "RequestLimits",
    "Destination",
    "Match",
    "LoadBalancer",
    "LocalityPolicy",
    "CircuitBreaker",
    "CircuitBreakerThresholds",
    "OutlierDetection",
    "HealthCheck",
    "TcpCheck",
    "HttpCheck",
    "GrpcCheck",
    "Timeouts",
    "Retry",
];

fn camel(snake: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in snake.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.extend(c.to_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}
