//! Input that is made to hurt: refused fast, with a message, without using up the machine.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{SERVICE, accepted, lines, refused};
use crate::manifest::{MAX_BYTES, decode, parse};

/// Debug builds on a busy machine: far above what is needed, far below what a bomb takes.
const SOON: Duration = Duration::from_secs(20);

fn refused_soon(text: &str) -> Vec<String> {
    let start = Instant::now();
    let said = refused(text);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(said.iter().all(|line| line.len() < 400), "{said:?}");
    said
}

fn lines_of(range: Range<usize>, line: impl Fn(usize) -> String) -> String {
    let lines: Vec<_> = range.map(|number| line(number) + "\n").collect();
    lines.concat()
}

#[test]
fn an_alias_bomb_is_refused() {
    let bomb = lines_of(1..30, |level| {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{list}]")
    });
    let bomb = format!("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n{bomb}");
    let said = refused_soon(&bomb);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("alias"), "{said:?}");
}

#[test]
fn merge_bombs_are_refused() {
    let bomb = lines_of(1..30, |level| {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} {{<<: [{list}], k{level}: 1}}")
    });
    let bomb = format!("a0: &a0 {{x: 1}}\n{bomb}");
    assert_eq!(refused_soon(&bomb).len(), 1);
}

#[test]
fn an_alias_of_itself_is_refused() {
    assert_eq!(refused_soon("a: &a [*a]\n").len(), 1);
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        lines_of(0..3000, |depth| format!("{}a:", " ".repeat(depth))),
        format!("{SERVICE}  sessionAffinity: {}{}", "[".repeat(500), "]".repeat(500)),
    ] {
        let said = refused_soon(&text);
        assert_eq!(said.len(), 1, "{said:?}");
    }
}

#[test]
fn a_manifest_above_the_limit_is_refused_unread() {
    let text = format!("{SERVICE}# {}", "x".repeat(10 << 20));
    let said = "a.yaml: larger than a manifest may be (4194304 bytes): split it";
    assert_eq!(refused_soon(&text), [said]);
    let problems = decode("a.yaml", text.as_bytes()).expect_err("too large");
    assert_eq!(lines(&problems), [said]);
}

#[test]
fn a_manifest_just_below_the_limit_is_read() {
    let endpoint = |number: u32| {
        format!(
            "---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\nmetadata:\n  name: e{number}\n  \
             labels:\n    team: payments\n    tier: backend\n    zone: eu-central-1a\nspec:\n  \
             service: reviews\n  version: v1\n  address: 10.0.0.1\n  node: node-{number}\n  \
             workload: reviews-{number}.service\n"
        )
    };
    let mut text = String::new();
    let mut count = 0;
    while text.len() + 300 < MAX_BYTES {
        text.push_str(&endpoint(count));
        count += 1;
    }
    assert_eq!(accepted(&text).len(), usize::try_from(count).expect("fits"));
}

#[test]
fn a_storm_of_mistakes_is_cut_short() {
    let text = format!("{SERVICE}{}", "  - nope\n".repeat(100_000));
    let said = refused_soon(&text);
    assert_eq!(said.len(), 51);
    assert_eq!(said[50], "… and more: mend these first");
    let text = format!("{SERVICE}{}", lines_of(0..50_000, |n| format!("  k{n}: 1")));
    assert_eq!(refused_soon(&text).len(), 51);
    let text = "---\nx: 1\n".repeat(20_000);
    assert!(refused_soon(&text).len() < 60);
    let text = "---\n".repeat(1_000_000);
    assert_eq!(refused_soon(&text).len(), 1);
}

#[test]
fn huge_scalars_do_not_fill_the_message() {
    let long = "x".repeat(3_000_000);
    refused_soon(&SERVICE.replace("reviews", &long));
    refused_soon(&SERVICE.replace("80\n", &format!("{long}\n")));
    refused_soon(&SERVICE.replace("vips", &format!("{long}: 1\n  vips")));
    refused_soon(&SERVICE.replace("vips", &format!("? {long}\n  : 1\n  vips")));
    refused_soon(&SERVICE.replace("10.96.0.10", &long));
    refused_soon(&SERVICE.replace("kind: Service", &format!("kind: {long}")));
    refused_soon(&SERVICE.replace("v1alpha1", &long));
    refused_soon(
        &SERVICE.replace("name: reviews", &format!("name: reviews\n  labels: {{a: {long}}}")),
    );
    refused_soon(
        &SERVICE
            .replace("name: reviews", &format!("name: reviews\n  labels:\n    ? {long}\n    : a")),
    );
    refused_soon(&SERVICE.replace("- port", &format!("- protocol: {long}\n    port")));
}

#[test]
fn no_control_character_gets_to_the_terminal() {
    let said = refused(&SERVICE.replace("vips", "\"\\e[31mred\\a\": 1\n  vips"));
    assert!(said[0].contains(r"\u{1b}[31mred\u{7}"), "{said:?}");
    let problems = parse("\u{1b}evil.yaml", "x: 1").expect_err("refused");
    assert!(!problems.to_string().contains('\u{1b}'));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        drop(parse("a.yaml", &text));
    }

    #[test]
    fn any_damage_is_read_or_refused(at in 0..SERVICE.len(), damage in "[\\[\\]{}:,&*!|>'\"%@`#\\-? \n\tx]{0,4}") {
        let mut text = SERVICE.to_owned();
        text.insert_str(at, &damage);
        drop(parse("a.yaml", &text));
    }
}
