//! The verbs that are not `run`: each looks at the agent or at the pins, prints, and ends.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use mesh_api::convert::milliseconds;

use crate::accel::{self, case::Verdict};
use crate::app::{Checked, check};
use crate::bpf::auto::AutoClients;
use crate::bpf::uninstall::uninstall;
use crate::canary::verdict::Fires;
use crate::canary::{self, Family};
use crate::config::{
    BootstrapArgs, CanaryArgs, DumpArgs, DumpOutput, OrphanArgs, Output, RunArgs, StatusArgs,
    Switch, UninstallArgs,
};
use crate::guard::dump as guards;
use crate::http::{Accelerated, ProgramStatus, Status};
use crate::maps::MapStore as _;
use crate::maps::kernel::KernelMaps;
use crate::maps::kernel::affinity::monotonic;
use crate::maps::kernel::words::KernelGuards;
use crate::proxy::open::bootstrap;
use crate::proxy::own;
use crate::start::node_name;
use crate::{edges, inbound};

/// `mesh-agent check`.
pub fn run_check(args: &RunArgs) -> Result<()> {
    let Checked { cgroup, node, endpoint, object } = check(args)?;
    let mut out = io::stdout().lock();
    writeln!(out, "node:       {node}")?;
    writeln!(out, "control:    {}", endpoint.uri())?;
    writeln!(out, "cgroup:     {}", cgroup.display())?;
    writeln!(out, "pin path:   {}", args.pin_path.display())?;
    writeln!(out, "object:     {} bytes", object.len())?;
    let accel = accel::prepare(&object, args.acceleration == Switch::On);
    writeln!(out, "acceleration: {}", accel.judgement)?;
    for Verdict { case, outcome } in &accel.verdicts {
        writeln!(out, "  {case:<33} {outcome}")?;
    }
    writeln!(out, "this machine can run the agent")?;
    Ok(())
}

/// `mesh-agent canary`, for the agent itself.
pub fn run_canary(args: &CanaryArgs) -> Result<()> {
    let families = [(Family::V4, args.v4), (Family::V6, args.v6)];
    let families: Vec<Family> =
        families.into_iter().filter_map(|(family, wanted)| wanted.then_some(family)).collect();
    let findings = canary::child::run(&args.cgroup, &args.token, &families)?;
    canary::child::print(&findings)?;
    Ok(())
}

/// What the world put into the maps, a line per entry.
pub(crate) fn dump(pin_path: &Path) -> Result<String> {
    let mut maps = KernelMaps::open(pin_path)?;
    let mut image = maps.read()?;
    canary::strip(&mut image);
    let mut text = image.to_string();
    let now_ms = milliseconds(monotonic()?);
    text.push_str(&AutoClients::open(pin_path)?.dump()?);
    text.push_str(&guards::lines(&image, &KernelGuards::open(pin_path)?, now_ms));
    text.push_str(&edges::dump::lines(&image, maps.edges()?));
    text.push_str(&edges::refusals::lines(&image, maps.refusals()?));
    if let Some(maps) = maps.inbound() {
        text.push_str(&inbound::dump::lines(&maps.locals()?, maps.entries()?));
    }
    Ok(text)
}

/// `mesh-agent dump`.
pub fn run_dump(args: &DumpArgs) -> Result<()> {
    let text = dump(&args.pin_path)?;
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

/// `mesh-agent envoy-bootstrap`.
pub fn run_envoy_bootstrap(args: &BootstrapArgs) -> Result<()> {
    let node = node_name(args.node.clone())?;
    io::stdout().lock().write_all(bootstrap(args, &node)?.text().as_bytes())?;
    Ok(())
}

/// `mesh-agent orphan`, for the agent itself.
pub fn run_orphan(args: &OrphanArgs) -> Result<()> {
    let process = own::orphan::run(&args.cgroup, args.after, &args.command)?;
    writeln!(io::stdout(), "{process}")?;
    Ok(())
}

/// `mesh-agent uninstall`. Envoy ends last: until then, connections are sent there.
pub fn run_uninstall(args: &UninstallArgs) -> Result<()> {
    let mut removed = uninstall(&args.pin_path)?;
    removed.extend(own::end(&args.state_dir)?);
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
        acceleration(&status.acceleration),
    ];
    if !status.envoy.is_empty() {
        lines.push(format!("ENVOY      {}", status.envoy));
    }
    if !status.reason.is_empty() {
        lines.push(format!("REASON     {}", status.reason));
    }
    if !status.error.is_empty() {
        lines.push(format!("ERROR      {}", status.error));
    }
    lines.push(String::new());
    lines.push(columns("PROGRAM", "ATTACHED", "EFFECTIVE", "FIRES", "RUNS", "ID"));
    lines.extend(status.programs.iter().map(program));
    for foreign in &status.foreign {
        lines.push(format!(
            "FOREIGN    {} {} (id {}) runs {:?} ours in {}",
            foreign.hook,
            foreign.name,
            foreign.id,
            foreign.position,
            foreign.cgroup.display()
        ));
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

fn acceleration(it: &Accelerated) -> String {
    let now = match (it.state.as_str(), it.active) {
        ("usable", false) => "; no service asks for it",
        (_, true) => "; on",
        _ => "",
    };
    let open = match it.connections {
        0 => String::new(),
        connections => format!("; {connections} connections"),
    };
    format!("SAMENODE   {}{now}{open}", it.verdict)
}

fn program(program: &ProgramStatus) -> String {
    let ProgramStatus { hook, fires } = program;
    let fires = match fires {
        Fires::Unknown => "unknown",
        Fires::Yes => "yes",
        Fires::No(_) => "no",
        Fires::Unavailable(_) => "unavailable",
    };
    let yes = |is| if is { "yes" } else { "no" };
    // The kernel counts runs only while kernel.bpf_stats_enabled is 1.
    let runs = if hook.runs == 0 { "-".to_owned() } else { hook.runs.to_string() };
    let id = hook.link.program_id.to_string();
    columns(&hook.link.program, yes(hook.link.attached), yes(hook.effective), fires, &runs, &id)
}

fn columns(
    program: &str,
    attached: &str,
    effective: &str,
    fires: &str,
    runs: &str,
    id: &str,
) -> String {
    format!("{program:<20} {attached:<9} {effective:<10} {fires:<12} {runs:<10} {id}")
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
