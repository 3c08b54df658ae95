//! Debian packages: the list, which of them are missing, and their installation in one call.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::quiet::Quiet;
use super::{Found, say, servers};
use crate::toolchain::Compiler;
use crate::{machine, process};

/// One package and why it is wanted.
#[derive(Debug)]
pub(super) struct Package {
    name: &'static str,
    reason: &'static str,
    need: Need,
}

/// When a package is needed.
#[derive(Debug)]
enum Need {
    /// No BPF compiler was found.
    Compiler,
    /// bpf-linker is not there and Debian's LLVM is to be linked.
    Linker,
    /// Only for `ci`, when Debian's compiler has no clippy.
    Clippy,
    /// A program that tests and demo start.
    Program(&'static str),
    /// A module for nginx: a file in one of its folders.
    NginxModule(&'static str),
    /// Python cannot make a folder of packages.
    Venv,
    /// The database, whose programs are not on the PATH.
    Postgres,
}

/// Everything this repository may install. Nothing that is there already is touched.
const PACKAGES: [Package; 23] = [
    Package {
        name: "rustc-web",
        reason: "a compiler with the BPF target (1.96)",
        need: Need::Compiler,
    },
    Package {
        name: "rust-web-src",
        reason: "the source of `core` for that compiler",
        need: Need::Compiler,
    },
    Package {
        name: "llvm-22-dev",
        reason: "the LLVM that bpf-linker is built with, as old as the compiler's",
        need: Need::Linker,
    },
    Package { name: "rust-web-clippy", reason: "clippy for the eBPF crate", need: Need::Clippy },
    Package {
        name: "bpftool",
        reason: "shows pinned maps; a test asserts that fields have names",
        need: Need::Program("bpftool"),
    },
    Package {
        name: "iproute2",
        reason: "network namespaces of demo and tests",
        need: Need::Program("ip"),
    },
    Package {
        name: "nginx-light",
        reason: "an unmodified server behind the mesh, in demo and benchmarks",
        need: Need::Program("nginx"),
    },
    Package {
        name: "libnginx-mod-stream",
        reason: "nginx as a client of UDP services, in tests",
        need: Need::NginxModule("ngx_stream_module.so"),
    },
    Package {
        name: "curl",
        reason: "a client of the tests: TCP in every address family",
        need: Need::Program("curl"),
    },
    Package {
        name: "python3",
        reason: "a client of the tests: asyncio, TCP and UDP",
        need: Need::Program("python3"),
    },
    Package {
        name: "dnsmasq-base",
        reason: "servers of the tests, and a client with unconnected UDP sockets",
        need: Need::Program("dnsmasq"),
    },
    Package {
        name: "bind9-dnsutils",
        reason: "a client of the tests: dig",
        need: Need::Program("dig"),
    },
    Package {
        name: "socat",
        reason: "a client of the tests: UDP with and without connect()",
        need: Need::Program("socat"),
    },
    Package {
        name: "nftables",
        reason: "loses packets in tests; translates addresses in benchmarks",
        need: Need::Program("nft"),
    },
    Package {
        name: "wrk",
        reason: "load for nginx, in the torture of acceleration",
        need: Need::Program("wrk"),
    },
    Package {
        name: "redis-server",
        reason: "Redis and its benchmark, in the torture of acceleration",
        need: Need::Program("redis-server"),
    },
    Package {
        name: "postgresql",
        reason: "PostgreSQL and pgbench, in the torture of acceleration",
        need: Need::Postgres,
    },
    Package {
        name: "python3-venv",
        reason: "the folder of the real Envoy and gRPC clients that tests start",
        need: Need::Venv,
    },
    Package {
        name: "iperf3",
        reason: "bulk data, in the torture of acceleration",
        need: Need::Program("iperf3"),
    },
    Package {
        name: "tmux",
        reason: "a terminal that tests type into and read from",
        need: Need::Program("tmux"),
    },
    Package {
        name: "prometheus",
        reason: "reads the metrics and answers queries, in tests; brings promtool",
        need: Need::Program("prometheus"),
    },
    Package {
        name: "chromium",
        reason: "a browser, in which tests use the control plane's page",
        need: Need::Program("chromium"),
    },
    Package {
        name: "chromium-driver",
        reason: "lets tests click, type and read in that browser",
        need: Need::Program("chromedriver"),
    },
];

/// Where Debian's nginx, and one built from its sources, keep modules.
const NGINX_MODULES: [&str; 2] = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"];

/// What benchmarks compare the mesh with. A benchmark says so when one is missing.
const PEERS: [Package; 1] = [Package {
    name: "haproxy",
    reason: "a proxy in the path, in benchmarks",
    need: Need::Program("haproxy"),
}];

impl Package {
    /// `  name   reason`, for lists.
    pub(super) fn explain(&self) -> String {
        format!("  {:19} {}", self.name, self.reason)
    }
}

/// What has to be installed, given what was found. `has_program` looks a program up by name.
pub(super) fn missing(
    found: Found,
    ci: bool,
    has_program: impl Fn(&str) -> bool,
    has_module: impl Fn(&str) -> bool,
) -> Vec<&'static Package> {
    let debian_compiler = found.compiler != Some(Compiler::RustupNightly);
    PACKAGES
        .iter()
        .filter(|package| match package.need {
            Need::Compiler => found.compiler.is_none(),
            Need::Linker => {
                debian_compiler
                    && !found.linker
                    && !machine::exists("/usr/lib/llvm-22/bin/llvm-config")
            }
            Need::Clippy => ci && debian_compiler && !(found.clippy && found.compiler.is_some()),
            Need::Program(program) => !has_program(program),
            Need::NginxModule(file) => !has_module(file),
            Need::Postgres => !has_program("postgres"),
            Need::Venv => !has_program("python3-venv"),
        })
        .collect()
}

/// Is this module for nginx installed?
pub(super) fn has_nginx_module(file: &str) -> bool {
    NGINX_MODULES.iter().any(|folder| machine::exists(format!("{folder}/{file}")))
}

/// Is this program installed?
pub(super) fn has_program(name: &str) -> bool {
    match name {
        "postgres" => has_postgres(),
        "python3-venv" => super::python::can_make_folders(),
        _ => machine::has_program(name),
    }
}

/// Debian has a folder for each version. Tests use one that has all of these.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).any(|folder| {
        ["initdb", "postgres", "pgbench", "psql"].iter().all(|name| folder.join(name).is_file())
    })
}

/// Those of the benchmarks' peers that are not there.
pub(super) fn missing_peers(has_program: impl Fn(&str) -> bool) -> Vec<&'static Package> {
    let missing = |package: &&Package| match package.need {
        Need::Program(program) => !has_program(program),
        Need::Compiler
        | Need::Linker
        | Need::Clippy
        | Need::NginxModule(_)
        | Need::Postgres
        | Need::Venv => false,
    };
    PEERS.iter().filter(missing).collect()
}

/// The command for people who have to run it themselves.
pub(super) fn command_line(packages: &[&Package]) -> String {
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    format!("apt-get install --yes --no-install-recommends {}", names.join(" "))
}

/// Installs them; the package lists are fetched only when the first attempt fails.
pub(super) fn install(packages: &[&Package]) -> Result<()> {
    say("installing with apt-get:");
    for package in packages {
        say(package.explain());
    }
    let is_asked_for = |name: &str| packages.iter().any(|package| package.name == name);
    let _quiet = Quiet::begin(is_asked_for("postgresql"))?;
    let servers = servers::look(is_asked_for);
    let installed = try_install(packages);
    let settled = servers::settle(&servers);
    installed.and(settled)
}

fn try_install(packages: &[&Package]) -> Result<()> {
    let install = || {
        let mut command = apt_get();
        command.args(["install", "--yes", "--quiet", "--no-install-recommends"]);
        command.args(packages.iter().map(|package| package.name));
        process::run(&mut command)
    };
    if install().is_err() {
        say("that failed; trying again with fresh package lists");
        process::run(apt_get().args(["update", "--quiet"]))?;
        install()?;
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: Found, ci: bool) -> Vec<&'static str> {
        missing(found, ci, |program| program != "nginx", |_| true)
            .iter()
            .map(|package| package.name)
            .collect()
    }

    #[test]
    fn a_complete_machine_needs_only_the_missing_program() {
        let found = Found { compiler: Some(Compiler::Debian), linker: true, clippy: true };
        assert_eq!(names(found, true), ["nginx-light"]);
    }

    #[test]
    fn a_module_is_looked_for_by_its_file() {
        let found = Found { compiler: Some(Compiler::Debian), linker: true, clippy: true };
        let missing = missing(found, false, |_| true, |file| file != "ngx_stream_module.so");
        let names: Vec<_> = missing.iter().map(|package| package.name).collect();
        assert_eq!(names, ["libnginx-mod-stream"]);
    }

    #[test]
    fn clippy_is_for_ci_only() {
        let found = Found { compiler: Some(Compiler::Debian), linker: true, clippy: false };
        assert_eq!(names(found, false), ["nginx-light"]);
        assert_eq!(names(found, true), ["rust-web-clippy", "nginx-light"]);
    }

    #[test]
    fn a_bare_machine_gets_debians_compiler() {
        let found = Found { compiler: None, linker: true, clippy: true };
        let expected = ["rustc-web", "rust-web-src", "rust-web-clippy", "nginx-light"];
        assert_eq!(names(found, true), expected);
    }

    #[test]
    fn peers_are_asked_for_by_their_programs() {
        let missing = missing_peers(|program| program != "haproxy");
        assert_eq!(missing.iter().map(|package| package.name).collect::<Vec<_>>(), ["haproxy"]);
    }

    #[test]
    fn nightly_needs_no_debian_compiler() {
        let found = Found { compiler: Some(Compiler::RustupNightly), linker: false, clippy: false };
        assert_eq!(names(found, true), ["nginx-light"]);
    }
}
