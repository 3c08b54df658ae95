//! `stat --watch`: drawn over the last table on a terminal, one after the other elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::table;
use crate::client::{Client, Context};
use crate::commands::stay::{message, stay};
use crate::failure::Failure;
use crate::output::{Format, emit, note, yaml};
use crate::traffic::{Column, Found, Scope};

pub(super) async fn run(
    context: &Context,
    scope: &Scope,
    sort: Column,
    every: Duration,
) -> Result<(), Failure> {
    let mut printer = Printer::new(context, scope);
    stay(context, async |client| follow(client, (scope, sort, every), &mut printer).await).await
}

/// Prints until the stream ends; always returns an error.
async fn follow(
    client: &mut Client,
    (scope, sort, every): (&Scope, Column, Duration),
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    let mut stream = client.watch_stat(scope.request(Some(every))).await?;
    let mut checked = false;
    loop {
        let response = message(client, &mut stream).await?;
        if response.rows.is_empty() && !checked {
            scope.check(client).await?;
        }
        checked = true;
        printer.print(&Found::new(scope.by, sort, response))?;
    }
}

/// Answers in the format asked for.
struct Printer<'a> {
    context: &'a Context,
    scope: &'a Scope,
    /// Draw over what is there.
    redraw: bool,
    /// What was said last beside the rows.
    remarks: Vec<String>,
    first: bool,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context, scope: &'a Scope) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let table = matches!(context.format, Format::Table | Format::Wide);
        let redraw = table && !dumb && io::stdout().is_terminal();
        Self { context, scope, redraw, remarks: Vec::new(), first: true }
    }

    fn print(&mut self, found: &Found) -> Result<(), Failure> {
        let first = std::mem::take(&mut self.first);
        match self.context.format {
            Format::Json => emit(&format!("{}\n", serde_json::to_string(found)?)),
            Format::Yaml => emit(&format!("---\n{}", yaml(found)?)),
            Format::Name => {
                let lines = table::names(found).into_iter().map(|name| name + "\n");
                emit(&lines.collect::<String>())
            }
            Format::Table | Format::Wide => {
                let wide = self.context.format == Format::Wide;
                let text = table::table(found, self.scope, wide, self.context.style);
                let remarks = found.remarks(self.scope);
                if self.redraw {
                    let height = crossterm::terminal::size().map_or(0, |(_, rows)| rows.into());
                    return emit(&frame(&text, &remarks, height, first));
                }
                if remarks != self.remarks {
                    for remark in &remarks {
                        note(remark);
                    }
                    self.remarks = remarks;
                }
                // An empty line between tables; none before the first.
                let gap = if first || text.is_empty() { "" } else { "\n" };
                emit(&format!("{gap}{text}"))
            }
        }
    }
}

/// Draws over the frame before, line by line, so that nothing flickers. What is wider than the screen
/// is cut by the terminal; what is longer (`height`, if it is not 0) is left out.
pub(super) fn frame(table: &str, remarks: &[String], height: usize, first: bool) -> String {
    const CUT: &str = "\u{1b}[?7l";
    const WRAP: &str = "\u{1b}[?7h";
    let clear = if first { "\u{1b}[2J" } else { "" };
    let mut lines: Vec<&str> = table.lines().chain(remarks.iter().map(String::as_str)).collect();
    let missing;
    // The cursor stays on a line below.
    if height > 1 && lines.len() >= height {
        let kept = height - 2;
        missing = format!("… {} more lines: `meshctl top` scrolls", lines.len() - kept);
        lines.truncate(kept);
        lines.push(&missing);
    }
    let lines: String = lines.into_iter().flat_map(|line| [line, "\u{1b}[K\n"]).collect();
    format!("{clear}\u{1b}[H{CUT}{lines}{WRAP}\u{1b}[J")
}
