//! The demo's acts, in order, told to a person as they happen.

use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::report::{Report, SIGMAS, Split, WITHOUT_AGENT};
use crate::backend::Backends;
use crate::load::{Mode, monotonic_ns};
use crate::nginx::{self, Nginx};
use crate::scratch::Scratch;
use crate::stats::{change_point, millis};
use crate::testbed::{PORT, Testbed, VIP, backend};
use crate::traffic::{Outcome, Plan, Traffic};
use crate::{bpftool, ui};

const MANIFESTS: [(&str, &str); 3] = [
    ("web.yaml", include_str!("../../../demo/web.yaml")),
    ("split-90-10.yaml", include_str!("../../../demo/split-90-10.yaml")),
    ("split-50-50.yaml", include_str!("../../../demo/split-50-50.yaml")),
];

/// Requests of the first act.
const REQUESTS: u64 = 5_000;
/// Connections to watch in each later act.
const WATCHED: u64 = 3_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Whatever serves; held until the end.
enum Servers {
    Nginx { _v1: Nginx, _v2: Nginx },
    BuiltIn { _both: Backends },
}

pub(super) fn tell() -> anyhow::Result<Report> {
    let start = Instant::now();
    let mut report = Report::default();
    let bed = Testbed::start_with("demo", &[])?;
    let (servers, service) = serve(&bed)?;
    report.service = service;
    let agent = format!("agent on cgroup {}", bed.node.cgroup().path().display());
    ui::say(format!(
        "1. Namespace {}, control plane, {agent}.\n   Two versions of a service: {}.",
        bed.netns.name(),
        report.service
    ));

    let manifests = Scratch::create("manifests")?;
    for (name, text) in MANIFESTS {
        manifests.write(name, text)?;
    }
    first_split(&bed, manifests.path(), &mut report)?;
    let bed = under_traffic(bed, manifests.path(), &mut report)?;
    show_kernel(&bed)?;

    let traces = traces(&bed);
    let uninstalled = bed.node.uninstall()?;
    if uninstalled.code != Some(0) {
        let reason = uninstalled.stderr.trim();
        report.leftovers.push(format!("uninstall failed: {reason}"));
    }
    drop((bed, servers, manifests));
    let left = traces.iter().filter(|path| path.exists());
    report.leftovers.extend(left.map(|path| path.display().to_string()));
    report.seconds = start.elapsed().as_secs_f64();
    ui::say(format!(
        "7. Uninstalled; {} things left behind. {} connections, {} failed, {:.1} s.",
        report.leftovers.len(),
        report.connections,
        report.failed,
        report.seconds
    ));
    Ok(report)
}

fn serve(bed: &Testbed) -> anyhow::Result<(Servers, String)> {
    let Some(program) = nginx::program() else {
        let both = bed.serve(Mode::Http, &["v1", "v2"])?;
        let name = "the built-in HTTP server (install nginx to see the real thing)";
        return Ok((Servers::BuiltIn { _both: both }, name.to_owned()));
    };
    let version = Command::new(&program).arg("-v").output()?;
    let version = String::from_utf8_lossy(&version.stderr);
    let name = version.trim().rsplit(' ').next().unwrap_or("nginx");
    let server = |name, n| {
        let address = SocketAddrV4::new(backend(n), PORT);
        Nginx::start(&program, &bed.netns, name, address)
    };
    let servers = Servers::Nginx { _v1: server("v1", 0)?, _v2: server("v2", 1)? };
    Ok((servers, name.to_owned()))
}

fn apply(bed: &Testbed, folder: &Path, names: &[&str]) -> anyhow::Result<Duration> {
    let mut args = vec!["apply".to_owned(), "--wait".to_owned()];
    for name in names {
        args.extend(["-f".to_owned(), folder.join(name).display().to_string()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(bed.meshctl.ok(&args)?.took)
}

fn first_split(bed: &Testbed, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let took = apply(bed, folder, &["web.yaml", "split-90-10.yaml"])?;
    ui::say(format!(
        "2. meshctl apply --wait -f demo/web.yaml -f demo/split-90-10.yaml: live in the kernel after {:.1} ms.",
        took.as_secs_f64() * 1e3
    ));
    let plan = Plan::to(VIP, Mode::Http);
    let sample = |report: &mut Report| -> anyhow::Result<()> {
        let outcome = Traffic::run(&bed.node.place(), plan, REQUESTS)?;
        report.connections += outcome.total();
        report.failed += outcome.failed();
        report.first = split(&outcome, 0.10);
        explain(&outcome);
        Ok(())
    };
    sample(report)?;
    if report.first.sigmas() > SIGMAS {
        sample(report)?;
    }
    ui::say(format!(
        "   {REQUESTS} HTTP requests to {VIP}: {} (asked for 90/10, {:.1} sigma), {} failed.",
        report.first.percent(),
        report.first.sigmas(),
        report.first.failed
    ));
    Ok(())
}

/// Acts 3 to 5: the same clients go on connecting through all of them.
fn under_traffic(mut bed: Testbed, folder: &Path, report: &mut Report) -> anyhow::Result<Testbed> {
    let plan = Plan {
        concurrency: NonZeroU32::new(2).context("two clients")?,
        ..Plan::to(VIP, Mode::Http)
    };
    let traffic = Traffic::start(&bed.node.place(), plan)?;
    traffic.wait_for(WATCHED, PATIENCE)?;

    let shift = monotonic_ns();
    let took = apply(&bed, folder, &["split-50-50.yaml"])?;
    report.apply_wait_ms = took.as_secs_f64() * 1e3;
    report.shifted = watch(&traffic, shift)?;
    report.shift_converged_ms = converged_ms(&traffic.peek(), shift, monotonic_ns());
    ui::say(format!(
        "3. Shifted to 50/50 under traffic: kernel serves it {:.1} ms after meshctl was started \
         (meshctl --wait came back after {:.1} ms).\n   {} connections since: {} ({:.1} sigma), {} failed.",
        report.shift_converged_ms,
        report.apply_wait_ms,
        report.shifted.total,
        report.shifted.percent(),
        report.shifted.sigmas(),
        report.shifted.failed
    ));

    bed.node.kill()?;
    let dead = monotonic_ns();
    report.agent_dead = watch(&traffic, dead)?;
    ui::say(format!(
        "4. Agent killed with SIGKILL: {} connections without it, {} ({:.1} sigma), {} failed.",
        report.agent_dead.total,
        report.agent_dead.percent(),
        report.agent_dead.sigmas(),
        report.agent_dead.failed
    ));

    let restart = monotonic_ns();
    bed.node.run()?;
    bed.node.wait_ready()?;
    report.restart_ready_ms = millis(monotonic_ns() - restart);
    report.restarted = watch(&traffic, restart)?;
    let all = traffic.stop()?;
    report.connections += all.total();
    report.failed += all.failed();
    explain(&all);
    ui::say(format!(
        "5. Agent restarted under traffic, ready after {:.0} ms: {} connections, {} ({:.1} sigma), {} failed.",
        report.restart_ready_ms,
        report.restarted.total,
        report.restarted.percent(),
        report.restarted.sigmas(),
        report.restarted.failed
    ));
    Ok(bed)
}

/// Watches the running traffic for the 50/50 split: a sample of the connections from now on
/// (once more, if a fair split missed by chance), and all failures `since` the act began.
fn watch(traffic: &Traffic, since: u64) -> anyhow::Result<Split> {
    let draw = || -> anyhow::Result<Split> {
        let from = monotonic_ns();
        traffic.wait_for(WATCHED.max(WITHOUT_AGENT), PATIENCE)?;
        let seen = traffic.peek();
        let failed = seen.between(since, u64::MAX).failed();
        let sample = split(&seen.between(from, u64::MAX), 0.50);
        Ok(Split { failed, ..sample })
    };
    let sample = draw()?;
    if sample.sigmas() > SIGMAS {
        return draw();
    }
    Ok(sample)
}

fn split(outcome: &Outcome, asked: f64) -> Split {
    let (v1, v2) = (outcome.answered_by("v1"), outcome.answered_by("v2"));
    Split { to_v2: v2, total: v1 + v2, failed: outcome.failed(), asked }
}

fn explain(outcome: &Outcome) {
    for (error, count) in outcome.failures() {
        ui::say(format!("   failed: {count} connections with error {error}"));
    }
}

/// When the kernel began to serve 50/50, seen from the connections alone: the most likely
/// moment at which v2's share rose from 10 % to 50 %, among those started since `shift`.
fn converged_ms(seen: &Outcome, shift: u64, until: u64) -> f64 {
    let mut records = seen.between(shift, until).records;
    records.sort_by_key(|record| record.start_ns);
    let to_v2: Vec<bool> =
        records.iter().map(|record| record.outcome.as_deref() == Ok("v2")).collect();
    let first = change_point(&to_v2, 0.10, 0.50);
    let at = records.get(first).map_or(until, |record| record.start_ns);
    millis(at.saturating_sub(shift))
}

fn show_kernel(bed: &Testbed) -> anyhow::Result<()> {
    let pin = bed.node.map("frontends");
    let dump = bpftool::call(&["map", "dump", "pinned", &pin.to_string_lossy()])?;
    ui::say("6. What the kernel holds (bpftool map dump pinned …/frontends):");
    for line in dump.lines().take(16) {
        ui::say(format!("   {line}"));
    }
    let status = bed.meshctl.ok(&["status"])?;
    ui::say("   meshctl status:");
    for line in status.stdout.lines() {
        ui::say(format!("   {line}"));
    }
    Ok(())
}

/// Paths that must be gone in the end.
fn traces(bed: &Testbed) -> Vec<PathBuf> {
    vec![
        bed.node.pins().to_path_buf(),
        bed.node.cgroup().path().to_path_buf(),
        Path::new("/run/netns").join(bed.netns.name()),
        bed.node.scratch().to_path_buf(),
        bed.meshctl.scratch().to_path_buf(),
        bed.control.scratch().to_path_buf(),
    ]
}
