//! The program as a person meets it: what it says, with which exit code, and how it ends.
#![cfg(test)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

fn command(data: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-control"));
    command
        .args(["--http", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .args(options)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped());
    command
}

fn run(data: &Path, options: &[&str]) -> Output {
    command(data, options).output().unwrap()
}

/// What it said last, which is all that a person needs to read.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn what_cannot_work_is_one_line_and_a_code() {
    let data = TempDir::new().unwrap();
    let output = run(data.path(), &["--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(last_line(&output).contains("--insecure"), "{}", last_line(&output));

    let output = run(data.path(), &["--listen", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(data.path(), &["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let line = last_line(&output);
    assert!(line.contains(&address) && line.contains("--listen"), "{line}");

    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = run(&file, &["--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(last_line(&output).contains("--data-dir"), "{}", last_line(&output));
}

#[test]
fn signals_end_it_gracefully_and_the_store_is_free_again() {
    let data = TempDir::new().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = command(data.path(), &["--listen", "127.0.0.1:0", "--log-format", "json"])
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("\"ready\"") {
            assert_ne!(stderr.read_line(&mut seen).unwrap(), 0, "{seen}");
        }
        assert!(seen.lines().all(|line| line.starts_with('{')), "{seen}");

        let second = run(data.path(), &["--listen", "127.0.0.1:0"]);
        assert_eq!(second.status.code(), Some(1));
        assert!(last_line(&second).contains("in use by another process"));

        send(&child, signal);
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
        assert!(rest.contains("stopping"), "{rest}");
        // A graceful end leaves nothing to repair.
        assert!(!seen.contains("did not shut down"), "{seen}");
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).unwrap();
    kill(Pid::from_raw(pid), signal).unwrap();
}
