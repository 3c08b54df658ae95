//! Running other programs: every failure names the command line, so that it can be repeated by hand.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

/// The cargo that runs us, so that a pinned toolchain is not changed half-way.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end with inherited output; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = show(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs to the end and gives back standard output; standard error goes into the error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let line = show(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}: {}", output.status, reason.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` did not print UTF-8"))
}

/// Becomes the other program: signals and the exit code are then its own.
pub(crate) fn become_program(command: &mut Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;

    let line = show(command);
    // Returns only when the program could not be started.
    Err(anyhow::Error::new(command.exec()).context(format!("cannot start `{line}`")))
}

/// The command line as a person would type it (environment left out).
pub(crate) fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
