//! What the screen shows, as lines of text with looks: a function of the state and the size.

mod columns;
mod row;

use super::state::{HELP, Page, State};
use crate::traffic::{Column, nothing, omitted, stale};
use columns::{Layout, fit};

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    Plain,
    /// Beside the point.
    Dim,
    Bold,
    /// Not as it should be.
    Bad,
    /// Of a drawing.
    Bar,
    /// What is sorted by; what is selected.
    Marked,
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) look: Look,
}

/// Left to right.
pub(super) type Line = Vec<Span>;

pub(super) fn span(text: impl Into<String>, look: Look) -> Span {
    Span { text: text.into(), look }
}

/// What fills the screen.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    /// From the top.
    pub(super) head: Vec<Line>,
    /// Rows of the screen below the head that a chart takes.
    pub(super) chart: usize,
    /// Below the chart.
    pub(super) body: Vec<Line>,
    /// The last line.
    pub(super) foot: Line,
}

/// Lines above the rows: title, state, headings.
const HEAD: usize = 3;

/// Rows of the table that fit on a screen so high: the last line says which keys there are.
pub(super) const fn table_rows(height: usize) -> usize {
    height.saturating_sub(HEAD + 1)
}

/// The screen, so many characters wide and high.
pub(super) fn view(state: &State, width: usize, height: usize) -> View {
    match &state.page {
        Page::Table => table(state, width, height),
        Page::Help => help(state, width),
        Page::Row(subject, detail) => {
            row::view(state, (subject, detail.as_deref()), (width, height))
        }
    }
}

fn table(state: &State, width: usize, height: usize) -> View {
    let rows = state.rows();
    let names: Vec<String> = rows.iter().map(|row| state.name(&row.subject)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let layout = Layout::new(width, longest, true);
    let mut head = vec![title(state, width), status(state, width)];
    head.push(layout.heading(state.scope.by.as_str(), state.sort));
    let cursor = state.cursor();
    let shown = rows.iter().zip(&names).enumerate().skip(state.top).take(table_rows(height));
    let mut body: Vec<Line> = shown
        .map(|(index, (row, name))| {
            let bars = state.history.bars(&row.subject, layout.bars);
            layout.row(row, name, &bars, index == cursor)
        })
        .collect();
    if rows.is_empty() {
        body.extend(wrap(&empty(state), width));
    }
    View { head, chart: 0, body, foot: foot(state) }
}

/// What is said instead of rows.
fn empty(state: &State) -> String {
    match &state.found {
        None => "waiting for the control plane".to_owned(),
        Some(found) if found.rows.is_empty() => nothing(&state.scope),
        Some(_) => format!("no row has {:?} in its name (Esc shows all)", state.filter),
    }
}

fn title(state: &State, width: usize) -> Line {
    let scope = &state.scope;
    let place = scope.place();
    let rows = state.found.as_ref().map_or(0, |found| found.rows.len());
    let order = if state.reverse { ", turned round" } else { "" };
    let name = state.sort == Column::Name;
    let sorted = if name { scope.by.as_str() } else { state.sort.heading() };
    let mut text = format!("meshctl top by {}", scope.by.as_str());
    if !place.is_empty() {
        text = format!("{text} {place}");
    }
    let seconds = scope.window.as_secs();
    let more = format!("  {rows} rows by {sorted}{order}, last {seconds}s  {}", state.server);
    let room = width.saturating_sub(text.chars().count());
    vec![span(cut(&text, width), Look::Bold), span(cut(&more, room), Look::Dim)]
}

/// What is to be known beside the rows: the most urgent that there is.
pub(super) fn status(state: &State, width: usize) -> Line {
    let mut line = Vec::new();
    if state.typing || !state.filter.is_empty() {
        let cursor = if state.typing { "▏" } else { "" };
        line.push(span(format!("/{}{cursor}  ", state.filter), Look::Bold));
    }
    if state.paused {
        let more = if state.is_behind() { ", there is news" } else { "" };
        line.push(span(format!("paused{more} (p goes on)  "), Look::Bold));
    }
    let found = state.found.as_ref();
    let bad = state.lost.as_ref().map(|reason| format!("connection lost ({reason}): trying again"));
    let bad = bad.or_else(|| found.and_then(|found| stale(&found.stale_nodes)));
    let bad = bad.or_else(|| found.and_then(|found| omitted(found.series_omitted)));
    let used: usize = line.iter().map(|span| span.text.chars().count()).sum();
    if let Some(bad) = bad {
        line.push(span(cut(&bad, width.saturating_sub(used)), Look::Bad));
    }
    line
}

fn foot(state: &State) -> Line {
    let keys: &[(&str, &str)] = if state.typing {
        &[("Enter", "keep"), ("Esc", "all rows")]
    } else {
        &[
            ("q", "quit"),
            ("?", "help"),
            ("/", "filter"),
            ("s", "sort"),
            ("p", "pause"),
            ("Tab", "by"),
            ("Enter", "details"),
        ]
    };
    keys_line(keys)
}

fn keys_line(keys: &[(&str, &str)]) -> Line {
    keys.iter()
        .flat_map(|(key, does)| [span(*key, Look::Bold), span(format!(" {does}  "), Look::Dim)])
        .collect()
}

fn help(state: &State, width: usize) -> View {
    let key = |(key, does): &(&str, &str)| {
        vec![span(format!("  {}", fit(key, 14)), Look::Bold), span(*does, Look::Plain)]
    };
    let head = vec![title(state, width), Line::new()];
    let body = HELP.iter().map(key).collect();
    View { head, chart: 0, body, foot: keys_line(&[("any key", "back")]) }
}

/// At most so many characters; the last says where some are missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { String::new() } else { format!("{kept}…") }
}

/// Lines of at most so many characters, at blanks.
pub(super) fn wrap(text: &str, width: usize) -> Vec<Line> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| vec![span(line, Look::Plain)]).collect()
}
