//! Puts a view on a screen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LegendPosition, Paragraph};

use super::detail::{Detail, RANGE_MS};
use super::state::{Page, State};
use super::view::{self, Look, View};
use crate::output::units::{float, rate};

/// Draws the state.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, colour: bool) {
    let area = frame.area();
    let View { head, chart, body, foot } =
        view::view(state, usize::from(area.width), usize::from(area.height));
    let below = |area: Rect, lines: usize| {
        let height = u16::try_from(lines).unwrap_or(u16::MAX).min(area.height);
        let first = Rect { height, ..area };
        let rest = Rect { y: area.y + height, height: area.height - height, ..area };
        (first, rest)
    };
    let (top, rest) = below(area, head.len());
    let (last, rest) = {
        let height = u16::from(rest.height > 0);
        let last = Rect { y: rest.y + rest.height - height, height, ..rest };
        (last, Rect { height: rest.height - height, ..rest })
    };
    let (middle, rest) = below(rest, chart);
    let lines = |lines: Vec<view::Line>| {
        Paragraph::new(lines.into_iter().map(|it| line(it, colour)).collect::<Vec<_>>())
    };
    frame.render_widget(lines(head), top);
    if let Page::Row(_, Some(detail)) = &state.page
        && chart > 0
    {
        frame.render_widget(plot(detail, colour), middle);
    }
    frame.render_widget(lines(body), rest);
    frame.render_widget(lines(vec![foot]), last);
}

fn line(line: view::Line, colour: bool) -> Line<'static> {
    line.into_iter().map(|it| Span::styled(it.text, style(it.look, colour))).collect()
}

/// Without colours what matters is still told apart.
const fn style(look: Look, colour: bool) -> Style {
    let plain = Style::new();
    match (look, colour) {
        (Look::Plain, _) | (Look::Bar | Look::Dim, false) => plain,
        (Look::Dim, true) => plain.fg(Color::DarkGray),
        (Look::Bold, _) | (Look::Bad, false) => plain.add_modifier(Modifier::BOLD),
        (Look::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
        (Look::Bar, true) => plain.fg(Color::Cyan),
        (Look::Marked, _) => plain.add_modifier(Modifier::REVERSED),
    }
}

fn plot(detail: &Detail, colour: bool) -> Chart<'_> {
    let most = if detail.most() > 0.0 { detail.most() } else { 1.0 };
    let minutes = float(RANGE_MS) / 60_000.0;
    let data = |name, points, look| {
        Dataset::default()
            .name(name)
            .data(points)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(style(look, colour))
    };
    let mut sets = vec![data("opened", &detail.opened, Look::Bar)];
    if detail.failed.iter().any(|(_, rate)| *rate > 0.0) {
        sets.push(data("failed", &detail.failed, Look::Bad));
    }
    // A line alone is the one that the title names.
    let legend = (sets.len() > 1).then_some(LegendPosition::TopRight);
    let dim = style(Look::Dim, colour);
    let labels = ["-15m", "-10m", "-5m", "now"];
    let heights = ["0".to_owned(), rate(most / 2.0), rate(most)];
    Chart::new(sets)
        .legend_position(legend)
        .x_axis(Axis::default().bounds([-minutes, 0.0]).labels(labels).style(dim))
        .y_axis(Axis::default().bounds([0.0, most]).labels(heights).style(dim))
}
