//! What the control plane says of the health of endpoints: pure. It comes on its own, belongs to
//! no revision, and is applied at once, also while a push of the configuration is being collected.

use mesh_api::model::{Health, ObjectName};
use mesh_api::resource::{HEALTH, encode};
use mesh_api::wire::{EndpointHealth, HealthStatus};
use mesh_xds::ads::DeltaDiscoveryRequest;
use mesh_xds::client::{DeltaClient, Push, Received};
use prost::Message as _;

use crate::world::Change;

/// What one response comes to.
#[derive(Debug)]
pub struct Pushed {
    /// For the world.
    pub changes: Vec<Change>,
    /// What is not valid, with the reason.
    rejected: Vec<(String, String)>,
    push: Push,
}

/// What to send, and what to remember.
#[derive(Debug)]
pub struct Answer {
    /// The ACK or NACK.
    pub request: DeltaDiscoveryRequest,
    /// Accepted resources: type, and what was received.
    pub accepted: Vec<(String, Received)>,
    /// Removed resources: type and name.
    pub removed: Vec<(String, String)>,
}

/// Why a resource is not valid.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Its name.
    #[error("{0:?} is no name of an endpoint")]
    Name(String),
    /// Its body.
    #[error("cannot be decoded: {0}")]
    Body(#[source] prost::DecodeError),
}

/// One resource.
pub fn decode(name: &str, body: &[u8]) -> Result<Change, HealthError> {
    let parsed = name.parse::<ObjectName>();
    let parsed = parsed.map_err(|_invalid| HealthError::Name(name.to_owned()))?;
    let status = EndpointHealth::decode(body).map_err(HealthError::Body)?.status();
    let health = match status {
        HealthStatus::Healthy => Some(Health::Healthy),
        HealthStatus::Unhealthy => Some(Health::Unhealthy),
        HealthStatus::Unspecified => None,
    };
    Ok(Change::Health(parsed, health))
}

/// Everything that the control plane has said and not taken back: what the next stream claims.
/// While it was away, the node may have gone by its own checks.
#[must_use]
pub fn said(client: &DeltaClient) -> Vec<Change> {
    let versions = [Health::Healthy, Health::Unhealthy].map(|health| {
        let status = match health {
            Health::Healthy => HealthStatus::Healthy,
            Health::Unhealthy => HealthStatus::Unhealthy,
        };
        (encode(&EndpointHealth { status: status.into() }).1, health)
    });
    let known = client.known().filter(|(type_url, ..)| *type_url == HEALTH);
    let said = known.filter_map(|(_, name, version)| {
        let (_, health) = versions.iter().find(|(of, _)| of == version)?;
        Some(Change::Health(name.parse().ok()?, Some(*health)))
    });
    said.collect()
}

/// Reads a response.
#[must_use]
pub fn read(push: Push) -> Pushed {
    let mut changes = Vec::with_capacity(push.added.len() + push.removed.len());
    let mut rejected = Vec::new();
    for received in &push.added {
        match decode(&received.name, &received.body) {
            Ok(change) => changes.push(change),
            Err(error) => rejected.push((received.name.clone(), error.to_string())),
        }
    }
    // A name that cannot be parsed was never accepted.
    let removed = push.removed.iter().filter_map(|name| name.parse().ok());
    changes.extend(removed.map(|name| Change::Health(name, None)));
    Pushed { changes, rejected, push }
}

impl Pushed {
    /// Answers it, once the world has it.
    #[must_use]
    pub fn answer(self, client: &mut DeltaClient) -> Answer {
        let Self { push, rejected, changes: _ } = self;
        let request =
            if rejected.is_empty() { client.ack(&push) } else { client.nack(&push, &rejected) };
        let Push { type_url, added, removed, .. } = push;
        let good = |it: &Received| !rejected.iter().any(|(name, _)| *name == it.name);
        let accepted = added.into_iter().filter(good);
        Answer {
            request,
            accepted: accepted.map(|received| (type_url.clone(), received)).collect(),
            removed: removed.into_iter().map(|name| (type_url.clone(), name)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::resource::version_of;
    use mesh_xds::ads::{Any, DeltaDiscoveryResponse, Resource};

    use super::*;
    use crate::xds::client::machine;

    fn response(resources: &[(&str, Vec<u8>)], removed: &[&str]) -> DeltaDiscoveryResponse {
        let resource = |(name, body): &(&str, Vec<u8>)| Resource {
            name: (*name).to_owned(),
            version: version_of(body),
            resource: Some(Any { type_url: HEALTH.to_owned(), value: body.clone() }),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            system_version_info: "3".to_owned(),
            type_url: HEALTH.to_owned(),
            nonce: "1".to_owned(),
            resources: resources.iter().map(resource).collect(),
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    fn body(status: HealthStatus) -> Vec<u8> {
        EndpointHealth { status: status.into() }.encode_to_vec()
    }

    #[test]
    fn what_is_valid_is_applied_known_and_remembered() {
        let mut client = machine("n1");
        client.connect();
        let up = ("shop/up", body(HealthStatus::Healthy));
        let down = ("shop/down", body(HealthStatus::Unhealthy));
        let bad = ("shop/bad", b"\xff\xff".to_vec());
        let nameless = ("No Name", body(HealthStatus::Healthy));
        let push =
            client.on_response(response(&[up, down, bad, nameless], &["shop/gone"])).unwrap();
        let mut pushed = read(push);
        let name = |text: &str| text.parse().unwrap();
        let expected = [
            Change::Health(name("shop/up"), Some(Health::Healthy)),
            Change::Health(name("shop/down"), Some(Health::Unhealthy)),
            Change::Health(name("shop/gone"), None),
        ];
        assert_eq!(std::mem::take(&mut pushed.changes), expected);
        let answer = pushed.answer(&mut client);
        let error = answer.request.error_detail.unwrap().message;
        assert!(error.contains("shop/bad") && error.contains("No Name"), "{error}");
        let accepted: Vec<&str> = answer.accepted.iter().map(|(_, it)| it.name.as_str()).collect();
        assert_eq!(accepted, ["shop/up", "shop/down"]);
        assert_eq!(answer.removed, [(HEALTH.to_owned(), "shop/gone".to_owned())]);
        // The next stream claims it, so that only what has changed is sent again.
        let again = client.connect().into_iter().find(|it| it.type_url == HEALTH).unwrap();
        let mut claimed: Vec<String> = again.initial_resource_versions.into_keys().collect();
        claimed.sort();
        assert_eq!(claimed, ["shop/down", "shop/up"]);
        let said = [
            Change::Health(name("shop/down"), Some(Health::Unhealthy)),
            Change::Health(name("shop/up"), Some(Health::Healthy)),
        ];
        assert_eq!(super::said(&client), said);
    }
}
