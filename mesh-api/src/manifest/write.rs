//! Objects back to manifests.

use serde::ser::{Error as _, Serialize, SerializeStruct as _, Serializer};

use super::API_VERSION;
use crate::wire;

/// Why an object cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the object as a manifest: {source}")]
pub struct WriteError {
    /// What the serializer says.
    #[from]
    source: serde_saphyr::SerializeError,
}

/// An object in the form of a manifest, for any serde format: fields in the order of the
/// protos, defaults left out.
#[derive(Clone, Copy, Debug)]
pub struct Manifest<'a>(pub &'a wire::Object);

impl Serialize for Manifest<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(wire::Object { metadata, spec }) = self;
        let Some(spec) = spec else {
            return Err(S::Error::custom("the object has no spec"));
        };
        let mut fields = to.serialize_struct("Manifest", 4)?;
        fields.serialize_field("apiVersion", API_VERSION)?;
        fields.serialize_field("kind", &self.0.kind().map(crate::model::Kind::as_str))?;
        fields.serialize_field("metadata", metadata)?;
        match spec {
            wire::object::Spec::Service(spec) => fields.serialize_field("spec", spec)?,
            wire::object::Spec::Endpoint(spec) => fields.serialize_field("spec", spec)?,
            wire::object::Spec::ServiceConfig(spec) => fields.serialize_field("spec", spec)?,
        }
        fields.end()
    }
}

/// The object as one YAML document, without the `---` before it, that [`super::parse`] reads
/// back to the same object.
pub fn to_yaml(object: &wire::Object) -> Result<String, WriteError> {
    any_to_yaml(&Manifest(object))
}

/// Any value as YAML, in the same style.
pub fn any_to_yaml(value: &impl Serialize) -> Result<String, WriteError> {
    let mut text = String::new();
    let options = serde_saphyr::ser_options! {
        // Quotes what YAML 1.2 takes for something else than text, so not `10.96.0.10`.
        yaml_12: true,
        no_lang_directive: true,
    };
    serde_saphyr::to_fmt_writer_with_options(&mut text, value, options)?;
    Ok(text)
}
