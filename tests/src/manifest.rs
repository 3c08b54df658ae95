//! Manifests as a person would write them, made from a few arguments.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

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
    pub fn service(self, name: &str, vip: impl Into<SocketAddr>, target_port: u16) -> Self {
        self.service_with(name, vip, target_port, "")
    }

    /// The same, with further lines for its spec (indented by two).
    #[must_use]
    pub fn service_with(
        self,
        name: &str,
        vip: impl Into<SocketAddr>,
        target_port: u16,
        more: &str,
    ) -> Self {
        let vip = vip.into();
        let ports = [("main", vip.port(), target_port, "TCP")];
        self.service_at(name, &[vip.ip()], &ports, more)
    }

    /// A Service with these VIPs and these ports (name, port, target port, protocol), and
    /// further lines for its spec (indented by two).
    #[must_use]
    pub fn service_at(
        self,
        name: &str,
        vips: &[IpAddr],
        ports: &[(&str, u16, u16, &str)],
        more: &str,
    ) -> Self {
        let vips: Vec<String> = vips.iter().map(|vip| format!("\"{vip}\"")).collect();
        let mut spec = format!("  vips: [{}]\n  ports:\n", vips.join(", "));
        for (name, port, target, protocol) in ports {
            writeln!(
                spec,
                "  - {{name: {name}, port: {port}, targetPort: {target}, protocol: {protocol}}}"
            )
            .ok();
        }
        spec.push_str(more);
        self.document("Service", name, &spec)
    }

    /// An Endpoint of `service`.
    #[must_use]
    pub fn endpoint(
        self,
        service: &str,
        name: &str,
        version: &str,
        address: impl Into<IpAddr>,
    ) -> Self {
        self.endpoint_with(service, name, version, address, "")
    }

    /// The same, with further lines for its spec (indented by two).
    #[must_use]
    pub fn endpoint_with(
        self,
        service: &str,
        name: &str,
        version: &str,
        address: impl Into<IpAddr>,
        more: &str,
    ) -> Self {
        let address: IpAddr = address.into();
        let spec =
            format!("  service: {service}\n  version: {version}\n  address: \"{address}\"\n{more}");
        self.document("Endpoint", name, &spec)
    }

    /// A `ServiceConfig` with this spec (lines indented by two).
    #[must_use]
    pub fn config(self, service: &str, spec: &str) -> Self {
        self.document("ServiceConfig", service, spec)
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
