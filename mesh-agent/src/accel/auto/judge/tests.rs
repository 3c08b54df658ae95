//! When it is granted, when withdrawn, and for how long.

use proptest::prelude::*;

use super::*;

const KEY: AutoKey = AutoKey { cgroup: 7, service: ServiceIndex { index: 1 }, pad: 0 };
const TEN: Duration = Duration::from_secs(10);
const GOOD: Evidence = Evidence { chatty: 3, ..NOTHING };
const BLOCKS: Evidence = Evidence { blocking_clients: 1, ..GOOD };
const NOTHING: Evidence = Evidence {
    blocking_clients: 0,
    blocking_servers: 0,
    upper_layer: 0,
    unknown: 0,
    unsure: 0,
    chatty: 0,
    bulk: 0,
    redirected: 0,
    left: 0,
    short_lived: false,
    looked: true,
    rotation: 1,
};

struct Looks {
    judge: Judge,
    now: Duration,
}

impl Looks {
    fn new() -> Self {
        Self { judge: Judge::new(Settings::every(TEN)), now: Duration::ZERO }
    }

    fn look(&mut self, evidence: Option<Evidence>) -> Vec<Step> {
        self.now += TEN;
        let clients = evidence.into_iter().map(|evidence| (KEY, evidence)).collect();
        let weighed = Weighed { clients, ..Weighed::default() };
        self.judge.look(self.now, &[KEY.service].into(), &weighed)
    }

    /// How many good looks it takes.
    fn grant(&mut self) -> usize {
        let grant = [Step::Grant(KEY)];
        1 + (0..1000).take_while(|_| self.look(Some(GOOD)) != grant).count()
    }
}

#[test]
fn whoever_is_not_granted_has_a_reason() {
    let mut looks = Looks::new();
    let why = |looks: &mut Looks, evidence| {
        looks.look(evidence);
        looks.judge.not_granted()
    };
    assert_eq!(why(&mut looks, Some(NOTHING)), [(Why::NotChatty, 1)].into());
    assert_eq!(why(&mut looks, Some(GOOD)), [(Why::Looking, 1)].into());
    assert_eq!(why(&mut looks, Some(GOOD)), [].into());
    let blocks = Why::Sign(Cause::BlockingClient);
    assert_eq!(why(&mut looks, Some(BLOCKS)), [(blocks, 1)].into());
    assert_eq!(why(&mut looks, Some(GOOD)), [(Why::Paused, 1)].into());
    assert_eq!(why(&mut looks, None), [].into());
    // Those who could not be looked at, or not be written down.
    assert_eq!(why(&mut looks, Some(GOOD)), [(Why::Paused, 1)].into());
    looks.judge.blind(looks.now);
    assert_eq!(looks.judge.not_granted(), [(Why::Sign(Cause::Blind), 1)].into());
    looks.grant();
    looks.judge.take_back(looks.now, KEY, Cause::Blind);
    assert_eq!(looks.judge.not_granted(), [(Why::Sign(Cause::Blind), 1)].into());
    // A service whose clients nobody finds.
    let weighed = Weighed { unclaimed: [KEY.service].into(), ..Weighed::default() };
    looks.judge.look(looks.now, &[KEY.service].into(), &weighed);
    assert_eq!(looks.judge.not_granted(), [(Why::Sign(Cause::Unknown), 1)].into());
}

#[test]
fn what_was_seen_of_backends_that_have_gone_does_not_count() {
    let mut looks = Looks::new();
    assert_eq!(looks.look(Some(GOOD)), []);
    let service = KEY.service;
    let weighed =
        Weighed { clients: [(KEY, GOOD)].into(), renewed: [service].into(), ..Weighed::default() };
    assert_eq!(looks.judge.look(looks.now, &[service].into(), &weighed), []);
    assert_eq!(looks.look(Some(GOOD)), [Step::Grant(KEY)]);
}

#[test]
fn two_good_looks_grant_and_one_bad_withdraws() {
    let mut looks = Looks::new();
    assert_eq!(looks.grant(), 2);
    assert_eq!(looks.look(Some(GOOD)), []);
    assert_eq!(looks.look(Some(NOTHING)), []);
    let withdraw = Step::Withdraw(KEY, Cause::BlockingClient);
    assert_eq!(looks.look(Some(BLOCKS)), [withdraw]);
    assert_eq!(looks.judge.granted().count(), 0);
}

#[test]
fn a_bad_look_in_between_begins_anew() {
    let mut looks = Looks::new();
    assert_eq!(looks.look(Some(GOOD)), []);
    assert_eq!(looks.look(Some(NOTHING)), []);
    assert_eq!(looks.look(Some(GOOD)), []);
    assert_eq!(looks.look(None), []);
    assert_eq!(looks.grant(), 2);
}

#[test]
fn each_failure_is_followed_by_a_longer_pause() {
    let mut looks = Looks::new();
    looks.grant();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        looks.look(Some(BLOCKS));
        pauses.push(looks.grant() - 1);
    }
    // Minutes, in looks; then an hour each time.
    assert_eq!(pauses, [6, 12, 24, 48, 96, 192, 360, 360]);
}

#[test]
fn what_went_well_for_long_was_no_mistake() {
    let mut looks = Looks::new();
    looks.grant();
    looks.look(Some(BLOCKS));
    looks.grant();
    for _ in 0..360 {
        looks.look(Some(GOOD));
    }
    looks.look(Some(BLOCKS));
    assert_eq!(looks.grant(), 7);
}

#[test]
fn whoever_has_no_connection_loses_it_without_a_pause() {
    let mut looks = Looks::new();
    looks.grant();
    for _ in 0..5 {
        assert_eq!(looks.look(None), []);
    }
    assert_eq!(looks.look(None), [Step::Withdraw(KEY, Cause::Idle)]);
    assert_eq!(looks.judge.clients.len(), 0);
    assert_eq!(looks.grant(), 2);
}

#[test]
fn whoever_has_connections_that_wait_for_their_turn_keeps_it() {
    let mut looks = Looks::new();
    let many = Evidence { rotation: 7, ..GOOD };
    let rest = Evidence { looked: false, ..many };
    // Two looks at it, but not at all that there is.
    for _ in 0..6 {
        assert_eq!(looks.look(Some(many)), []);
    }
    assert_eq!(looks.look(Some(many)), [Step::Grant(KEY)]);
    for _ in 0..20 {
        assert_eq!(looks.look(Some(rest)), []);
    }
    // It may have some among those that nobody has looked at.
    for _ in 0..20 {
        let waiting = [KEY.service].into();
        let weighed = Weighed { waiting, ..Weighed::default() };
        looks.now += TEN;
        assert_eq!(looks.judge.look(looks.now, &[KEY.service].into(), &weighed), []);
    }
    assert_eq!(looks.look(None), [Step::Withdraw(KEY, Cause::Idle)]);
    // All that there is was looked at, but only once at it.
    assert_eq!(looks.look(Some(many)), []);
    for _ in 0..20 {
        assert_eq!(looks.look(Some(rest)), []);
    }
    assert_eq!(looks.look(Some(many)), [Step::Grant(KEY)]);
}

#[test]
fn a_service_that_asks_no_more_and_a_blind_agent_end_it() {
    let mut looks = Looks::new();
    looks.grant();
    let weighed = Weighed { clients: [(KEY, GOOD)].into(), ..Weighed::default() };
    let steps = looks.judge.look(looks.now, &BTreeSet::new(), &weighed);
    assert_eq!(steps, [Step::Withdraw(KEY, Cause::Service)]);
    assert_eq!(looks.judge.clients.len(), 0);
    assert_eq!(looks.grant(), 2);
    assert_eq!(looks.judge.blind(looks.now), [Step::Withdraw(KEY, Cause::Blind)]);
    assert_eq!(looks.judge.blind(looks.now), []);
    assert_eq!(looks.grant(), 2);
}

fn evidence() -> impl Strategy<Value = Option<Evidence>> {
    let few = || prop_oneof![8 => Just(0usize), 1 => 1..4usize];
    let ends = (few(), few(), few(), few(), few());
    let rest = (0..4usize, few(), 0..4usize, few(), prop::bool::weighted(0.05));
    let evidence = (ends, rest).prop_map(|(ends, rest)| {
        let (blocking_clients, blocking_servers, upper_layer, unknown, unsure) = ends;
        let (chatty, bulk, redirected, left, short_lived) = rest;
        Evidence {
            blocking_clients,
            blocking_servers,
            upper_layer,
            unknown,
            unsure,
            chatty,
            bulk,
            redirected,
            left,
            short_lived,
            ..GOOD
        }
    });
    prop::option::weighted(0.9, evidence)
}

proptest! {
    /// Whatever is seen: nothing is granted while a socket of the last look blocks or is not known,
    /// none before enough good looks in a row, and none within the pause after a sign against.
    #[test]
    fn granted_only_on_evidence(all in prop::collection::vec(evidence(), 0..200)) {
        let mut looks = Looks::new();
        let (mut granted, mut good, mut barred) = (false, 0u32, Duration::ZERO);
        for evidence in all {
            let steps = looks.look(evidence);
            let verdict = evidence.as_ref().map(Evidence::verdict);
            good = if verdict == Some(Verdict::For) { good + 1 } else { 0 };
            prop_assert!(steps.len() <= 1, "{steps:?}");
            match steps.first() {
                Some(Step::Grant(key)) => {
                    prop_assert!(!granted && *key == KEY && good >= 2 && looks.now >= barred);
                    granted = true;
                }
                Some(Step::Withdraw(key, cause)) => {
                    prop_assert!(granted && *key == KEY);
                    granted = false;
                    if *cause != Cause::Idle {
                        prop_assert_eq!(verdict, Some(Verdict::Against(*cause)));
                        barred = looks.now + Duration::from_mins(1);
                        good = 0;
                    }
                }
                None => {}
            }
            prop_assert_eq!(looks.judge.granted().collect::<Vec<_>>(), if granted { vec![KEY] } else { vec![] });
            if granted && let Some(seen) = evidence {
                prop_assert_eq!((seen.blocking_clients, seen.blocking_servers, seen.unknown), (0, 0, 0));
            }
        }
    }
}
