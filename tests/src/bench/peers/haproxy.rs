//! `HAProxy` as a proxy of TCP connections, one thread.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::super::lan::Lan;
use super::{Peer, Served, proxy, served};
use crate::bins;
use crate::scratch::Scratch;

pub(super) fn program() -> anyhow::Result<PathBuf> {
    bins::in_path("haproxy").context("apt-get install haproxy")
}

pub(super) fn start(program: &Path, lan: &mut Lan) -> anyhow::Result<Peer> {
    let scratch = Scratch::create("haproxy")?;
    let config = scratch.write("haproxy.cfg", &config())?;
    proxy("HAProxy", lan, scratch, |_| {
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(config);
        command
    })
}

fn config() -> String {
    let mut text = String::from(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode tcp\n  balance random\n\
         \x20 timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n",
    );
    for (n, Served { vip, backends }) in served().iter().enumerate() {
        // Writing to a string cannot fail.
        writeln!(text, "listen service{n}\n  bind {vip} backlog 4096").ok();
        for (at, backend) in backends.iter().enumerate() {
            writeln!(text, "  server backend{at} {backend}").ok();
        }
    }
    text
}
