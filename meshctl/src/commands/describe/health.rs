//! What is known of the health of a namespace's endpoints, and of the breakers and ejections of
//! all nodes.

use std::collections::BTreeMap;

use mesh_api::wire;

use crate::client::Client;
use crate::commands::health::{Endpoint, Guard};
use crate::failure::Failure;

/// Of one namespace.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Whether the control plane gathers it.
    pub(super) gathered: bool,
    endpoints: BTreeMap<String, Endpoint>,
    guards: Vec<Guard>,
}

impl Health {
    pub(super) async fn fetch(client: &mut Client, namespace: &str) -> Result<Self, Failure> {
        let request = wire::ListHealthRequest {
            namespace: namespace.to_owned(),
            ..wire::ListHealthRequest::default()
        };
        Ok(client.health(request).await?.map(|all| Self::new(namespace, all)).unwrap_or_default())
    }

    pub(super) fn new(namespace: &str, response: wire::ListHealthResponse) -> Self {
        let wire::ListHealthResponse { endpoints, guards } = response;
        let endpoints = endpoints.into_iter().map(Endpoint::from);
        let endpoints = endpoints.filter(|it| it.namespace == namespace);
        let mut guards: Vec<_> = guards.into_iter().flat_map(Guard::of_node).collect();
        guards.retain(|guard| guard.namespace == namespace);
        guards.sort_by_key(Guard::key);
        Self {
            gathered: true,
            endpoints: endpoints.map(|it| (it.name.clone(), it)).collect(),
            guards,
        }
    }

    /// `None` where it is not checked.
    pub(super) fn of(&self, endpoint: &str) -> Option<&Endpoint> {
        self.endpoints.get(endpoint)
    }

    /// All that keep connections of a service away.
    pub(super) fn guards_of(&self, service: &str) -> impl Iterator<Item = &Guard> {
        self.guards.iter().filter(move |guard| guard.service == service)
    }
}
