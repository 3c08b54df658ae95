//! Keys and answers in, screens out.

use mesh_api::wire;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::detail::{Detail, Query};
use super::draw::draw;
use super::state::{Effect, Input, Key, State};
use super::view::table_rows;
use crate::traffic::tests::{answer, row, scope};
use crate::traffic::{By, Column};

/// A state that has got an answer each second for so many seconds.
fn looked(words: &[&str], seconds: u64) -> State {
    let mut state = State::new(scope(words), Column::Conn, "http://127.0.0.1:15010");
    for second in 0..seconds {
        let mut answer = answer();
        for row in &mut answer.rows {
            let total = row.total.as_mut().expect("counts");
            total.opened += second * second;
        }
        state.on(Input::Answer(answer), second * 1000);
    }
    state
}

/// The screen as text, without blanks at the ends of lines.
fn screen(state: &mut State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    state.fit(table_rows(usize::from(height)));
    terminal.draw(|frame| draw(frame, state, true)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        format!("{}\n", cells.trim_end())
    };
    (0..height).map(line).collect()
}

fn press(state: &mut State, keys: &[Key]) -> Effect {
    let mut last = Effect::None;
    for key in keys {
        last = state.on(Input::Key(*key), 0);
    }
    last
}

fn type_in(state: &mut State, text: &str) {
    for char in text.chars() {
        press(state, &[Key::Char(char)]);
    }
}

#[test]
fn the_table_on_a_terminal_of_the_usual_size() {
    let text = screen(&mut looked(&[], 30), 80, 10);
    assert_eq!(
        text,
        "\
meshctl top by service  3 rows by CONN/S, last 10s  http://127.0.0.1:15010

SERVICE           OPEN  CONN/S FAILED%     IN/S    OUT/S     RTT LAST MINUTE
shop/cart        30000     400       0   3.9MiB   400KiB   850µs        ▂▂▃▄▅▆▇█
default/reviews    300       4      20    40KiB     4KiB   850µs        ▂▂▃▄▅▆▇█
default/ratings      0       0       -        0        0       -        ▂▂▃▄▅▆▇█



q quit  ? help  / filter  s sort  p pause  Tab by  Enter details
"
    );
}

#[test]
fn a_wide_terminal_has_all_columns_and_a_narrow_one_those_that_matter() {
    let mut state = looked(&[], 30);
    let text = screen(&mut state, 140, 8);
    for column in Column::ALL.iter().skip(1) {
        assert!(text.contains(column.heading()), "{column:?}: {text}");
    }
    let narrow = screen(&mut state, 36, 8);
    let heading = narrow.lines().nth(2).expect("headings");
    assert_eq!(heading.split_whitespace().collect::<Vec<_>>(), ["SERVICE", "CONN/S", "FAILED%"]);
    // Nothing is too small.
    for (width, height) in [(1, 1), (5, 2), (12, 3), (300, 4)] {
        screen(&mut state, width, height);
    }
}

#[test]
fn a_filter_is_typed_kept_and_dropped() {
    let mut state = looked(&[], 3);
    press(&mut state, &[Key::Char('/')]);
    type_in(&mut state, "REQ");
    press(&mut state, &[Key::Backspace]);
    assert!(screen(&mut state, 80, 10).contains("/RE▏"));
    type_in(&mut state, "v");
    let text = screen(&mut state, 80, 10);
    assert!(text.contains("default/reviews") && !text.contains("cart"), "{text}");
    // Kept: `q` would be typed otherwise.
    press(&mut state, &[Key::Enter]);
    assert_eq!(press(&mut state, &[Key::Char('q')]), Effect::Quit);
    press(&mut state, &[Key::Char('/')]);
    type_in(&mut state, "q");
    let text = screen(&mut state, 80, 10);
    assert!(text.contains("no row has \"REvq\" in its name (Esc shows all)"), "{text}");
    press(&mut state, &[Key::Escape]);
    assert!(screen(&mut state, 80, 10).contains("shop/cart"));
}

#[test]
fn the_order_changes_and_the_selected_row_stays() {
    let mut state = looked(&[], 3);
    let order = |state: &State| {
        state.rows().iter().map(|row| row.subject.service.clone()).collect::<Vec<_>>()
    };
    assert_eq!(order(&state), ["cart", "reviews", "ratings"]);
    press(&mut state, &[Key::Down]);
    assert_eq!(state.cursor(), 1);
    press(&mut state, &[Key::Char('s')]);
    assert_eq!((state.sort, order(&state)[0].as_str()), (Column::Failed, "reviews"));
    assert_eq!(state.cursor(), 0, "still reviews");
    press(&mut state, &[Key::Char('r')]);
    assert_eq!(order(&state), ["ratings", "cart", "reviews"]);
    assert_eq!(state.cursor(), 2);
    press(&mut state, &[Key::Left, Key::Left]);
    assert_eq!((state.sort, state.reverse), (Column::Open, false));
}

#[test]
fn the_selected_row_is_always_on_the_screen() {
    let mut state = looked(&[], 0);
    let rows = (0..50).map(|n| row("default", &format!("s{n:02}"), 100 - n, 0)).collect();
    state.on(Input::Answer(wire::StatResponse { rows, ..answer() }), 0);
    let visible = |state: &mut State| {
        let text = screen(state, 80, 14);
        let names = text.lines().skip(3).filter_map(|line| line.split_whitespace().next());
        let names: Vec<_> = names.filter(|name| name.starts_with("default/")).collect();
        format!("{} {} {}", names.len(), names[0], names[names.len() - 1])
    };
    assert_eq!(visible(&mut state), "10 default/s00 default/s09");
    press(&mut state, &[Key::PageDown, Key::Down]);
    assert_eq!(visible(&mut state), "10 default/s02 default/s11");
    press(&mut state, &[Key::End]);
    assert_eq!(visible(&mut state), "10 default/s40 default/s49");
    press(&mut state, &[Key::Up, Key::PageUp]);
    assert_eq!(visible(&mut state), "10 default/s38 default/s47");
    press(&mut state, &[Key::Home]);
    assert_eq!(visible(&mut state), "10 default/s00 default/s09");
    // A higher screen is filled.
    press(&mut state, &[Key::End]);
    assert!(screen(&mut state, 80, 30).contains("default/s24"));
}

#[test]
fn what_is_paused_stays_and_news_is_mentioned() {
    let mut state = looked(&[], 2);
    press(&mut state, &[Key::Char('p')]);
    let mut news = answer();
    news.rows.truncate(1);
    state.on(Input::Answer(news), 5000);
    let text = screen(&mut state, 80, 10);
    assert!(text.contains("paused, there is news (p goes on)"), "{text}");
    assert!(text.contains("shop/cart"), "{text}");
    press(&mut state, &[Key::Char(' ')]);
    let text = screen(&mut state, 80, 10);
    assert!(!text.contains("paused") && !text.contains("shop/cart"), "{text}");
}

#[test]
fn what_is_lost_late_or_not_there_is_said() {
    let mut state = State::new(scope(&["reviews"]), Column::Conn, "http://x");
    assert!(screen(&mut state, 80, 10).contains("\nwaiting for the control plane\n"));
    let late = wire::StatResponse {
        stale_nodes: vec!["node-b".to_owned()],
        ..wire::StatResponse::default()
    };
    state.on(Input::Answer(late.clone()), 0);
    let text = screen(&mut state, 80, 10);
    assert!(text.contains("\nnode-b is late to report: "), "{text}");
    assert!(text.contains("no traffic of service default/reviews is known yet: "), "{text}");
    state.on(Input::Lost("connection refused".to_owned()), 0);
    let text = screen(&mut state, 80, 10);
    assert!(text.contains("\nconnection lost (connection refused): trying again\n"), "{text}");
    state.on(Input::Answer(late), 0);
    assert!(!screen(&mut state, 80, 10).contains("connection lost"));
}

#[test]
fn tab_asks_for_other_rows() {
    let mut state = looked(&["svc/reviews"], 2);
    let Effect::Subscribe(scope) = press(&mut state, &[Key::Tab]) else {
        panic!("not asked");
    };
    assert_eq!((scope.by, scope.service.as_str()), (By::Edge, "reviews"));
    assert!(screen(&mut state, 80, 10).contains("waiting for the control plane"));
    let Effect::Subscribe(scope) = press(&mut state, &[Key::BackTab, Key::BackTab]) else {
        panic!("not asked");
    };
    assert_eq!(scope.by, By::Node);
}

/// Opens the second row, and gives it its details.
fn opened(state: &mut State) -> Query {
    let Effect::Fetch(query) = press(state, &[Key::Down, Key::Enter]) else {
        panic!("not asked");
    };
    let points = (0..180).map(|ago| wire::SeriesPoint {
        ago,
        traffic: Some(wire::Traffic {
            opened: u64::from(ago % 60) * 5,
            failed: u64::from(ago / 60),
            ..wire::Traffic::default()
        }),
        ..wire::SeriesPoint::default()
    });
    let series = wire::SeriesResponse {
        rows: vec![wire::SeriesRow {
            edge: row("default", "reviews", 0, 0).edge,
            points: points.collect(),
        }],
        step_ms: 5000,
        end_ms: 0,
    };
    let mut versions = wire::StatResponse::default();
    for (version, opened) in [("v1", 30), ("v2", 10)] {
        let mut row = row("default", "reviews", opened, 0);
        row.edge.as_mut().expect("an edge").version = version.to_owned();
        versions.rows.push(row);
    }
    let detail = Detail::new(&query, series, Some(versions));
    state.on(Input::Details(Some(Box::new(detail))), 0);
    *query
}

#[test]
fn a_row_has_a_page_with_its_minutes_causes_and_versions() {
    let mut state = looked(&[], 2);
    let query = opened(&mut state);
    let of = query.series.of.expect("a question");
    assert_eq!((of.namespace.as_str(), of.service.as_str()), ("default", "reviews"));
    assert_eq!(query.below.map(|(by, _)| by), Some(By::Version));
    let text = screen(&mut state, 80, 25);
    for line in [
        "service default/reviews  opened and failed a second, last 15 minutes",
        "59  │⠈⠢⣀                      ⡗⠢⣀                      ⡗⢢⡀",
        " -15m                         -10m               -5m                         now",
        "Total: opened 401, closed 100, failed 100, refused 50, let through 0, sent",
        "400KiB, received 3.9MiB",
        "Last 10s: opened 40, closed 10, failed 10, refused 5, let through 0, sent 40KiB,",
        "Failed because: timed out 100 (now 10)",
        "Refused because: breaker open 20 (now 2), not known 30 (now 3)",
        "VERSION    OPEN  CONN/S FAILED% REFUSED/S     IN/S    OUT/S     RTT RETRANS",
        "v1          225       3       0         0    30KiB     3KiB   850µs       2",
        "Esc back  p pause  ? help",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    // Where there is no room for a chart, there is none.
    let small = screen(&mut state, 80, 16);
    assert!(small.contains("\nv2 ") && !small.contains("-15m"), "{small}");
    assert_eq!(press(&mut state, &[Key::Char('q')]), Effect::None, "back, not away");
    assert!(screen(&mut state, 80, 24).contains("shop/cart"));
}

#[test]
fn details_are_asked_for_again_and_those_of_another_row_are_not_shown() {
    let mut state = looked(&[], 5);
    let query = opened(&mut state);
    let asked = (0..5).filter(|n| {
        state.on(Input::Answer(answer()), 10_000 + n * 1000)
            == Effect::Fetch(Box::new(query.clone()))
    });
    assert_eq!(asked.count(), 1);
    press(&mut state, &[Key::Escape]);
    let late = Detail::new(&query, wire::SeriesResponse::default(), None);
    press(&mut state, &[Key::Down, Key::Enter]);
    state.on(Input::Details(Some(Box::new(late))), 0);
    assert!(!screen(&mut state, 80, 24).contains("VERSION"));
}

#[test]
fn help_names_every_key_and_any_key_leaves_it() {
    let mut state = looked(&[], 2);
    press(&mut state, &[Key::Char('?')]);
    let text = screen(&mut state, 80, 24);
    for key in ["Enter", "PgUp", "Tab", "Ctrl-C"] {
        assert!(text.contains(&format!("\n  {key} ")), "{key}: {text}");
    }
    assert_eq!(press(&mut state, &[Key::Char('q')]), Effect::None);
    assert_eq!(press(&mut state, &[Key::Interrupt]), Effect::Interrupt);
}
