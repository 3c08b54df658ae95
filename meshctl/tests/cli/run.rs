//! Runs `meshctl` and looks at what it says.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// An address where nothing listens: port 1 of the loopback.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Run {
    /// The run, if it ended with this code; otherwise shows it.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Standard output of a run that must have done it without a word.
    #[track_caller]
    pub(crate) fn quiet(self) -> String {
        let Self { code, out, err } = self;
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        out
    }
}

/// The command, with nothing of this process's environment that it listens to.
pub(crate) fn command(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command
        .env_remove("MESH_SERVER")
        .env_remove("NO_COLOR")
        .args(["--server", server])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn run(server: &str, args: &[&str]) -> Run {
    command(server, args).output().expect("meshctl runs").into()
}

pub(crate) fn run_in(folder: &Path, server: &str, args: &[&str]) -> Run {
    let mut command = command(server, args);
    command.current_dir(folder);
    command.output().expect("meshctl runs").into()
}

/// Runs with this text on standard input.
pub(crate) fn feed(server: &str, args: &[&str], input: &str) -> Run {
    let mut child = command(server, args).stdin(Stdio::piped()).spawn().expect("meshctl runs");
    let mut stdin = child.stdin.take().expect("piped");
    // A refusal before the end of the input closes the pipe.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    child.wait_with_output().expect("meshctl ends").into()
}

/// Sends a signal, as in `kill -INT`.
pub(crate) fn signal(child: &Child, signal: &str) {
    let status =
        Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
}
