//! Wire types to the validated model and back. Going in, every violation of an object is
//! reported at once with its field's path; coming out cannot fail.

mod address;
mod bounds;
mod endpoint;
mod health;
mod load_balancer;
mod resilience;
mod routing;
mod service;
mod service_config;
#[cfg(test)]
mod tests;
mod violation;

use std::time::Duration;

use crate::model::{Kind, Label, Labels, Name, Object, ObjectName, ObjectRef};
use crate::violation::{FieldError, Fields};
use crate::wire;

/// Most labels on an object.
const MAX_LABELS: usize = 64;

impl TryFrom<wire::Object> for Object {
    type Error = Vec<FieldError>;

    fn try_from(object: wire::Object) -> Result<Self, Vec<FieldError>> {
        let wire::Object { metadata, spec } = object;
        let metadata = metadata.unwrap_or_default();
        let mut fields = Fields::default();
        let name = metadata_name(&mut fields, &metadata);
        let Some(spec) = spec else {
            fields.invalid("spec", "required");
            return fields.finish(None);
        };
        // A stand-in name lets the rest be checked as well; `finish` drops the result.
        let checked = name.clone().or_else(|| "invalid/invalid".parse::<ObjectName>().ok());
        let Some(checked) = checked else {
            return fields.finish(None);
        };
        let labels = metadata.labels;
        let object = match spec {
            wire::object::Spec::Service(spec) => {
                Some(Self::Service(service::from_wire(&mut fields, checked, labels, &spec)))
            }
            wire::object::Spec::Endpoint(spec) => {
                endpoint::from_wire(&mut fields, checked, labels, spec).map(Self::Endpoint)
            }
            wire::object::Spec::ServiceConfig(spec) => Some(Self::ServiceConfig(
                service_config::from_wire(&mut fields, checked, labels, spec),
            )),
        };
        fields.finish(name.and(object))
    }
}

impl From<&Object> for wire::Object {
    fn from(object: &Object) -> Self {
        let (name, labels, spec) = match object {
            Object::Service(service) => {
                (&service.name, &service.labels, wire::object::Spec::Service(service.into()))
            }
            Object::Endpoint(endpoint) => {
                (&endpoint.name, &endpoint.labels, wire::object::Spec::Endpoint(endpoint.into()))
            }
            Object::ServiceConfig(config) => {
                (&config.name, &config.labels, wire::object::Spec::ServiceConfig(config.into()))
            }
        };
        Self {
            metadata: Some(wire::Metadata {
                namespace: name.namespace.to_string(),
                name: name.name.to_string(),
                labels: labels.clone(),
                resource_version: 0,
            }),
            spec: Some(spec),
        }
    }
}

impl wire::Object {
    /// The kind, if there is a spec.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match &self.spec {
            Some(wire::object::Spec::Service(_)) => Some(Kind::Service),
            Some(wire::object::Spec::Endpoint(_)) => Some(Kind::Endpoint),
            Some(wire::object::Spec::ServiceConfig(_)) => Some(Kind::ServiceConfig),
            None => None,
        }
    }

    /// Kind and name, if both are well-formed.
    #[must_use]
    pub fn reference(&self) -> Option<ObjectRef> {
        let metadata = self.metadata.as_ref()?;
        let name = ObjectName {
            namespace: metadata.namespace.parse().ok()?,
            name: metadata.name.parse().ok()?,
        };
        Some(ObjectRef { kind: self.kind()?, name })
    }
}

impl From<Kind> for wire::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Service => Self::Service,
            Kind::Endpoint => Self::Endpoint,
            Kind::ServiceConfig => Self::ServiceConfig,
        }
    }
}

impl wire::Kind {
    /// The model's kind; `None` where unspecified.
    #[must_use]
    pub const fn to_model(self) -> Option<Kind> {
        match self {
            Self::Unspecified => None,
            Self::Service => Some(Kind::Service),
            Self::Endpoint => Some(Kind::Endpoint),
            Self::ServiceConfig => Some(Kind::ServiceConfig),
        }
    }
}

impl From<&ObjectRef> for wire::ObjectRef {
    fn from(reference: &ObjectRef) -> Self {
        Self {
            kind: wire::Kind::from(reference.kind).into(),
            namespace: reference.name.namespace.to_string(),
            name: reference.name.name.to_string(),
        }
    }
}

impl TryFrom<&wire::ObjectRef> for ObjectRef {
    type Error = Vec<FieldError>;

    fn try_from(reference: &wire::ObjectRef) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::default();
        let kind = reference.kind().to_model();
        if kind.is_none() {
            fields.invalid("kind", "required: Service, Endpoint or ServiceConfig");
        }
        let namespace = fields.check("namespace", reference.namespace.parse::<Name>());
        let name = fields.check("name", reference.name.parse::<Name>());
        let found =
            || Some(Self { kind: kind?, name: ObjectName { namespace: namespace?, name: name? } });
        let found = found();
        fields.finish(found)
    }
}

/// Decodes what an agent receives: a spec under its resource name.
pub fn from_resource(
    kind: Kind,
    resource_name: &str,
    bytes: &[u8],
) -> Result<Object, ResourceError> {
    use prost::Message as _;

    let name = resource_name
        .parse::<ObjectName>()
        .map_err(|source| ResourceError::Name { name: resource_name.to_owned(), source })?;
    let decode_error = |source| ResourceError::Decode { name: resource_name.to_owned(), source };
    let spec = match kind {
        Kind::Service => wire::Service::decode(bytes).map(wire::object::Spec::Service),
        Kind::Endpoint => wire::Endpoint::decode(bytes).map(wire::object::Spec::Endpoint),
        Kind::ServiceConfig => {
            wire::ServiceConfig::decode(bytes).map(wire::object::Spec::ServiceConfig)
        }
    }
    .map_err(decode_error)?;
    let object = wire::Object {
        metadata: Some(wire::Metadata {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            ..wire::Metadata::default()
        }),
        spec: Some(spec),
    };
    Object::try_from(object).map_err(|errors| ResourceError::Invalid {
        name: resource_name.to_owned(),
        errors: errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    })
}

/// Why a resource is rejected; each names the resource.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// The resource name is not `namespace/name`.
    #[error("resource {name:?}: {source}")]
    Name {
        /// The name as received.
        name: String,
        /// What is wrong with it.
        #[source]
        source: crate::model::ObjectNameError,
    },
    /// The bytes are not the message.
    #[error("resource {name}: {source}")]
    Decode {
        /// The resource.
        name: String,
        /// What prost says.
        #[source]
        source: prost::DecodeError,
    },
    /// The content breaks rules.
    #[error("resource {name}: {errors}")]
    Invalid {
        /// The resource.
        name: String,
        /// All violations, joined by `; `.
        errors: String,
    },
}

fn metadata_name(fields: &mut Fields, metadata: &wire::Metadata) -> Option<ObjectName> {
    let namespace = fields.check("metadata.namespace", metadata.namespace.parse::<Name>());
    let name = fields.check("metadata.name", metadata.name.parse::<Name>());
    check_labels(fields, &metadata.labels);
    Some(ObjectName { namespace: namespace?, name: name? })
}

fn check_labels(fields: &mut Fields, labels: &Labels) {
    if labels.len() > MAX_LABELS {
        fields.invalid(
            "metadata.labels",
            format!("{} labels: at most {MAX_LABELS} are allowed", labels.len()),
        );
    }
    for (key, value) in labels {
        let field = format!("metadata.labels.{key}");
        fields.check(&field, key.parse::<Label>());
        if !value.is_empty() {
            fields.check(&field, value.parse::<Label>());
        }
    }
}

/// An optional label: the empty text is absence.
fn optional_label(fields: &mut Fields, field: &str, text: &str) -> Option<Label> {
    if text.is_empty() { None } else { fields.check(field, text.parse::<Label>()) }
}

/// Hostile input does not get to fill the error message.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 80 {
        return text.to_owned();
    }
    text.chars().take(80).chain(['…']).collect()
}

/// Milliseconds as the wire has them.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn label_text(label: Option<&Label>) -> String {
    label.map(ToString::to_string).unwrap_or_default()
}
