//! `stat`: a table of traffic, once or again and again.

mod table;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::{Format, emit_value, note};
use crate::traffic::{Column, Found, Scope, ScopeArgs};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Column to sort by; numbers with the largest first.
    #[arg(long, value_enum, default_value_t = Column::Name, value_name = "COLUMN")]
    sort: Column,
    /// Go on and show it again and again.
    #[arg(short, long)]
    watch: bool,
    /// Time between two tables of --watch.
    #[arg(long, default_value = "1s", value_parser = crate::cli::every, value_name = "DURATION")]
    every: Duration,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Args { scope, sort, watch, every } = args;
    let scope = Scope::new(scope)?;
    if watch {
        return watch::run(context, &scope, sort, every).await;
    }
    let mut client = context.connect().await?;
    let response = client.stat(scope.request(None)).await?;
    if response.rows.is_empty() {
        scope.check(&mut client).await?;
    }
    let found = Found::new(scope.by, sort, response);
    emit_value(
        context,
        &found,
        || table::names(&found),
        |wide| table::table(&found, &scope, wide, context.style),
    )?;
    if matches!(context.format, Format::Table | Format::Wide) {
        for remark in found.remarks(&scope) {
            note(&remark);
        }
    }
    Ok(())
}
