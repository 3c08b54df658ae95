//! Servers that packages bring: neither started by the installation nor with the machine. What ran
//! or was there before is its owner's, and stays as it is.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::say;
use crate::{machine, process};

/// Packages that bring a server, and the name of its service.
const SERVERS: [(&str, &str); 5] = [
    ("nginx-light", "nginx"),
    ("haproxy", "haproxy"),
    ("redis-server", "redis-server"),
    ("postgresql", "postgresql"),
    ("prometheus", "prometheus"),
];

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    service: &'static str,
    before: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    /// The machine has such a service.
    known: bool,
    running: bool,
}

/// What is to be done after the installation.
#[derive(Debug, Eq, PartialEq)]
struct ToDo {
    disable: bool,
    stop: bool,
}

const fn to_do(before: State, now: State) -> ToDo {
    ToDo { disable: now.known && !before.known, stop: now.running && !before.running }
}

/// Those that these packages bring, as they are before.
pub(super) fn look(is_installed: impl Fn(&str) -> bool) -> Vec<Server> {
    let wanted = SERVERS.into_iter().filter(|(package, _)| is_installed(package));
    wanted.map(|(_, service)| Server { service, before: state(service) }).collect()
}

/// Stops and disables what the installation, which may have failed half-way, has started and enabled.
pub(super) fn settle(servers: &[Server]) -> Result<()> {
    for &Server { service, before } in servers {
        let ToDo { disable, stop } = to_do(before, state(service));
        if stop {
            say(format_args!("stopping the service {service}, which the package has started"));
            process::run(&mut control("stop", service))?;
        }
        if disable {
            say(format_args!("disabling the service {service}, which the package has enabled"));
            if has_systemd() {
                process::run(&mut control("disable", service))?;
            } else if machine::has_program("update-rc.d") {
                process::run(Command::new("update-rc.d").args([service, "disable"]))?;
            }
        }
    }
    Ok(())
}

fn state(service: &str) -> State {
    let unit = format!("{service}.service");
    let known = machine::exists(format!("/etc/init.d/{service}"))
        || ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"]
            .iter()
            .any(|folder| machine::exists(format!("{folder}/{unit}")));
    let mut ask = control(if has_systemd() { "is-active" } else { "status" }, service);
    let ask = ask.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    State { known, running: known && ask.status().is_ok_and(|status| status.success()) }
}

/// Without systemd, the init script itself is asked: a policy decides only what packages do.
fn control(verb: &str, service: &str) -> Command {
    let mut command;
    if has_systemd() {
        command = Command::new("systemctl");
        command.args([verb, "--quiet", service]);
    } else {
        command = Command::new(format!("/etc/init.d/{service}"));
        command.arg(verb);
    }
    command
}

fn has_systemd() -> bool {
    machine::exists("/run/systemd/system")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: State = State { known: false, running: false };
    const STOPPED: State = State { known: true, running: false };
    const RUNNING: State = State { known: true, running: true };

    #[test]
    fn what_the_installation_did_is_undone() {
        assert_eq!(to_do(ABSENT, RUNNING), ToDo { disable: true, stop: true });
        assert_eq!(to_do(ABSENT, STOPPED), ToDo { disable: true, stop: false });
        assert_eq!(to_do(STOPPED, RUNNING), ToDo { disable: false, stop: true });
    }

    #[test]
    fn what_was_there_stays() {
        for state in [ABSENT, STOPPED, RUNNING] {
            assert_eq!(to_do(state, state), ToDo { disable: false, stop: false });
        }
    }
}
