//! The rules, as tables.

mod model;

use std::time::{Duration, Instant};

use mesh_api::model::Health::{Healthy, Unhealthy};
use mesh_api::model::{Health, Label, ObjectName};

use super::*;

const TTL: Duration = Duration::from_secs(15);

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn name(text: &str) -> ObjectName {
    format!("shop/{text}").parse().unwrap()
}

fn subject(text: &str, node: &str) -> Subject {
    Subject {
        name: name(text),
        service: name("web"),
        address: "127.0.0.2".parse().unwrap(),
        node: (!node.is_empty()).then(|| label(node)),
    }
}

fn found(status: Option<Health>, now: Instant) -> Finding {
    let reason = match status {
        Some(Healthy) => "fine",
        Some(Unhealthy) => "connect: Connection refused",
        None => "not decided",
    };
    Finding { status, reason: reason.to_owned(), since: now, latency_us: 7 }
}

/// One endpoint `e` on `node`, and a clock.
struct Bench {
    it: Aggregator,
    now: Instant,
}

impl Bench {
    fn new(node: &str) -> Self {
        let mut bench = Self { it: Aggregator::default(), now: Instant::now() };
        bench.it.put(subject("e", node), bench.now);
        bench
    }

    fn agent(&mut self, node: &str, full: bool, status: Option<Health>) -> bool {
        let finding = (name("e"), found(status, self.now));
        self.it.heard(&label(node), (full, TTL), [finding], [], self.now)
    }

    fn own(&mut self, status: Health) {
        assert!(!self.agent("n1", true, Some(status)));
    }

    fn control(&mut self, status: Option<Health>) {
        let finding = found(status, self.now);
        self.it.report(&Source::ControlPlane, &name("e"), finding, self.now);
    }

    fn pass(&mut self, seconds: u64) -> Vec<Label> {
        self.now += Duration::from_secs(seconds);
        self.it.expire(self.now)
    }

    fn view(&self) -> View<'_> {
        self.it.view(&name("e"), self.now).unwrap()
    }

    fn shown(&self) -> (Option<Health>, String, String) {
        let view = self.view();
        let source = view.source.map(ToString::to_string).unwrap_or_default();
        (view.status, source, view.reason.to_owned())
    }
}

#[test]
fn who_decides() {
    let (up, down) = (Some(Healthy), Some(Unhealthy));
    // Node of the endpoint; what its agent, another agent and the control plane say; what is
    // published, by whom, and how many say something else.
    let table: [(&str, _, _, _, _, &str, usize); 12] = [
        ("n1", up, None, None, up, "agent n1", 0),
        ("n1", down, None, None, down, "agent n1", 0),
        ("n1", up, down, None, up, "agent n1", 1),
        ("n1", up, None, down, up, "agent n1", 1),
        ("n1", down, up, up, down, "agent n1", 2),
        ("n1", up, up, up, up, "agent n1", 0),
        ("n1", None, None, down, down, "control-plane", 0),
        ("n1", None, up, down, down, "control-plane", 1),
        ("n1", None, down, None, None, "", 1),
        ("", None, None, up, up, "control-plane", 0),
        ("", down, None, None, None, "", 1),
        ("", down, down, up, up, "control-plane", 2),
    ];
    for (at, (node, own, other, control, status, by, conflicts)) in table.into_iter().enumerate() {
        let mut bench = Bench::new(node);
        for (agent, says) in [("n1", own), ("n2", other)] {
            bench.agent(agent, true, says);
        }
        bench.control(control);
        let shown = bench.shown();
        assert_eq!((shown.0, shown.1.as_str()), (status, by), "row {at}");
        assert_eq!(bench.view().conflicts.len(), conflicts, "row {at}");
        assert_eq!(bench.it.counts().conflicts, usize::from(conflicts > 0), "row {at}");
    }
}

#[test]
fn among_equals_unhealthy_wins() {
    let report = |source, status| judge::Report {
        source,
        finding: found(Some(status), Instant::now()),
        standing: Standing::Current,
    };
    let agent = || Source::Agent(label("n1"));
    for statuses in [[Healthy, Unhealthy], [Unhealthy, Healthy]] {
        let reports = statuses.map(|status| report(agent(), status));
        let verdict = judge::judge(Some(&label("n1")), &reports, None);
        assert_eq!(verdict.status, Some(Unhealthy));
    }
}

#[test]
fn when_an_agent_is_gone_its_last_word_stays_until_the_control_plane_knows() {
    let mut bench = Bench::new("n1");
    bench.own(Unhealthy);
    assert_eq!(bench.pass(14), []);
    assert!(bench.it.uncovered().next().is_none());
    assert_eq!(bench.pass(1), [label("n1")]);
    let last = "agent n1 gone; last: connect: Connection refused";
    assert_eq!(bench.shown(), (Some(Unhealthy), "agent n1".to_owned(), last.to_owned()));
    assert_eq!(bench.it.uncovered().count(), 1);
    // Not knowing is no decision.
    bench.control(None);
    assert_eq!(bench.shown().0, Some(Unhealthy));
    bench.control(Some(Healthy));
    assert_eq!(bench.shown(), (Some(Healthy), "control-plane".to_owned(), "fine".to_owned()));

    // A sign of life is not enough: nobody knows what came before it.
    assert!(bench.agent("n1", false, Some(Unhealthy)));
    assert_eq!(bench.shown().0, Some(Healthy));
    assert!(!bench.agent("n1", true, Some(Unhealthy)));
    assert_eq!(bench.shown().0, Some(Unhealthy));
    assert!(bench.it.uncovered().next().is_none());
}

#[test]
fn an_agent_that_is_back_counts_once_it_has_decided() {
    let mut bench = Bench::new("n1");
    bench.own(Healthy);
    assert_eq!(bench.it.uncovered().count(), 0);
    bench.pass(15);
    bench.control(Some(Unhealthy));
    let refused = "connect: Connection refused";
    let found = (Some(Unhealthy), "control-plane".to_owned(), refused.to_owned());
    assert_eq!(bench.shown(), found);
    // It is back and knows nothing yet, or not even what it is to check.
    let coverage = bench.it.coverage();
    assert!(!bench.agent("n1", true, None));
    assert_eq!(bench.shown(), found);
    bench.it.heard(&label("n1"), (true, TTL), [], [], bench.now);
    assert_eq!(bench.shown(), found);
    assert_eq!((bench.it.uncovered().count(), bench.it.coverage()), (1, coverage));
    // Even if the control plane stops, what the agent said before all this does not come back.
    bench.it.hand_over(&name("e"), bench.now);
    let last = format!("not checked by the control-plane any more; last: {refused}");
    assert_eq!(bench.shown(), (Some(Unhealthy), "control-plane".to_owned(), last));
    bench.control(Some(Unhealthy));
    assert_eq!(bench.shown(), found);
    // Now it knows.
    bench.own(Healthy);
    assert_eq!(bench.shown(), (Some(Healthy), "agent n1".to_owned(), "fine".to_owned()));
    assert_eq!(bench.it.uncovered().count(), 0);
    assert_ne!(bench.it.coverage(), coverage);
    // What the control plane found is the past.
    bench.it.hand_over(&name("e"), bench.now);
    assert_eq!(bench.pass(15), [label("n1")]);
    assert_eq!(bench.shown().0, Some(Healthy));
}

#[test]
fn an_agent_that_begins_anew_makes_nobody_forget() {
    let mut bench = Bench::new("n1");
    bench.own(Unhealthy);
    let last = "agent n1 has begun anew; last: connect: Connection refused";
    // It does not know yet; or it does not even know what it checks.
    assert!(!bench.agent("n1", true, None));
    assert_eq!(bench.shown(), (Some(Unhealthy), "agent n1".to_owned(), last.to_owned()));
    bench.own(Unhealthy);
    bench.it.heard(&label("n1"), (true, TTL), [], [], bench.now);
    assert_eq!(bench.shown().2, last);
    // It says itself that it has stopped to check: nothing is known any more.
    bench.it.heard(&label("n1"), (false, TTL), [], [name("e")], bench.now);
    assert_eq!(bench.shown().0, None);
}

#[test]
fn what_was_known_before_a_restart_counts_until_anybody_decides() {
    let mut bench = Bench::new("n1");
    for status in [Healthy, Unhealthy, Healthy] {
        bench.it.recall(&name("e"), status, bench.now);
    }
    assert_eq!(bench.shown().0, Some(Unhealthy));
    bench.agent("n1", true, None);
    assert_eq!(bench.shown().0, Some(Unhealthy));
    bench.own(Healthy);
    bench.it.recall(&name("e"), Unhealthy, bench.now);
    assert_eq!(bench.shown().0, Some(Healthy));
    bench.it.heard(&label("n1"), (false, TTL), [], [name("e")], bench.now);
    assert_eq!(bench.shown().0, None, "it does not come back");
}

#[test]
fn an_endpoint_that_changes() {
    let mut bench = Bench::new("n1");
    bench.own(Unhealthy);
    // Its agent may have said something about it when nobody asked.
    bench.it.put(subject("f", "n1"), bench.now);
    assert!(bench.agent("n1", false, Some(Unhealthy)));
    assert!(!bench.agent("n1", true, Some(Unhealthy)));
    // On another node: what is known stays until that node's agent knows.
    bench.it.put(subject("e", "n2"), bench.now);
    assert_eq!(bench.shown().0, Some(Unhealthy));
    bench.agent("n2", true, Some(Healthy));
    assert_eq!(bench.shown().0, Some(Healthy));
    // At another address: nothing is known.
    let moved = Subject { address: "127.0.0.3".parse().unwrap(), ..subject("e", "n2") };
    bench.it.put(moved, bench.now);
    assert_eq!(bench.shown().0, None);
    bench.agent("n2", true, Some(Healthy));
    bench.it.remove(&name("e"));
    assert_eq!(bench.it.view(&name("e"), bench.now), None);
    bench.it.remove(&name("f"));
    assert_eq!(bench.it.counts(), Counts::default());
    // Only of what is checked anything is kept.
    bench.agent("n2", false, Some(Healthy));
    assert_eq!(bench.it.views(bench.now).count(), 0);
}

#[test]
fn an_endpoint_that_comes_and_goes_is_held_and_longer_each_time() {
    let mut bench = Bench::new("n1");
    bench.own(Unhealthy);
    let flap = |bench: &mut Bench| {
        for _ in 0..3 {
            bench.pass(1);
            bench.own(Healthy);
            bench.pass(1);
            bench.own(Unhealthy);
        }
    };
    // Seconds that it must be healthy.
    for needed in [10, 20, 40, 80, 160, 300, 300] {
        flap(&mut bench);
        let (status, source, reason) = bench.shown();
        assert_eq!((status, source.as_str()), (Some(Unhealthy), "agent n1"));
        assert!(reason.contains(&format!("healthy for {needed}s")), "{reason}");
        assert_eq!(bench.view().held, Some(Duration::from_secs(needed)));
        assert_eq!(bench.it.counts().held, 1);
        // Shortly before the end it fails once more, and it begins again.
        bench.own(Healthy);
        for _ in 0..needed - 1 {
            bench.pass(1);
            bench.own(Healthy);
        }
        assert_eq!(bench.view().held, Some(Duration::from_secs(1)));
        bench.own(Unhealthy);
        bench.pass(5);
        bench.own(Healthy);
        let healthy_since = bench.now;
        assert_eq!(bench.it.due(), Some(healthy_since + TTL.min(Duration::from_secs(needed))));
        for _ in 0..needed {
            assert_eq!(bench.shown().0, Some(Unhealthy));
            bench.own(Healthy);
            bench.pass(1);
        }
        assert_eq!(bench.shown(), (Some(Healthy), "agent n1".to_owned(), "fine".to_owned()));
        assert_eq!(bench.it.counts().held, 0);
        bench.own(Unhealthy);
    }
    // After a calm it is as new.
    bench.own(Healthy);
    for _ in 0..CALM.as_secs() {
        bench.pass(1);
        bench.own(Healthy);
    }
    assert_eq!(bench.shown().0, Some(Healthy));
    bench.own(Unhealthy);
    flap(&mut bench);
    assert!(bench.shown().2.contains("healthy for 10s"), "{}", bench.shown().2);
}

#[test]
fn a_status_is_as_old_as_its_publication_at_most() {
    let mut bench = Bench::new("n1");
    let begin = bench.now;
    let says = |bench: &mut Bench, source: &Source, status, since| {
        let finding = (name("e"), found(Some(status), since));
        match source {
            Source::Agent(node) => {
                bench.it.heard(node, (true, TTL), [finding], [], bench.now);
            }
            Source::ControlPlane => bench.it.report(source, &finding.0, finding.1, bench.now),
        }
    };
    let agent = Source::Agent(label("n1"));
    let age = |bench: &Bench| bench.view().age.as_secs();
    bench.pass(1_000);
    // The first one is as old as its agent says.
    says(&mut bench, &agent, Healthy, begin);
    assert_eq!(age(&bench), 1_000);
    let failed = bench.now;
    bench.pass(3);
    says(&mut bench, &agent, Unhealthy, failed);
    assert_eq!(age(&bench), 3);
    // Another has found something else all along.
    bench.pass(15);
    says(&mut bench, &Source::ControlPlane, Healthy, begin);
    assert_eq!((bench.shown().0, age(&bench)), (Some(Healthy), 18));

    // Held: unhealthy from when it is, and healthy from when it is no longer.
    for _ in 0..3 {
        bench.pass(1);
        bench.own(Unhealthy);
        bench.pass(1);
        bench.own(Healthy);
    }
    assert!(bench.view().held.is_some());
    let healthy_since = bench.now;
    for _ in 0..9 {
        bench.pass(1);
        says(&mut bench, &agent, Healthy, healthy_since);
    }
    assert_eq!(bench.shown().0, Some(Unhealthy));
    bench.pass(1);
    assert_eq!((bench.shown().0, age(&bench)), (Some(Healthy), 0));
}

#[test]
fn five_changes_are_not_too_many() {
    let mut bench = Bench::new("n1");
    for status in [Healthy, Unhealthy, Healthy, Unhealthy, Healthy, Unhealthy] {
        bench.own(status);
        assert_eq!(bench.shown().0, Some(status));
    }
    assert_eq!(bench.view().changes, 5);
    bench.pass(60);
    bench.own(Healthy);
    assert_eq!((bench.shown().0, bench.view().held), (Some(Healthy), None));
}

#[test]
fn of_many_that_report_the_two_that_count_are_kept() {
    let mut bench = Bench::new("n1");
    for at in 0..20 {
        bench.agent(&format!("other-{at}"), true, Some(Unhealthy));
    }
    bench.own(Healthy);
    bench.control(Some(Unhealthy));
    assert_eq!(bench.shown().0, Some(Healthy));
    assert_eq!(bench.view().conflicts.len(), MAX_REPORTERS - 1);
}
