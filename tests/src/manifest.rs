//! Manifests as a person would write them, made from a few arguments.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Documents of one YAML file.
#[derive(Clone, Debug, Default)]
pub struct Manifest(String);

impl Manifest {
    /// No documents yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As written.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn document(mut self, kind: &str, name: &str, spec: &str) -> Self {
        // Writing to a string cannot fail.
        write!(
            self.0,
            "---\napiVersion: mesh.dev/v1alpha1\nkind: {kind}\nmetadata:\n  namespace: default\n  name: {name}\nspec:\n{spec}"
        ).ok();
        self
    }

    /// A Service with one VIP and one TCP port that targets `target_port`.
    #[must_use]
    pub fn service(self, name: &str, vip: SocketAddrV4, target_port: u16) -> Self {
        self.service_with(name, vip, target_port, "")
    }

    /// The same, with further lines for its spec (indented by two).
    #[must_use]
    pub fn service_with(self, name: &str, vip: SocketAddrV4, target_port: u16, more: &str) -> Self {
        let spec = format!(
            "  vips: [{}]\n  ports:\n  - {{name: main, port: {}, targetPort: {target_port}, protocol: TCP}}\n{more}",
            vip.ip(),
            vip.port()
        );
        self.document("Service", name, &spec)
    }

    /// An Endpoint of `service`.
    #[must_use]
    pub fn endpoint(self, service: &str, name: &str, version: &str, address: Ipv4Addr) -> Self {
        let spec = format!("  service: {service}\n  version: {version}\n  address: {address}\n");
        self.document("Endpoint", name, &spec)
    }

    /// A `ServiceConfig` that splits by version.
    #[must_use]
    pub fn split(self, service: &str, weights: &[(&str, u32)]) -> Self {
        let mut spec = String::from("  trafficRules:\n");
        for (version, weight) in weights {
            writeln!(spec, "  - {{destination: {{version: {version}}}, weight: {weight}}}").ok();
        }
        self.document("ServiceConfig", service, &spec)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
