//! All that the demo, the benchmarks and the harness say to a person, through one door.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::cleanup;

/// A line on standard output.
pub fn say(line: impl AsRef<str>) {
    // A closed pipe must not stop a cleanup.
    drop(writeln!(io::stdout().lock(), "{}", line.as_ref()));
}

/// A line on standard error: progress and warnings.
pub fn note(line: impl AsRef<str>) {
    drop(writeln!(io::stderr().lock(), "{}", line.as_ref()));
}

/// Says that every promise was kept; an error where some were broken.
pub fn promises(broken: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(broken.is_empty(), "promises broken:\n  {}", broken.join("\n  "));
    say("Every promise was kept.");
    Ok(())
}

/// Ends a program: the whole chain of an error on one line, without a backtrace.
#[must_use]
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    cleanup::stop_if_interrupted();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
