//! Lists the network namespaces of this machine for enrolment.

use super::agent::ListNamespaces;
use super::verdicts::Namespace;
use crate::netns::Namespaces;

/// Where `ip netns` gives them names.
pub const NAMES: &str = "/run/netns";

/// The lister.
#[derive(Debug, Default)]
pub struct Lister {
    namespaces: Namespaces,
    /// What was complained about last, so that it is said once.
    complaint: String,
}

impl ListNamespaces for Lister {
    fn list(&mut self) -> Result<Vec<Namespace>, String> {
        let listing = self.namespaces.scan().map_err(|error| error.to_string())?;
        let mut complaint = listing.failed.first().map(ToString::to_string).unwrap_or_default();
        if complaint.is_empty() && listing.hidden > 0 {
            complaint = format!("the namespaces of {} processes are hidden", listing.hidden);
        }
        if !complaint.is_empty() && complaint != self.complaint {
            tracing::warn!("{complaint}; what is not known has the default verdict");
        }
        self.complaint = complaint;
        let known = listing.namespaces.iter();
        Ok(known.map(|it| Namespace { cookie: it.cookie, names: it.names() }).collect())
    }
}
