//! The command line of `cargo xtask`, as clap reads it and `--help` shows it.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Tasks of this repository. Each does what has to come before it, so any can be the first.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// One task.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Find or install the BPF compiler, bpf-linker and the programs that tests start
    Setup {
        /// Also what only `ci` needs: cargo-deny, and clippy for the BPF compiler
        #[arg(long)]
        ci: bool,
    },
    /// Compile the eBPF programs into target/bpf/ (always optimised; the agent embeds them)
    BuildEbpf,
    /// Watch a service split, shifted and kept alive by the kernel of this machine (root)
    Demo {
        /// Passed on; `cargo xtask demo -- --help` builds it and lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measure: `bench accounting`, `connect`, `established`, `propagation`, `probes`, `proxies`, `requests`, `samenode`, `scale` (root)
    Bench {
        /// What to measure, and how: passed on; `cargo xtask bench -- --help` builds it and lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Stop, kill and replace the agent under load for a minute, and count every failure (root)
    Torture {
        /// Passed on; `cargo xtask torture -- --help` builds it and lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Break backends in every way and see what clients notice: the fault table (root)
    Faults {
        /// Passed on; `cargo xtask faults -- --help` builds it and lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Random connections past the network stack, every byte compared (root)
    AccelTorture {
        /// Passed on; `cargo xtask accel-torture -- --help` builds it and lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run every test: unit, golden, and on this kernel (root)
    Test,
    /// Check the invariants of ARCHITECTURE.md and the house style
    Tidy,
    /// Run every check: fmt, tidy, deny, clippy for host and BPF, test (root)
    Ci,
}

/// The names of all tasks.
pub(crate) fn task_names() -> Vec<String> {
    let command = Cli::command();
    command.get_subcommands().map(|task| task.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_other_programs_pass_through() {
        let cli = Cli::parse_from(["xtask", "bench", "connect", "--json", "x.json", "--help"]);
        let Task::Bench { args } = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["connect", "--json", "x.json", "--help"]);
        let cli = Cli::parse_from(["xtask", "demo", "--json", "x.json"]);
        let Task::Demo { args } = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["--json", "x.json"]);
    }
}
