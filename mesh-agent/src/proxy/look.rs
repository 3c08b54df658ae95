//! What Envoy says of itself: whether it is ready, and where it listens. `/listeners` would not do: it
//! names those as well that still wait for their routes, to which nobody can connect (seen with Envoy
//! 1.40). In `/config_dump`, one that takes connections has an `active_state`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Bytes;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use serde::Deserialize;

use super::Listeners;
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
    /// It takes connections.
    Ready(Listeners),
    /// It ends, or somebody wants it to be taken for ill.
    Ending,
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The versions before the listeners were read, and where these are.
    seen: Option<(Bytes, BTreeSet<SocketAddr>)>,
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
        let known = self.seen.take().filter(|(before, _)| *before == versions);
        let found = if let Some((_, found)) = known {
            found
        } else {
            let dump = page(line, LISTENERS).await?;
            listeners(&dump).map_err(|error| AdminError::Answer(error.to_string()))?
        };
        let reachable = choose(&found, &own_addresses());
        self.seen = Some((versions, found));
        Ok(Said::Ready(Arc::new(reachable)))
    }
}

/// The addresses of this network namespace's interfaces. Envoy may listen at one that is not there.
fn own_addresses() -> BTreeSet<IpAddr> {
    let found = getifaddrs().inspect_err(|error| {
        tracing::warn!(%error, "cannot read the addresses of this node: Envoy is reached on loopback only");
    });
    let ip = |at: InterfaceAddress| {
        let address = at.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    };
    found.into_iter().flatten().filter_map(ip).collect()
}

/// Of all listeners, the one for each family and port that most can reach.
fn choose(all: &BTreeSet<SocketAddr>, own: &BTreeSet<IpAddr>) -> BTreeMap<(Family, u16), IpAddr> {
    let mut found = BTreeMap::new();
    for at in all {
        let (family, ip) = (Family::of(at.ip()), at.ip());
        if ip.is_loopback() || ip.is_unspecified() {
            found.entry((family, at.port())).or_insert(family.loopback());
        } else if own.contains(&ip) {
            found.insert((family, at.port()), ip);
        }
    }
    found
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

/// Where connections are taken.
fn listeners(dump: &[u8]) -> Result<BTreeSet<SocketAddr>, serde_json::Error> {
    let dump: Dump = serde_json::from_slice(dump)?;
    let mut found = BTreeSet::new();
    let active = dump.configs.into_iter().filter_map(|config| config.active_state?.listener);
    for Listener { address, additional_addresses } in active {
        let more = additional_addresses.into_iter().filter_map(|it| it.address);
        for address in address.into_iter().chain(more).filter_map(|it| it.socket_address) {
            let Ok(ip) = address.address.parse::<IpAddr>() else { continue };
            found.extend(address.port_value.map(|port| SocketAddr::new(ip, port)));
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
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let all = ["127.0.0.1:1", "[::1]:2", "10.0.0.1:5", "0.0.0.0:6"].map(at);
        assert_eq!(found, all.into());
        let (v4, v6) = (Family::V4.loopback(), Family::V6.loopback());
        let local = [((Family::V4, 1), v4), ((Family::V4, 6), v4), ((Family::V6, 2), v6)];
        assert_eq!(choose(&found, &BTreeSet::new()), local.into(), "it is not here");
        assert_eq!(listeners(b"{}").unwrap(), [].into());
        listeners(b"nothing").unwrap_err();
    }

    #[test]
    fn an_address_that_all_namespaces_reach_goes_first() {
        let node: IpAddr = "169.254.77.1".parse().unwrap();
        let all = ["127.0.0.1:1", "169.254.77.1:1", "[::1]:1"].map(|it| it.parse().unwrap());
        let found = choose(&all.into(), &[node].into());
        let v6 = Family::V6.loopback();
        assert_eq!(found, [((Family::V4, 1), node), ((Family::V6, 1), v6)].into());
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        assert!(own_addresses().contains(&Family::V4.loopback()));
    }
}
