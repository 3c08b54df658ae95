//! What `apply` would say of a service and its config as they are stored: fields that Envoy or gRPC
//! clients would ignore, rules that lead nowhere.

use mesh_api::violation::Warning;
use mesh_api::wire;

use crate::client::Client;
use crate::failure::Failure;

/// A section of its own, or nothing.
pub(super) async fn section(
    client: &mut Client,
    objects: &[&wire::Object],
) -> Result<String, Failure> {
    let request = wire::ApplyRequest {
        objects: objects.iter().map(|object| unversioned(object)).collect(),
        dry_run: true,
    };
    let warnings: Vec<String> = match client.apply(request).await {
        Ok(response) => {
            response.warnings.iter().map(|warning| Warning::from(warning).to_string()).collect()
        }
        // Stored by a control plane that did not know better.
        Err(Failure::Refused { said, .. }) => said,
        Err(failure) => return Err(failure),
    };
    if warnings.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("\nWarnings:\n  {}\n", warnings.join("\n  ")))
}

/// Whoever changes it meanwhile is not in the way.
fn unversioned(object: &wire::Object) -> wire::Object {
    let mut object = object.clone();
    if let Some(metadata) = &mut object.metadata {
        metadata.resource_version = 0;
    }
    object
}
