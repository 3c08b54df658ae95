//! `version`: the version of this program; that of the control plane is in `status`.

use mesh_api::manifest::API_VERSION;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::emit_value;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    api_version: &'static str,
}

pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let version = Version { version: env!("CARGO_PKG_VERSION"), api_version: API_VERSION };
    let name = || vec![format!("meshctl/{}", version.version)];
    emit_value(context, &version, name, |_| {
        format!("meshctl {} ({})\n", version.version, version.api_version)
    })
}
