//! Endpoint sets that are sent again because their clusters have changed.
//!
//! Envoy makes a changed cluster ready ("warm") before it uses it, from endpoints that come after the
//! cluster. It does not ask for them: it is subscribed to them already. Without them it goes on with
//! the old cluster, and does not acknowledge, until its `initial_fetch_timeout` (15 s) is over
//! (seen with 1.40; xDS protocol, "Resource warming").

use std::collections::BTreeSet;

/// Names of clusters that were sent and are not acknowledged, without those whose endpoints
/// have followed.
#[derive(Debug, Default)]
pub(super) struct Warming {
    names: BTreeSet<String>,
}

impl Warming {
    /// These clusters have been sent.
    pub(super) fn sent(&mut self, names: impl Iterator<Item: AsRef<str>>) {
        self.names.extend(names.map(|name| name.as_ref().to_owned()));
    }

    /// The client has answered for all clusters.
    pub(super) fn answered(&mut self) {
        self.names.clear();
    }

    /// Of which clusters the endpoints have to be sent now: those that the client is subscribed to.
    pub(super) fn due(&mut self, is_subscribed: impl Fn(&str) -> bool) -> Vec<String> {
        self.names.extract_if(.., |name| is_subscribed(name)).collect()
    }
}
