//! The verbs that are not `run`: each looks at the agent or at the pins, prints, and ends.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::app::{Checked, check};
use crate::bpf::uninstall::uninstall;
use crate::config::{DumpArgs, DumpOutput, Output, RunArgs, StatusArgs, UninstallArgs};
use crate::http::Status;
use crate::maps::MapStore as _;
use crate::maps::kernel::KernelMaps;

/// `mesh-agent check`.
pub fn run_check(args: &RunArgs) -> Result<()> {
    let Checked { cgroup, node, endpoint, object } = check(args)?;
    let mut out = io::stdout().lock();
    writeln!(out, "node:       {node}")?;
    writeln!(out, "control:    {}", endpoint.uri())?;
    writeln!(out, "cgroup:     {}", cgroup.display())?;
    writeln!(out, "pin path:   {}", args.pin_path.display())?;
    writeln!(out, "object:     {} bytes", object.len())?;
    writeln!(out, "this machine can run the agent")?;
    Ok(())
}

/// `mesh-agent dump`.
pub fn run_dump(args: &DumpArgs) -> Result<()> {
    let text = KernelMaps::open(&args.pin_path)?.read()?.to_string();
    let mut out = io::stdout().lock();
    match args.output {
        DumpOutput::Text => out.write_all(text.as_bytes())?,
        DumpOutput::Json => {
            let lines: Vec<&str> = text.lines().collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&lines)?)?;
        }
    }
    Ok(())
}

/// `mesh-agent uninstall`.
pub fn run_uninstall(args: &UninstallArgs) -> Result<()> {
    let removed = uninstall(&args.pin_path)?;
    let mut out = io::stdout().lock();
    if removed.is_empty() {
        writeln!(out, "nothing is installed below {}", args.pin_path.display())?;
    }
    for path in removed {
        writeln!(out, "removed {}", path.display())?;
    }
    Ok(())
}

/// `mesh-agent status`; fails where the agent is not ready.
pub fn run_status(args: &StatusArgs) -> Result<()> {
    let body = get(args.http, "/status")?;
    let status: Status =
        serde_json::from_str(&body).context("the answer is not a mesh-agent's status")?;
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?,
        Output::Table => out.write_all(table(&status).as_bytes())?,
    }
    if !status.ready {
        bail!("the agent is not ready");
    }
    Ok(())
}

fn table(status: &Status) -> String {
    let mut lines = vec![
        format!("NODE       {}", status.node),
        format!("VERSION    {}", status.version),
        format!("READY      {}", status.ready),
        format!("CONNECTED  {}", status.connected),
        format!("REVISION   {}", status.live_revision),
        format!("CGROUP     {}", status.cgroup.display()),
    ];
    if !status.error.is_empty() {
        lines.push(format!("ERROR      {}", status.error));
    }
    lines.push(String::new());
    lines.push(format!("{:<20} {:<9} {}", "PROGRAM", "ATTACHED", "ID"));
    for link in &status.links {
        lines.push(format!("{:<20} {:<9} {}", link.program, link.attached, link.program_id));
    }
    lines.push(String::new());
    lines.push(format!("{:<20} {:<9} {}", "MAP", "ENTRIES", "MAX"));
    for map in &status.maps {
        lines.push(format!("{:<20} {:<9} {}", map.map, map.entries, map.max_entries));
    }
    for rejection in &status.rejections {
        lines.push(format!("REJECTED   {rejection}"));
    }
    for warning in &status.warnings {
        lines.push(format!("WARNING    {warning}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// One HTTP/1.0 request to the agent: no client library for a line on loopback.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let timeout = Duration::from_secs(5);
    let unreachable =
        || format!("no agent answers at {address}: is it running? --http names another address");
    let mut stream = TcpStream::connect_timeout(&address, timeout).with_context(unreachable)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(unreachable)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("the agent answers {}: {}", head.lines().next().unwrap_or_default(), body.trim());
    }
    Ok(body.to_owned())
}
