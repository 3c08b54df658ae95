//! Limits of a request, checked before anything of it is stored.

use super::{MAX_NAME_BYTES, MAX_NAMES, ProtocolError};
use crate::ads::{DeltaDiscoveryRequest, DiscoveryRequest};

/// Check what can be checked without knowing the stream.
pub(super) fn validate(request: &DeltaDiscoveryRequest) -> Result<(), ProtocolError> {
    if request.type_url.is_empty() {
        return Err(ProtocolError::NoType);
    }
    length("type_url", &request.type_url)?;
    let subscribe = request.resource_names_subscribe.iter();
    names("resource_names_subscribe", subscribe)?;
    let unsubscribe = request.resource_names_unsubscribe.iter();
    names("resource_names_unsubscribe", unsubscribe)?;
    let claimed = request.initial_resource_versions.keys();
    names("initial_resource_versions", claimed)?;
    request
        .initial_resource_versions
        .values()
        .try_for_each(|version| length("initial_resource_versions", version))
}

/// The same for the state-of-the-world variant.
pub(super) fn validate_sotw(request: &DiscoveryRequest) -> Result<(), ProtocolError> {
    if request.type_url.is_empty() {
        return Err(ProtocolError::NoType);
    }
    length("type_url", &request.type_url)?;
    length("version_info", &request.version_info)?;
    names("resource_names", request.resource_names.iter())
}

/// Refuse a text longer than [`MAX_NAME_BYTES`].
pub(super) const fn length(field: &'static str, text: &str) -> Result<(), ProtocolError> {
    if text.len() > MAX_NAME_BYTES {
        return Err(ProtocolError::TooLong { field, len: text.len() });
    }
    Ok(())
}

fn names(
    field: &'static str,
    mut names: impl ExactSizeIterator<Item: AsRef<str>>,
) -> Result<(), ProtocolError> {
    if names.len() > MAX_NAMES {
        let count = names.len();
        return Err(ProtocolError::TooManyNames { field, count });
    }
    names.try_for_each(|name| {
        if name.as_ref().is_empty() {
            return Err(ProtocolError::EmptyName);
        }
        length(field, name.as_ref())
    })
}
