//! What Envoy says of itself: whether it is ready, and where it listens. `/listeners` would not do: it
//! names those as well that still wait for their routes, to which nobody can connect (seen with Envoy
//! 1.40). In `/config_dump`, one that takes connections has an `active_state`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use serde::Deserialize;

use super::admin::{AdminError, Line};
use crate::compile::Family;

const READY: &str = "/ready";
/// Names and versions: little to read.
const VERSIONS: &str =
    "/config_dump?resource=dynamic_listeners&mask=name,active_state.version_info";
/// Much to read where there are many.
const LISTENERS: &str = "/config_dump?resource=dynamic_listeners&mask=active_state.listener";

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It starts.
    Starting,
    /// It takes connections at these ports of the loopback addresses.
    Ready(Listeners),
    /// It ends, or somebody wants it to be taken for ill.
    Ending,
}

/// Where connections are taken.
type Listeners = Arc<BTreeSet<(Family, u16)>>;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The versions before the listeners were read, and what these were.
    seen: Option<(Bytes, Listeners)>,
}

impl Look {
    /// Looks once.
    pub(super) async fn look(&mut self, line: &mut Line) -> Result<Said, AdminError> {
        let (status, body) = line.get(READY).await?;
        let said = String::from_utf8_lossy(&body);
        let said = said.trim();
        if !status.is_success() {
            // While it starts, listeners are to be waited for; while it drains, they are not.
            return Ok(match said {
                "PRE_INITIALIZING" | "INITIALIZING" => Said::Starting,
                _ => Said::Ending,
            });
        }
        let versions = page(line, VERSIONS).await?;
        let known = self.seen.as_ref().filter(|(before, _)| *before == versions);
        let listeners = if let Some((_, listeners)) = known {
            Arc::clone(listeners)
        } else {
            let dump = page(line, LISTENERS).await?;
            let found = listeners(&dump).map_err(|error| AdminError::Answer(error.to_string()))?;
            let found = Arc::new(found);
            self.seen = Some((versions, Arc::clone(&found)));
            found
        };
        Ok(Said::Ready(listeners))
    }
}

async fn page(line: &mut Line, path: &str) -> Result<Bytes, AdminError> {
    let (status, body) = line.get(path).await?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(AdminError::Answer(format!("{status} to {path}")))
    }
}

#[derive(Deserialize)]
struct Dump {
    #[serde(default)]
    configs: Vec<Config>,
}

#[derive(Deserialize)]
struct Config {
    active_state: Option<Active>,
}

#[derive(Deserialize)]
struct Active {
    listener: Option<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    address: Option<Address>,
    #[serde(default)]
    additional_addresses: Vec<Additional>,
}

#[derive(Deserialize)]
struct Additional {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: String,
    port_value: Option<u16>,
}

/// Where connections to the loopback addresses are taken.
fn listeners(dump: &[u8]) -> Result<BTreeSet<(Family, u16)>, serde_json::Error> {
    let dump: Dump = serde_json::from_slice(dump)?;
    let mut found = BTreeSet::new();
    let active = dump.configs.into_iter().filter_map(|config| config.active_state?.listener);
    for Listener { address, additional_addresses } in active {
        let more = additional_addresses.into_iter().filter_map(|it| it.address);
        for address in address.into_iter().chain(more).filter_map(|it| it.socket_address) {
            let Ok(ip) = address.address.parse::<IpAddr>() else { continue };
            if let Some(port) = address.port_value
                && (ip.is_loopback() || ip.is_unspecified())
            {
                found.insert((Family::of(ip), port));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_connections_counts() {
        let listener = |address: &str, port: u16| {
            format!(
                r#"{{"address": {{"socket_address": {{"address": "{address}", "port_value": {port}}}}}}}"#
            )
        };
        let dump = format!(
            r#"{{"configs": [
                {{"name": "a", "active_state": {{"listener": {{
                    "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                    "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": 1}}}},
                    "additional_addresses": [{}]}}}},
                 "warming_state": {{"listener": {}}}}},
                {{"name": "b", "warming_state": {{"listener": {}}}}},
                {{"name": "c", "active_state": {{"listener": {}}}}},
                {{"name": "d", "active_state": {{"listener": {}}}}},
                {{"name": "e", "active_state": {{"listener": {{"address": {{"pipe": {{}}}}}}}}}},
                {{"name": "f", "error_state": {{"details": "no"}}}}
            ]}}"#,
            listener("::1", 2),
            listener("127.0.0.1", 3),
            listener("127.0.0.1", 4),
            listener("10.0.0.1", 5),
            listener("0.0.0.0", 6),
        );
        let found = listeners(dump.as_bytes()).unwrap();
        assert_eq!(found, [(Family::V4, 1), (Family::V4, 6), (Family::V6, 2)].into());
        assert_eq!(listeners(b"{}").unwrap(), [].into());
        listeners(b"nothing").unwrap_err();
    }
}
