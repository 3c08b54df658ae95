//! `PostgreSQL` with pgbench: a scratch database of its own, whose books must balance afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, User, chown};

use super::Scope;
use super::report::{Report, Said};
use super::world::{Service, Where, World, wait_listening};
use crate::cleanup::{self, Guard};
use crate::meshctl::run_command;
use crate::process::{Place, Process};
use crate::require;
use crate::scratch::Scratch;

const PORT: u16 = 8103;
const CONNECTIONS: u64 = 8;
/// Longest time for anything of the server's own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs: a name and the flags.
const RUNS: [(&str, &[&str]); 4] = [
    ("TPC-B", &[]),
    ("select only, prepared", &["--select-only", "--protocol=prepared"]),
    ("select only", &["--select-only"]),
    ("select only, a connection each", &["--select-only", "--connect"]),
];

pub(super) fn run(world: &mut World, scope: Scope<'_>, report: &mut Report) -> anyhow::Result<()> {
    let programs = programs()?;
    for &server in scope.places {
        let services = world.services("postgres", server, PORT)?;
        let database = Database::start(world, &programs, server)?;
        let mut measured = Vec::new();
        for service in &services {
            measured.push(world.measure(service, || fill(world, &programs, service))?);
        }
        report.add("pgbench", "fill 200,000 rows", 1, measured);
        let mut done = 0;
        let runs = if scope.quick { &RUNS[..1] } else { &RUNS[..] };
        for &(name, flags) in runs.iter().filter(|run| scope.wants(run.0)) {
            let mut measured = Vec::new();
            for service in &services {
                let load =
                    Load { programs: &programs, flags, time: scope.time, database: &database };
                measured.push(world.measure(service, || {
                    let (said, transactions) = load.run(world, service)?;
                    done += if flags.is_empty() { transactions } else { 0 };
                    Ok(said)
                })?);
            }
            report.add("pgbench", name, CONNECTIONS, measured);
        }
        let mut measured = Vec::new();
        for service in &services {
            measured.push(world.measure(service, || balance(world, &programs, service, done))?);
        }
        report.add("pgbench", "psql: the books balance", 1, measured);
    }
    Ok(())
}

/// Folder of the programs: Debian has one for each version.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let whole = |folder: &PathBuf| {
        ["initdb", "postgres", "pgbench", "psql"].iter().all(|name| folder.join(name).is_file())
    };
    folders
        .filter(whole)
        .max()
        .context("needs PostgreSQL: apt-get install postgresql (cargo xtask setup)")
}

/// A server. Fields drop in order: it ends by itself, so that it takes its shared memory away.
struct Database {
    _end: Guard,
    _process: Process,
    scratch: Scratch,
}

impl Database {
    fn start(world: &World, programs: &Path, server: Where) -> anyhow::Result<Self> {
        let scratch = Scratch::create("postgres")?;
        let data = scratch.path().join("data");
        // It refuses to run as root.
        let user = User::from_name("postgres")?.context("no user `postgres`")?;
        chown(scratch.path(), Some(user.uid), Some(user.gid))?;
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o700))?;
        // It cannot where a folder above is for root only.
        let mut command = as_user(&user)?;
        command.args(["test", "-x"]).arg(scratch.path());
        ensure!(
            run_command(command, &Place::default())?.code == Some(0),
            "user `postgres` cannot enter {}: set TMPDIR to a folder that everybody may enter",
            scratch.path().display()
        );
        let mut command = as_user(&user)?;
        command.arg(programs.join("initdb")).arg("--pgdata").arg(&data).args([
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        let said = run_command(command, &Place::default())?;
        ensure!(said.code == Some(0), "initdb: {}{}", said.stdout, said.stderr);
        // Written over, so that it stays its user's.
        fs::write(data.join("pg_hba.conf"), "host all all all trust\n")?;
        let address = World::address(server, PORT);
        let mut command = as_user(&user)?;
        command.arg(programs.join("postgres")).arg("-D").arg(&data);
        for setting in [
            format!("listen_addresses={}", address.ip()),
            format!("port={PORT}"),
            format!("unix_socket_directories={}", scratch.path().display()),
            "fsync=off".to_owned(),
            "shared_buffers=64MB".to_owned(),
            // A file below the data, and not one that a crash would leave.
            "dynamic_shared_memory_type=mmap".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        let log = scratch.path().join("log");
        let process = Process::spawn("postgres", command, &world.server(server), Some(&log))?;
        let id = Pid::from_raw(process.id().cast_signed());
        let end = cleanup::on_exit(move || quit(id));
        wait_listening(&process, world.netns(server), address.into())?;
        Ok(Self { _end: end, _process: process, scratch })
    }
}

/// Runs what follows as another user, and ends it with us.
fn as_user(user: &User) -> anyhow::Result<Command> {
    let mut command = Command::new(require::program("setpriv", "util-linux")?);
    command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
    command.args(["--clear-groups", "--pdeathsig", "QUIT", "--"]).current_dir("/");
    Ok(command)
}

/// Has it end at once but in order, and waits for that; its status is left to whoever started it.
fn quit(id: Pid) {
    if kill(id, Signal::SIGQUIT).is_err() {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while matches!(waitid(Id::Pid(id), flags), Ok(WaitStatus::StillAlive))
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn client(program: PathBuf, service: &Service) -> Command {
    let mut command = Command::new(program);
    command.args(["--host", &service.vip.ip().to_string()]);
    command.args(["--port", &service.vip.port().to_string(), "--username", "postgres"]);
    command
}

fn fill(world: &World, programs: &Path, service: &Service) -> anyhow::Result<Said> {
    let mut command = client(programs.join("pgbench"), service);
    command.args(["--initialize", "--scale=2", "--quiet", "postgres"]);
    let said = world.run(command)?;
    if said.code != Some(0) {
        return Ok(Said::failed(format!("exit {:?}: {}", said.code, said.stderr)));
    }
    let rate = 200_000.0 / said.took.as_secs_f64();
    Ok(Said { rate, unit: "rows/s", ..Said::default() })
}

struct Load<'a> {
    programs: &'a Path,
    flags: &'a [&'a str],
    time: Duration,
    database: &'a Database,
}

impl Load<'_> {
    /// Also how many transactions there were.
    fn run(&self, world: &World, service: &Service) -> anyhow::Result<(Said, u64)> {
        let mut command = client(self.programs.join("pgbench"), service);
        let logs = self.database.scratch.path().join("transactions");
        command
            .args([
                "--client",
                &CONNECTIONS.to_string(),
                "--time",
                &self.time.as_secs().to_string(),
            ])
            .args(["--no-vacuum", "--log", "--log-prefix"])
            .arg(&logs)
            .args(self.flags)
            .arg("postgres");
        let said = world.run(command)?;
        let mut errors = Vec::new();
        if said.code != Some(0) || said.stderr.contains("error") {
            errors.push(format!("exit {:?}: {}", said.code, said.stderr));
        }
        let figure = |name: &str| {
            let line = said.stdout.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
        };
        if figure("number of failed transactions:") != Some(0.0) {
            errors.push(format!("failed transactions: {}", said.stdout));
        }
        let done = "number of transactions actually processed: ";
        let done = said.stdout.lines().find_map(|line| line.strip_prefix(done)?.parse().ok());
        let rate = figure("tps =").unwrap_or(0.0);
        // Until all connections are there, and then until the slowest transaction is done.
        let longest_ms = self.longest()?.into_iter().chain(figure("initial connection time ="));
        let longest_ms = longest_ms.reduce(f64::max);
        if done.is_none_or(|done: u64| done == 0) {
            errors.push(format!("no transaction: {}", said.stdout));
        }
        let said = Said { rate, unit: "tps", longest_ms, errors, ..Said::default() };
        Ok((said, done.unwrap_or(0)))
    }

    /// From pgbench's log of every transaction, which is removed: the third column, in microseconds.
    fn longest(&self) -> anyhow::Result<Option<f64>> {
        let mut longest: Option<f64> = None;
        for entry in fs::read_dir(self.database.scratch.path())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with("transactions") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let times = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
            longest = times.map(|us| us / 1e3).chain(longest).reduce(f64::max);
            fs::remove_file(&path)?;
        }
        Ok(longest)
    }
}

/// Every transaction of TPC-B moves the same amount in all tables.
fn balance(world: &World, programs: &Path, service: &Service, done: u64) -> anyhow::Result<Said> {
    let mut command = client(programs.join("psql"), service);
    command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--field-separator= "]);
    command.args([
        "--command",
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), \
         (SELECT sum(tbalance) FROM pgbench_tellers), \
         (SELECT sum(bbalance) FROM pgbench_branches), \
         (SELECT coalesce(sum(delta), 0) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)",
        "postgres",
    ]);
    let said = world.run(command)?;
    let numbers: Vec<i64> =
        said.stdout.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [accounts, tellers, branches, history, count] = *numbers else {
        bail!("psql: exit {:?}: {}{}", said.code, said.stdout, said.stderr);
    };
    let mut errors = Vec::new();
    if accounts != tellers || accounts != branches || accounts != history {
        errors.push(format!("the books do not balance: {numbers:?}"));
    }
    if u64::try_from(count)? != done {
        errors.push(format!("{count} transactions are in the history, pgbench made {done}"));
    }
    Ok(Said { rate: 1.0, errors, ..Said::default() })
}
