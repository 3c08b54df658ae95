//! Any course of events against a model that remembers everything and works out the published
//! status from scratch.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 2] = ["a", "b"];
const NODES: [&str; 3] = ["", "n1", "n2"];

#[derive(Clone, Debug)]
enum Event {
    Put {
        at: usize,
        node: usize,
        address: u8,
    },
    Remove {
        at: usize,
    },
    /// Of which agent, whether full, what it says about each endpoint (`None`: nothing), and what
    /// it has stopped to check.
    Heard {
        node: usize,
        full: bool,
        #[expect(clippy::option_option, reason = "nothing, or a finding that may know nothing")]
        says: [Option<Option<Health>>; 2],
        gone: Option<usize>,
    },
    Control {
        at: usize,
        says: Option<Health>,
    },
    /// Whether what it found last stays.
    Stop {
        at: usize,
        kept: bool,
    },
    Pass {
        ms: u64,
    },
}

fn health() -> impl Strategy<Value = Option<Health>> {
    prop_oneof![4 => Just(Some(Healthy)), 4 => Just(Some(Unhealthy)), 1 => Just(None)]
}

fn event() -> impl Strategy<Value = Event> {
    let says = || prop::option::weighted(0.8, health());
    prop_oneof![
        2 => (0..2_usize, 0..3_usize, 0..2_u8)
            .prop_map(|(at, node, address)| Event::Put { at, node, address }),
        1 => (0..2_usize).prop_map(|at| Event::Remove { at }),
        20 => (1..3_usize, any::<bool>(), says(), says(), prop::option::weighted(0.05, 0..2_usize))
            .prop_map(|(node, full, a, b, gone)| Event::Heard { node, full, says: [a, b], gone }),
        5 => (0..2_usize, health()).prop_map(|(at, says)| Event::Control { at, says }),
        2 => (0..2_usize, any::<bool>()).prop_map(|(at, kept)| Event::Stop { at, kept }),
        8 => prop_oneof![1..2_000_u64, 5_000..40_000_u64].prop_map(|ms| Event::Pass { ms }),
    ]
}

/// What one source has said last about an endpoint: its status, and whether it still says so.
type Said = BTreeMap<String, (Option<Health>, bool)>;

struct Known {
    node: String,
    address: u8,
    said: Said,
    recalled: Option<Health>,
    /// Everything that the reports came to, with the time.
    past: Vec<(Instant, Option<Health>)>,
}

#[derive(Default)]
struct Model {
    known: BTreeMap<usize, Known>,
    /// When each agent is gone.
    agents: BTreeMap<String, Instant>,
}

impl Known {
    fn counts(&self, source: &str) -> bool {
        source == "control" || (!source.is_empty() && source == self.node)
    }

    fn say(&mut self, source: &str, status: Option<Health>) {
        let before = self.said.get(source).copied();
        let now = match (status, before) {
            (None, Some((Some(before), _))) => (Some(before), false),
            (status, _) => (status, true),
        };
        self.said.insert(source.to_owned(), now);
    }

    fn doubt(&mut self, source: &str) {
        let keep = self.counts(source) && self.said.get(source).is_some_and(|it| it.0.is_some());
        if keep && let Some(said) = self.said.get_mut(source) {
            said.1 = false;
        } else {
            self.said.remove(source);
        }
    }

    /// Own agent, control plane, last known (unhealthy first), before.
    fn raw(&self) -> Option<Health> {
        let says = |source: &str| {
            let said = self.said.get(source).filter(|_| self.counts(source));
            said.copied().and_then(|(status, current)| Some((status?, current)))
        };
        let both = [says(&self.node), says("control")];
        let current = both.iter().flatten().find(|it| it.1).map(|it| it.0);
        current.or_else(|| both.iter().flatten().map(|it| it.0).max()).or(self.recalled)
    }

    fn record(&mut self, now: Instant) {
        let current = |(source, it): (&String, &(Option<Health>, bool))| {
            it.0.is_some() && it.1 && self.counts(source)
        };
        if self.said.iter().any(current) {
            self.said.retain(|_, it| it.1);
        }
        let raw = self.raw();
        let decided = self.said.iter().any(|(source, it)| self.counts(source) && it.0.is_some());
        if decided {
            self.recalled = None;
        }
        if self.past.last().map_or(raw.is_some(), |last| last.1 != raw) {
            self.past.push((now, raw));
        }
    }

    /// Walks through the whole past.
    fn published(&self, now: Instant) -> Option<Health> {
        let mut last = None;
        let mut changes: Vec<Instant> = Vec::new();
        let (mut holds, mut hold) = (0_u32, None::<(Duration, Option<Instant>)>);
        for (at, raw) in &self.past {
            if hold.is_some_and(|(needed, since)| since.is_some_and(|since| since + needed <= *at))
            {
                hold = None;
            }
            if let Some(status) = raw {
                if last.is_some_and(|last| last != *status) {
                    if changes.last().is_some_and(|last| *at - *last >= CALM) {
                        holds = 0;
                    }
                    changes.push(*at);
                    let recent = changes.iter().filter(|it| *at - **it < WINDOW).count();
                    if hold.is_none() && recent >= MOST_CHANGES {
                        let needed = FIRST_HOLD * 2_u32.pow(holds.min(10));
                        hold = Some((needed.min(LONGEST_HOLD), None));
                        holds += 1;
                    }
                }
                last = Some(*status);
            }
            hold = hold.map(|(needed, _)| (needed, (*raw == Some(Healthy)).then_some(*at)));
        }
        let lasts = hold.is_some_and(|(needed, since)| since.is_none_or(|it| it + needed > now));
        let raw = self.past.last().and_then(|last| last.1);
        if lasts { raw.map(|_| Unhealthy) } else { raw }
    }
}

impl Model {
    fn apply(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Put { at, node, address } => {
                let node = NODES[*node].to_owned();
                let known = self.known.remove(at).filter(|known| known.address == *address);
                let mut known = known.unwrap_or_else(|| Known {
                    node: node.clone(),
                    address: *address,
                    said: Said::new(),
                    recalled: None,
                    past: Vec::new(),
                });
                if known.node != node {
                    known.recalled = known.past.last().and_then(|last| last.1);
                    known.node = node;
                    let said = std::mem::take(&mut known.said);
                    known.said = said.into_iter().filter(|(it, _)| known.counts(it)).collect();
                }
                self.known.insert(*at, known);
            }
            Event::Remove { at } => drop(self.known.remove(at)),
            Event::Heard { node, full, says, gone } => {
                let node = NODES[*node];
                if !full && !self.agents.contains_key(node) {
                    return;
                }
                self.agents.insert(node.to_owned(), now + TTL);
                for (at, known) in &mut self.known {
                    match says[*at] {
                        Some(status) => known.say(node, status),
                        None if *full => known.doubt(node),
                        None => {}
                    }
                    if *gone == Some(*at) {
                        // Between the two something may have been decided.
                        known.record(now);
                        known.said.remove(node);
                    }
                }
            }
            Event::Control { at, says } => {
                if let Some(known) = self.known.get_mut(at) {
                    known.say("control", *says);
                }
            }
            Event::Stop { at, kept } => {
                if let Some(known) = self.known.get_mut(at) {
                    if *kept {
                        known.doubt("control");
                    } else {
                        known.said.remove("control");
                    }
                }
            }
            Event::Pass { .. } => {
                let gone: Vec<String> =
                    self.agents.iter().filter(|it| *it.1 <= now).map(|it| it.0.clone()).collect();
                for node in gone {
                    self.agents.remove(&node);
                    self.known.values_mut().for_each(|known| known.doubt(&node));
                }
            }
        }
        self.known.values_mut().for_each(|known| known.record(now));
    }
}

fn apply(it: &mut Aggregator, event: &Event, now: Instant) {
    match event {
        Event::Put { at, node, address } => {
            let address = [127, 0, 0, *address].into();
            it.put(Subject { address, ..subject(NAMES[*at], NODES[*node]) }, now);
        }
        Event::Remove { at } => it.remove(&name(NAMES[*at])),
        Event::Heard { node, full, says, gone } => {
            let said = says.iter().enumerate();
            let said = said.filter_map(|(at, says)| Some((name(NAMES[at]), found((*says)?, now))));
            let gone = gone.map(|at| name(NAMES[at]));
            it.heard(&label(NODES[*node]), (*full, TTL), said, gone, now);
        }
        Event::Control { at, says } => {
            it.report(&Source::ControlPlane, &name(NAMES[*at]), found(*says, now), now);
        }
        Event::Stop { at, kept: true } => it.hand_over(&name(NAMES[*at]), now),
        Event::Stop { at, kept: false } => {
            it.withdraw(&Source::ControlPlane, &name(NAMES[*at]), now);
        }
        Event::Pass { .. } => drop(it.expire(now)),
    }
}

proptest! {
    #[test]
    fn what_is_published_is_what_the_rules_say_from_scratch(
        events in prop::collection::vec(event(), 1..120),
    ) {
        let (mut it, mut model) = (Aggregator::default(), Model::default());
        let mut now = Instant::now();
        // What somebody knows who follows the changes.
        let mut followed: BTreeMap<ObjectName, Option<Health>> = BTreeMap::new();
        let mut told: BTreeMap<ObjectName, Option<Health>> = BTreeMap::new();
        let (mut checked, mut coverage) = (Vec::new(), it.coverage());
        for event in events {
            if let Event::Pass { ms } = &event {
                now += Duration::from_millis(*ms);
            }
            apply(&mut it, &event, now);
            model.apply(&event, now);
            // Agents and holds end when they end, not at the next event.
            it.expire(now);
            for (at, text) in NAMES.iter().enumerate() {
                let (endpoint, known) = (name(text), model.known.get(&at));
                let status = it.view(&endpoint, now).map(|view| view.status);
                prop_assert_eq!(status, known.map(|known| known.published(now)), "{:?}", event);
            }
            // Whoever is not covered is checked by the control plane, and it learns of it.
            let uncovered: Vec<ObjectName> = it.uncovered().map(|it| it.name.clone()).collect();
            let wanted = model.known.iter().filter(|(_, known)| {
                known.said.get(&known.node).is_none_or(|it| known.node.is_empty() || it.0.is_none() || !it.1)
            });
            let wanted: Vec<ObjectName> = wanted.map(|(at, _)| name(NAMES[*at])).collect();
            prop_assert_eq!(&uncovered, &wanted, "{:?}", event);
            prop_assert!(uncovered == checked || it.coverage() != coverage, "{:?}", event);
            (checked, coverage) = (uncovered, it.coverage());
            // No change is lost, and each transition begins where the one before has ended.
            let changed = it.take_changed();
            for transition in it.take_transitions() {
                prop_assert_ne!(transition.from, transition.to);
                let before = told.insert(transition.endpoint.clone(), transition.to);
                let moved = it.view(&transition.endpoint, now).is_none() || changed.contains(&transition.endpoint);
                prop_assert!(moved);
                prop_assert!(before.flatten() == transition.from || transition.from.is_none());
            }
            for endpoint in &changed {
                match it.view(endpoint, now) {
                    Some(view) => drop(followed.insert(endpoint.clone(), view.status)),
                    None => drop(followed.remove(endpoint)),
                }
            }
            let all: BTreeMap<_, _> = it.views(now).map(|view| (view.subject.name.clone(), view.status)).collect();
            prop_assert_eq!(&followed, &all);
            // Bounded by the endpoints.
            let known = model.known.len();
            prop_assert!(it.holds.len() <= known);
            prop_assert!(it.agents.values().filter(|agent| agent.until.is_none()).count() <= known * MAX_REPORTERS);
            let deadlines: BTreeMap<_, _> = it.deadlines.iter().map(|(until, node)| (node.to_string(), *until)).collect();
            prop_assert_eq!(&deadlines, &model.agents);
            prop_assert_eq!(it.agents(), it.agents.values().filter(|agent| agent.until.is_some()).count());
            let held: usize = it.agents.values().map(|agent| agent.endpoints.len()).sum();
            let reports: usize = it.endpoints.values().map(|entry| entry.sources().filter(|source| **source != Source::ControlPlane).count()).sum();
            prop_assert_eq!(held, reports);
            let counts = it.counts();
            prop_assert_eq!(counts.healthy + counts.unhealthy + counts.unknown, known);
        }
    }
}
