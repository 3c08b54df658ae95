//! Answers of the control plane, as people and scripts see them.

use std::time::Instant;

use mesh_api::wire::health_event::Event;

use super::watch::{Change, View};
use super::*;

fn seen(name: &str, status: wire::HealthStatus) -> wire::EndpointHealthView {
    wire::EndpointHealthView {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        service: "cart".to_owned(),
        address: "10.0.0.1".to_owned(),
        node: "a".to_owned(),
        status: status.into(),
        since_ms: 310_000,
        source: "agent a".to_owned(),
        latency_us: 1234,
        ..wire::EndpointHealthView::default()
    }
}

fn unhealthy(name: &str) -> wire::EndpointHealthView {
    wire::EndpointHealthView {
        reason: "connect: Connection refused".to_owned(),
        since_ms: 12_000,
        latency_us: 0,
        ..seen(name, wire::HealthStatus::Unhealthy)
    }
}

fn guard(endpoint: &str, state: wire::GuardState) -> wire::GuardReport {
    wire::GuardReport {
        namespace: "shop".to_owned(),
        service: "cart".to_owned(),
        port: 80,
        endpoint: endpoint.to_owned(),
        state: state.into(),
        cause: "5 failed connects within 10s".to_owned(),
        since_ms: 3000,
        remaining_ms: 27_000,
    }
}

fn node(name: &str, guards: Vec<wire::GuardReport>) -> wire::NodeGuards {
    wire::NodeGuards { node: name.to_owned(), guards, omitted: 0 }
}

fn answer() -> wire::ListHealthResponse {
    let conflicts = vec![wire::HealthConflict {
        source: "agent b".to_owned(),
        status: wire::HealthStatus::Healthy.into(),
        reason: String::new(),
        since_ms: 5000,
    }];
    let held =
        wire::EndpointHealthView { held_ms: 20_000, changes: 9, conflicts, ..unhealthy("two") };
    let unknown = wire::EndpointHealthView {
        namespace: "shop".to_owned(),
        name: "three".to_owned(),
        service: "cart".to_owned(),
        ..wire::EndpointHealthView::default()
    };
    wire::ListHealthResponse {
        endpoints: vec![held, unknown, seen("one", wire::HealthStatus::Healthy)],
        guards: vec![
            wire::NodeGuards {
                omitted: 7,
                ..node("b", vec![guard("two", wire::GuardState::Ejected)])
            },
            node("a", vec![guard("", wire::GuardState::Open)]),
        ],
    }
}

#[test]
fn endpoints_and_guards_are_tables_sorted_by_name() {
    let found = Found::new(&Scope::default(), answer());
    assert_eq!(
        found.table(false, Style::PLAIN),
        "\
NAMESPACE   ENDPOINT   SERVICE   STATUS      SINCE   SOURCE    LATENCY   REASON
shop        one        cart      Healthy     5m10s   agent a   1.2ms     -
shop        three      cart      Unknown     -       -         -         -
shop        two        cart      Unhealthy   12s     agent a   -         connect: Connection refused

NODE   NAMESPACE   SERVICE   PORT   ENDPOINT   STATE     SINCE   REMAINING   CAUSE
a      shop        cart      80     -          Open      3s      27s         5 failed connects within 10s
b      shop        cart      80     two        Ejected   3s      27s         5 failed connects within 10s
"
    );
    assert_eq!(
        found.remarks(&Scope::default()),
        ["node b has 7 more breakers and ejections, not listed"]
    );
}

#[test]
fn wide_says_where_it_is_and_who_disagrees() {
    let text = Found::new(&Scope::default(), answer()).table(true, Style::PLAIN);
    let heading = "LATENCY   ADDRESS    NODE   CHANGES   CONFLICTS                 REASON\n";
    assert!(text.contains(heading), "{text}");
    let row = "-         10.0.0.1   a      9         agent b: Healthy for 5s   connect: ";
    assert!(text.contains(row), "{text}");
}

#[test]
fn scripts_get_states_by_name_and_guards_with_their_node() {
    let found = Found::new(&Scope::default(), answer());
    let json = serde_json::to_value(&found).expect("JSON");
    let two = &json["endpoints"][2];
    assert_eq!((&two["name"], &two["status"]), (&"two".into(), &"Unhealthy".into()));
    assert_eq!((&two["sinceMs"], &two["heldMs"]), (&12_000.into(), &20_000.into()));
    assert_eq!(two["conflicts"][0]["source"], "agent b");
    assert_eq!(
        (&json["guards"][1]["node"], &json["guards"][1]["state"]),
        (&"b".into(), &"Ejected".into())
    );
    assert_eq!(json["guards"][0]["remainingMs"], 27_000);
    assert_eq!(json["omittedGuards"][0]["guards"], 7);
}

#[test]
fn nothing_to_show_is_said() {
    let scope = Scope { namespace: "shop".to_owned(), ..Scope::default() };
    let none = Found::new(&scope, wire::ListHealthResponse::default());
    assert_eq!(none.table(false, Style::PLAIN), "");
    assert_eq!(
        none.remarks(&scope),
        [
            "no endpoint in namespace shop is checked: a ServiceConfig with a healthCheck asks for it"
        ]
    );
    let scope = Scope { service: "cart".to_owned(), unhealthy: true, ..scope };
    assert_eq!(none.remarks(&scope), ["no endpoint of service shop/cart is unhealthy"]);
}

#[test]
fn guards_of_other_services_are_left_out() {
    let scope =
        Scope { namespace: "shop".to_owned(), service: "till".to_owned(), unhealthy: false };
    assert_eq!(Found::new(&scope, answer()).guards, []);
    let scope = Scope { namespace: "other".to_owned(), ..Scope::default() };
    assert_eq!(Found::new(&scope, answer()).guards, []);
}

#[test]
fn a_service_is_named_in_its_spellings_and_nothing_else_is() {
    for word in ["cart", "svc/cart", "service/cart"] {
        assert_eq!(service_name(word.to_owned()).expect("a service"), "cart");
    }
    for word in ["ep/cart", "svc/", "Cart", ""] {
        assert_eq!(service_name(word.to_owned()).expect_err("refused").exit_code(), 2, "{word}");
    }
}

#[test]
fn latencies_have_a_unit_that_fits() {
    for (us, text) in
        [(0, ""), (850, "850µs"), (1234, "1.2ms"), (123_456, "123ms"), (1_250_000, "1.2s")]
    {
        assert_eq!(latency(us), text);
    }
}

/// What the event shows, in a line each.
fn on(view: &mut View<'_>, event: Event) -> Vec<String> {
    let changes = view.on(wire::HealthEvent { event: Some(event) }, Instant::now());
    changes.iter().map(line).collect()
}

fn line(change: &Change) -> String {
    // 2024-02-29T00:05:10Z
    let row = change.row(1_709_165_110_000, false);
    let cells =
        row.into_iter().map(|(text, _)| if text.is_empty() { "-".to_owned() } else { text });
    cells.collect::<Vec<_>>().join(" ")
}

/// Nothing has come within the grace.
fn grace(view: &mut View<'_>) -> Vec<String> {
    view.end_grace().iter().map(line).collect()
}

fn removed(name: &str) -> Event {
    Event::Removed(reference(Kind::Endpoint, "shop", name))
}

#[test]
fn a_watch_shows_each_change_once_with_its_time() {
    let scope = Scope::default();
    let mut view = View::new(&scope);
    view.connected();
    let healthy = || Event::Put(seen("one", wire::HealthStatus::Healthy));
    assert_eq!(on(&mut view, healthy()), [""; 0]);
    assert_eq!(
        on(&mut view, Event::Synced(true)),
        ["2024-02-29T00:00:00Z shop cart one Healthy agent a -"]
    );
    // Only its times have changed.
    assert_eq!(on(&mut view, healthy()), [""; 0]);
    assert_eq!(
        on(&mut view, Event::Put(unhealthy("one"))),
        ["2024-02-29T00:04:58Z shop cart one Unhealthy agent a connect: Connection refused"]
    );
    let other = wire::EndpointHealthView { reason: "timeout".to_owned(), ..unhealthy("one") };
    assert_eq!(
        on(&mut view, Event::Put(other)),
        ["2024-02-29T00:05:10Z shop cart one Unhealthy agent a timeout"]
    );
    assert_eq!(on(&mut view, removed("one")), ["2024-02-29T00:05:10Z shop cart one Removed - -"]);
    assert_eq!(on(&mut view, removed("one")), [""; 0]);
}

#[test]
fn a_watch_shows_breakers_and_ejections_until_they_are_over() {
    let scope = Scope::default();
    let mut view = View::new(&scope);
    let open = || vec![guard("", wire::GuardState::Open), guard("two", wire::GuardState::Ejected)];
    assert_eq!(
        on(&mut view, Event::Guards(node("a", open()))),
        [
            "2024-02-29T00:05:07Z shop cart:80 - Open node a 5 failed connects within 10s",
            "2024-02-29T00:05:07Z shop cart:80 two Ejected node a 5 failed connects within 10s",
        ]
    );
    assert_eq!(on(&mut view, Event::Guards(node("a", open()))), [""; 0]);
    assert_eq!(on(&mut view, Event::Guards(node("b", vec![]))), [""; 0]);
    let half = vec![guard("", wire::GuardState::HalfOpen)];
    assert_eq!(
        on(&mut view, Event::Guards(node("a", half))),
        [
            "2024-02-29T00:05:10Z shop cart:80 two Back node a -",
            "2024-02-29T00:05:07Z shop cart:80 - HalfOpen node a 5 failed connects within 10s",
        ]
    );
    assert_eq!(
        on(&mut view, Event::Guards(node("a", vec![]))),
        ["2024-02-29T00:05:10Z shop cart:80 - Closed node a -"]
    );
}

#[test]
fn after_a_lost_connection_only_differences_are_shown() {
    let scope = Scope::default();
    let mut view = View::new(&scope);
    view.connected();
    on(&mut view, Event::Put(seen("one", wire::HealthStatus::Healthy)));
    on(&mut view, Event::Put(seen("two", wire::HealthStatus::Healthy)));
    on(&mut view, Event::Guards(node("a", vec![guard("", wire::GuardState::Open)])));
    assert_eq!(on(&mut view, Event::Synced(true)).len(), 3);

    view.connected();
    assert_eq!(on(&mut view, Event::Put(unhealthy("two"))), [""; 0]);
    assert_eq!(
        on(&mut view, Event::Synced(true)),
        [
            "2024-02-29T00:04:58Z shop cart two Unhealthy agent a connect: Connection refused",
            "2024-02-29T00:05:10Z shop cart one Removed - -",
        ]
    );
}

#[test]
fn after_a_lost_connection_nodes_have_time_to_report() {
    let scope = Scope::default();
    let mut view = View::new(&scope);
    let guards = |name| Event::Guards(node(name, vec![guard("", wire::GuardState::Open)]));
    for name in ["a", "b", "c"] {
        assert_eq!(on(&mut view, guards(name)).len(), 1);
    }
    view.connected();
    on(&mut view, guards("a"));
    assert_eq!(view.grace_ends(), None);
    assert_eq!(on(&mut view, Event::Synced(true)), [""; 0]);
    assert!(view.grace_ends().is_some_and(|end| end > Instant::now()));
    assert_eq!(on(&mut view, guards("b")), [""; 0]);
    assert_eq!(grace(&mut view), ["2024-02-29T00:05:10Z shop cart:80 - Closed node c -"]);
    assert_eq!(view.grace_ends(), None);
}

#[test]
fn not_to_know_is_no_change_for_a_while_after_a_lost_connection() {
    let scope = Scope::default();
    let mut view = View::new(&scope);
    let put = |name, status| Event::Put(seen(name, status));
    let (healthy, unknown) = (wire::HealthStatus::Healthy, wire::HealthStatus::Unspecified);
    view.connected();
    on(&mut view, put("one", healthy));
    on(&mut view, put("two", healthy));
    on(&mut view, put("three", unknown));
    assert_eq!(on(&mut view, Event::Synced(true)).len(), 3);
    view.connected();
    for name in ["one", "two", "three"] {
        on(&mut view, put(name, unknown));
    }
    assert_eq!(on(&mut view, Event::Synced(true)), [""; 0]);
    // One is known again in time, the other is not.
    assert_eq!(on(&mut view, put("one", unknown)), [""; 0]);
    assert_eq!(on(&mut view, put("one", healthy)), [""; 0]);
    let lines = grace(&mut view);
    assert!(matches!(&lines[..], [line] if line.contains("cart two Unknown")), "{lines:?}");
    // Later it is a change at once, and so is its end.
    for (status, word) in [(unknown, "Unknown"), (healthy, "Healthy")] {
        let lines = on(&mut view, put("one", status));
        assert!(matches!(&lines[..], [line] if line.contains(word)), "{lines:?}");
    }
}

#[test]
fn a_watch_of_the_unhealthy_shows_them_until_they_are_healthy() {
    let scope = Scope { unhealthy: true, ..Scope::default() };
    let mut view = View::new(&scope);
    let healthy = || Event::Put(seen("one", wire::HealthStatus::Healthy));
    assert_eq!(on(&mut view, healthy()), [""; 0]);
    assert_eq!(on(&mut view, Event::Put(unhealthy("one"))).len(), 1);
    assert_eq!(on(&mut view, healthy()), ["2024-02-29T00:00:00Z shop cart one Healthy agent a -"]);
    assert_eq!(on(&mut view, healthy()), [""; 0]);
    assert_eq!(on(&mut view, removed("one")), [""; 0]);
}

#[test]
fn a_line_of_json_has_the_event_and_what_it_is_about() {
    let change = Change::Health(unhealthy("one").into());
    let json = serde_json::to_value(change.json(1_709_165_110_000)).expect("JSON");
    assert_eq!((&json["time"], &json["event"]), (&"2024-02-29T00:04:58Z".into(), &"HEALTH".into()));
    assert_eq!(json["endpoint"]["status"], "Unhealthy");
    assert!(json.get("guard").is_none());
}
