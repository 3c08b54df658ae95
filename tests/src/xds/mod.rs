//! The real clients of xDS: Envoy and gRPC, from the packages that `cargo xtask setup` installs, and
//! gRPC servers for them to talk to.

mod envoy;
mod grpc;

use std::env;
use std::path::PathBuf;

use anyhow::bail;

use crate::bins;

pub use self::envoy::{ADMIN, Envoy, program as envoy};
pub use self::grpc::{Answers, Calls, Client, Server};

/// The folder that setup made.
fn folder() -> anyhow::Result<PathBuf> {
    let beside = bins::own_dir()?.parent().map(|target| target.join("python"));
    let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python"));
    let given = env::var_os("MESH_PYTHON_DIR").map(PathBuf::from);
    let places = [given, beside, Some(source)];
    match places.into_iter().flatten().find(|folder| folder.join("installed.txt").is_file()) {
        Some(folder) => Ok(folder),
        None => bail!("Envoy and gRPC are missing: `cargo xtask setup` installs them"),
    }
}

/// The interpreter with the packages.
fn python() -> anyhow::Result<PathBuf> {
    Ok(folder()?.join("bin/python"))
}
