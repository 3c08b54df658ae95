//! `top`: a live view of traffic on a terminal. Keys and answers change a state, the state says what
//! is shown, and only `live`, `feed` and `draw` touch the terminal and the network.

mod detail;
mod draw;
mod feed;
mod history;
mod live;
mod state;
mod view;

#[cfg(test)]
mod tests;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::Format;
use crate::traffic::{Column, Scope, ScopeArgs};

use feed::Feed;
use state::State;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Column to sort by at first; numbers with the largest first.
    #[arg(long, value_enum, default_value_t = Column::Conn, value_name = "COLUMN")]
    sort: Column,
    /// Time between two answers of the control plane.
    #[arg(long, default_value = "1s", value_parser = crate::cli::every, value_name = "DURATION")]
    every: Duration,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { scope, sort, every } = args;
    let scope = Scope::new(scope)?;
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    if dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal: use `meshctl stat --watch`"));
    }
    if context.format != Format::Table {
        return Err(Failure::usage("top has no other form: use `meshctl stat --watch -o …`"));
    }
    // Where nobody answers there is nothing to look at: said before the screen is taken.
    let (feed, first) = Feed::start(context, &scope, every).await?;
    let state = State::new(scope, sort, &context.server);
    live::run(state, feed, first, context.style).await
}
