//! Runs one command: runtime, Ctrl-C, the message at the end and the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use crate::cli::{Cli, Command};
use crate::client::Context;
use crate::commands::{
    apply, bug_report, completion, connections, delete, deregister, describe, diff, get,
    grpc_bootstrap, health, history, log, proxy_status, register, rollback, stat, status, tap, top,
    version, workloads,
};
use crate::failure::Failure;
use crate::output::style::Style;
use crate::trace::Trace;

/// Runs the command and says how it went.
pub(crate) fn run(cli: Cli) -> ExitCode {
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                report(&failure);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn report(failure: &Failure) {
    let text = match failure {
        // Each line names its file; editors and people jump to it.
        Failure::Invalid(problems) => format!("{problems}\nerror: nothing was stored"),
        Failure::Refused { said, .. } => format!("{}\nerror: nothing was stored", said.join("\n")),
        Failure::Usage { .. }
        | Failure::Conflict { .. }
        | Failure::Unreachable { .. }
        | Failure::NotFound { .. }
        | Failure::TimedOut { .. }
        | Failure::Rejected { .. }
        | Failure::Declined { .. }
        | Failure::Server { .. }
        | Failure::Write(_)
        | Failure::Json(_)
        | Failure::Io { .. }
        | Failure::Closed
        | Failure::Differs
        | Failure::Interrupted => format!("error: {failure}"),
    };
    // Where standard error is closed there is nobody to tell.
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    // One thread: starting more costs more than these commands take.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the runtime", error))?;
    let trace = Trace::begin(&command, global.verbose);
    let context = Context {
        server: global.server,
        format: global.output,
        style: Style::detect(global.no_color),
        timeout: global.timeout,
        start: Instant::now(),
        trace: trace.as_ref().map(Trace::context).cloned(),
    };
    let result = runtime.block_on(async {
        // Ends its lease when interrupted, so it listens itself.
        if let Command::Register(args) = command {
            return register::run(&context, args).await;
        }
        tokio::select! {
            biased;
            result = dispatch(&context, command) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    });
    // A name lookup that hangs does not keep the process.
    runtime.shutdown_background();
    if let Some(trace) = trace {
        trace.end(&result);
    }
    result
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Apply(args) => apply::run(context, args).await,
        Command::Get(args) => get::run(context, args).await,
        Command::Describe(args) => describe::run(context, args).await,
        Command::Delete(args) => delete::run(context, args).await,
        Command::History(args) => history::run(context, args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Diff(args) => diff::run(context, args).await,
        Command::Status => status::run(context).await,
        Command::ProxyStatus(args) => proxy_status::run(context, args).await,
        Command::Health(args) => health::run(context, args).await,
        Command::Stat(args) => stat::run(context, args).await,
        Command::Top(args) => top::run(context, args).await,
        Command::Connections(args) => connections::run(context, args).await,
        Command::Tap(args) => tap::run(context, args).await,
        Command::Log(args) => log::run(context, args).await,
        Command::BugReport(args) => bug_report::run(context, args).await,
        Command::Workloads(args) => workloads::run(context, args).await,
        Command::Register(args) => register::run(context, args).await,
        Command::Deregister(args) => deregister::run(context, args).await,
        Command::GrpcBootstrap(args) => grpc_bootstrap::run(context, &args),
        Command::Completion(args) => completion::run(&args),
        Command::Version => version::run(context),
    }
}
