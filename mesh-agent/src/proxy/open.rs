//! From flags to what runs: whether there is an Envoy, whose, and where its cgroup is.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use axum::http::Uri;

use super::bootstrap::{Bootstrap, host_and_port};
use super::follow::Follower;
use super::own::{NAME, Own, OwnError, Settings};
use crate::config::{BootstrapArgs, ProxyArgs, RunArgs};

/// Where Envoy answers the agent, if nothing else is said.
pub const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15_000));

/// What of the flags cannot be.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The control plane's address has no host.
    #[error("{0:?} is not the address of a control plane: write it as http://HOST:PORT")]
    Control(String),
    /// There is no such program.
    #[error("--envoy {}: {source}", .path.display())]
    Program {
        /// What was said.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The agent's own cgroup is not known.
    #[error("cannot find the agent's cgroup v2 in /proc/self/cgroup: {0}; --envoy needs it")]
    Cgroup(String),
    /// Its files or its process.
    #[error(transparent)]
    Own(#[from] OwnError),
}

/// Where it answers; `None` where there is to be none.
#[must_use]
pub fn admin(args: &ProxyArgs) -> Option<SocketAddr> {
    args.envoy_admin.or_else(|| args.envoy.as_ref().map(|_| ADMIN))
}

/// The file that it starts with.
pub fn bootstrap(args: &BootstrapArgs, node: &str) -> Result<Bootstrap, OpenError> {
    let said = || OpenError::Control(args.control.clone());
    let control: Uri = args.control.parse().map_err(|_invalid| said())?;
    Ok(Bootstrap {
        node: node.to_owned(),
        region: args.region.as_ref().map(ToString::to_string).unwrap_or_default(),
        zone: args.zone.as_ref().map(ToString::to_string).unwrap_or_default(),
        control: host_and_port(&control).ok_or_else(said)?,
        admin: args.envoy_admin,
        memory: args.envoy_memory,
    })
}

/// The cgroup of the agent's own Envoy, from where cgroup v2 is mounted; `None` where it runs none.
pub fn cgroup(args: &ProxyArgs) -> Result<Option<String>, OpenError> {
    if args.envoy.is_none() {
        return Ok(None);
    }
    let text = fs::read_to_string("/proc/self/cgroup");
    let text = text.map_err(|error| OpenError::Cgroup(error.to_string()))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or_else(|| OpenError::Cgroup("it is in none".to_owned()))?;
    Ok(Some(format!("{}/{NAME}", path.trim_end_matches('/'))))
}

/// Begins to follow the node's Envoy, and starts it where the agent is to; `None` where there is to be
/// none.
pub fn open(args: &RunArgs, node: &str, mount: &Path) -> Result<Option<Follower>, OpenError> {
    let Some(admin) = admin(&args.proxy) else { return Ok(None) };
    let Some((program, cgroup)) = args.proxy.envoy.clone().zip(cgroup(&args.proxy)?) else {
        return Ok(Some(Follower::new(None, admin)));
    };
    let program = program
        .canonicalize()
        .map_err(|source| OpenError::Program { path: program.clone(), source })?;
    let file = BootstrapArgs {
        control: args.control.clone(),
        node: None,
        region: args.region.clone(),
        zone: args.zone.clone(),
        envoy_admin: admin,
        envoy_memory: args.proxy.envoy_memory,
    };
    let own = Own::begin(Settings {
        program,
        state_dir: args.state_dir.clone(),
        cgroup: mount.join(cgroup.trim_start_matches('/')),
        concurrency: args.proxy.envoy_concurrency,
        bootstrap: bootstrap(&file, node)?.text(),
        admin,
    })?;
    Ok(Some(Follower::new(Some(own), admin)))
}
