//! What `stat` prints.

use super::table::{names, table};
use super::watch::frame;
use crate::output::style::Style;
use crate::traffic::tests::{answer, scope};
use crate::traffic::{By, Column, Found};

fn found() -> Found {
    Found::new(By::Service, Column::Name, answer())
}

#[test]
fn a_row_for_each_service() {
    let text = table(&found(), &scope(&[]), false, Style::PLAIN);
    assert_eq!(
        text,
        "\
NAMESPACE   SERVICE   OPEN    CONN/S   FAILED%   REFUSED/S   IN/S     OUT/S    RTT     RETRANS
default     ratings   0       0        -         0           0        0        -       2
default     reviews   300     4        20        0.5         40KiB    4KiB     850µs   2
shop        cart      30000   400      0         0           3.9MiB   400KiB   850µs   2
"
    );
}

#[test]
fn the_wide_form_has_totals() {
    let text = table(&found(), &scope(&["-n", "default"]), true, Style::PLAIN);
    let words = |line: usize| {
        let line = text.lines().nth(line).expect("a line");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(words(0).starts_with("SERVICE OPEN "), "{text}");
    assert!(words(0).ends_with(
        "ATTEMPTS OPENED CLOSED FAILED FAILED-BY REFUSED REFUSED-BY PASSED SENT RECEIVED WINDOW"
    ));
    let counted =
        " 500 400 100 100 timed_out=100 50 breaker_open=20,not_known=30 0 400KiB 3.9MiB 10s";
    assert!(words(2).ends_with(counted), "{text}");
}

#[test]
fn scripts_read_exact_numbers() {
    let json = serde_json::to_value(found()).expect("JSON");
    let row = &json["rows"][1];
    assert_eq!(json["by"], "service");
    assert_eq!(row["service"], "reviews");
    assert_eq!(row["namespace"], "default");
    assert_eq!(row.get("version"), None);
    assert_eq!(row["open"], 300);
    assert_eq!(row["windowMs"], 10_000);
    assert_eq!(row["total"]["bytesReceived"], 4_096_000);
    assert_eq!(row["window"]["failures"]["timed_out"], 10);
    assert_eq!(row["total"]["refusals"]["breaker_open"], 20);
    assert_eq!(row["rates"]["openedPerSecond"], 4.0);
    assert_eq!(json["rows"][0]["rates"]["failedPercent"], serde_json::Value::Null);
}

#[test]
fn names_are_paths() {
    assert_eq!(names(&found()), ["service/ratings", "service/reviews", "service/cart"]);
}

#[test]
fn a_frame_clears_what_it_does_not_cover() {
    let remarks = ["late".to_owned()];
    assert_eq!(
        frame("a\nb\n", &remarks, 24, false),
        "\u{1b}[H\u{1b}[?7la\u{1b}[K\nb\u{1b}[K\nlate\u{1b}[K\n\u{1b}[?7h\u{1b}[J"
    );
    assert!(frame("", &[], 0, true).starts_with("\u{1b}[2J\u{1b}[H"));
}

#[test]
fn a_frame_is_no_higher_than_the_screen() {
    let table = "row\n".repeat(50);
    let frame = frame(&table, &[], 10, false);
    assert_eq!(frame.lines().count(), 10, "nine lines, and what follows them");
    assert!(frame.contains("… 42 more lines"), "{frame}");
}
