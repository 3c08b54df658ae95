//! What this node knows of itself, as files for a bug report. Flags are listed by name, so that nothing
//! gets in by itself that may be a secret: neither the environment nor the command line as it was.

use std::fmt::{Display, Write as _};
use std::fs;
use std::path::PathBuf;

use mesh_api::bundle::in_parts;
use mesh_api::wire;
use tonic::Status;

use crate::commands::dump;
use crate::config::RunArgs;
use crate::http::{Context, Page};

/// Most bytes of a file.
const FILE: usize = 16 << 20;

/// What belongs to the report and does not change, and who knows the rest.
#[derive(Clone, Debug)]
pub struct Source {
    /// What the agent serves over HTTP.
    pub context: Context,
    /// The flags, a line each.
    pub flags: String,
}

impl Source {
    /// The files, in parts; log lines of the last `since_ms`.
    pub async fn parts(&self, since_ms: u64) -> Result<Vec<wire::Bundle>, Status> {
        let pin_path = self.context.pin_path.clone();
        let kernel = tokio::task::spawn_blocking(move || {
            let dump = dump(&pin_path);
            (machine(), dump.unwrap_or_else(|error| format!("{error:#}\n")))
        });
        let (machine, dump) = kernel.await.map_err(|error| Status::internal(error.to_string()))?;
        let mut files = vec![
            ("version.txt", concat!("mesh-agent ", env!("CARGO_PKG_VERSION"), "\n").to_owned()),
            ("flags.txt", self.flags.clone()),
            ("status.json", Page::Status.text(&self.context).await),
            ("ready.txt", Page::Ready.text(&self.context).await),
            ("metrics.txt", Page::Metrics.text(&self.context).await),
            ("machine.txt", machine),
            ("dump.txt", dump),
        ];
        if let Some(handles) = mesh_telemetry::installed() {
            files.extend(handles.files(since_ms));
        }
        for (_, content) in &mut files {
            content.truncate(content.floor_char_boundary(FILE));
        }
        Ok(in_parts(&files))
    }
}

/// What the agent was started with.
#[must_use]
pub fn flags(args: &RunArgs) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn Display| {
        // Writing to a string does not fail.
        writeln!(text, "--{name} {value}").unwrap_or_default();
    };
    let path = |path: &Option<PathBuf>| {
        path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    let switch = |it| if it == crate::config::Switch::On { "on" } else { "off" };
    line("control", &without_user(&args.control));
    line("node", &args.node.clone().unwrap_or_default());
    line("region", &args.region.as_ref().map(ToString::to_string).unwrap_or_default());
    line("zone", &args.zone.as_ref().map(ToString::to_string).unwrap_or_default());
    line("cgroup", &path(&args.cgroup));
    line("pin-path", &args.pin_path.display());
    line("state-dir", &args.state_dir.display());
    line("http", &args.http);
    line("bpf-object", &path(&args.bpf_object));
    line("max-services", &args.max_services);
    line("max-backends", &args.max_backends);
    line("max-slots", &args.max_slots);
    line("max-affinity", &args.max_affinity);
    line("max-cgroups", &args.enrol.max_cgroups);
    line("max-namespaces", &args.enrol.max_namespaces);
    line("enrolment", &format!("{:?}", args.enrol.rules()));
    line("envoy", &path(&args.proxy.envoy));
    line("envoy-admin", &args.proxy.envoy_admin.map(|it| it.to_string()).unwrap_or_default());
    line("envoy-concurrency", &args.proxy.envoy_concurrency);
    line("envoy-memory", &args.proxy.envoy_memory.map(|it| it.to_string()).unwrap_or_default());
    line("access-log", &args.access_log);
    line("edges", &switch(args.edges));
    line("max-sources", &args.max_sources);
    line("canary-interval", &args.canary_interval);
    line("acceleration", &switch(args.acceleration));
    line("acceleration-auto-interval", &format!("{:?}", args.acceleration_auto_interval));
    line("report-interval", &format!("{:?}", args.report_interval));
    line("log-format", &format!("{:?}", args.log_format));
    line("otlp-endpoint", &without_user(&args.trace.otlp_endpoint));
    line("trace-sample", &args.trace.trace_sample);
    line("trace-connections", &args.trace_connections);
    text
}

/// An address without who asks.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://[redacted]@{host}"),
        _ => url.to_owned(),
    }
}

/// What of the machine matters to the programs.
fn machine() -> String {
    let mut text = String::new();
    for path in [
        "/proc/version",
        "/proc/sys/kernel/bpf_stats_enabled",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
        "/proc/sys/net/core/bpf_jit_enable",
        "/proc/sys/net/ipv4/tcp_syn_retries",
        "/proc/sys/net/ipv4/ip_local_port_range",
        "/sys/devices/system/cpu/online",
        "/proc/loadavg",
        "/proc/self/cgroup",
        "/proc/self/limits",
    ] {
        let content = fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        write!(text, "== {path}\n{content}").unwrap_or_default();
    }
    let some = |path: &str, wanted: &dyn Fn(&str) -> bool| {
        let content = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = content.lines().filter(|line| wanted(line)).collect();
        format!("== {path}\n{}\n", lines.join("\n"))
    };
    let of_kind = |line: &str| {
        let kind = line.split(' ').nth(2).unwrap_or_default();
        matches!(kind, "cgroup" | "cgroup2" | "bpf")
    };
    text.push_str(&some("/proc/self/mounts", &of_kind));
    let of_memory = |line: &str| line.starts_with("Mem") || line.starts_with("Swap");
    text.push_str(&some("/proc/meminfo", &of_memory));
    let of_agent =
        |line: &str| ["Vm", "Threads", "Cap", "Seccomp"].iter().any(|name| line.starts_with(name));
    text.push_str(&some("/proc/self/status", &of_agent));
    let btf = fs::metadata("/sys/kernel/btf/vmlinux").map(|it| it.len());
    let btf = btf.map_or_else(|error| error.to_string(), |size| format!("{size} bytes"));
    writeln!(text, "== /sys/kernel/btf/vmlinux\n{btf}").unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::{Cli, Command};

    fn run(line: &[&str]) -> RunArgs {
        let cli = Cli::parse_from(["mesh-agent", "run"].iter().chain(line));
        let Command::Run(args) = cli.command else { panic!("another verb") };
        *args
    }

    #[test]
    fn every_flag_is_told_without_passwords() {
        let text = flags(&run(&["--control", "http://me:hunter2@host:1", "--node", "n1"]));
        assert!(text.contains("--control http://[redacted]@host:1\n--node n1\n"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let help = <Cli as clap::CommandFactory>::command();
        let run = help.find_subcommand("run").unwrap();
        for name in run.get_arguments().filter_map(clap::Arg::get_long) {
            // The globs of enrolment are one line.
            let is_glob = name.starts_with("include-") || name.starts_with("exclude-");
            let told = text.contains(&format!("--{name} "));
            assert!(told || is_glob || name == "help", "no --{name} in\n{text}");
        }
    }

    #[test]
    fn the_machine_is_described() {
        let text = machine();
        for part in ["Linux version", "cgroup", "Max open files", "MemTotal", "Threads"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
