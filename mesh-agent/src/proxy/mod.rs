//! The node's Envoy, which does for services with rules for requests what the kernel cannot.
//!
//! `bootstrap` is what it starts with. `own` runs it, where the agent is to; `admin` and `look` hear
//! from it whether it is ready and where it listens, and `follow` does that again and again. `course`
//! decides whether connections go there (pure); `compile::proxy` says what that is in the maps.

pub mod admin;
pub mod bootstrap;
pub mod course;
pub mod follow;
mod look;
pub mod metrics;
pub mod open;
pub mod own;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::compile::Family;

/// What is known of the node's Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyState {
    /// There is none, or it does not answer, or it is not ready.
    #[default]
    Absent,
    /// It is ready, and listens there.
    Ready(Listeners),
}

/// Where connections of a family are taken on a port: an address of this node that all of its network
/// namespaces can reach, where there is one, else the loopback address.
pub type Listeners = Arc<BTreeMap<(Family, u16), IpAddr>>;

impl ProxyState {
    /// Where it listens on a port.
    #[must_use]
    pub fn listens(&self, family: Family, port: u16) -> Option<SocketAddr> {
        match self {
            Self::Absent => None,
            Self::Ready(listeners) => {
                listeners.get(&(family, port)).map(|ip| SocketAddr::new(*ip, port))
            }
        }
    }
}
