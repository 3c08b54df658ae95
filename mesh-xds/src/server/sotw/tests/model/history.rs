//! The histories. `PROPTEST_CASES` in the environment asks for more of them.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{BAD, Kind, Network};
use crate::types::PUSH_ORDER;

const NAMES: [&str; 4] = ["n1", "n2", "n3", "n4"];

#[derive(Clone, Debug)]
enum Step {
    Change(&'static str, &'static str, Option<&'static str>),
    Rebuild,
    Notify,
    Connect,
    Disconnect,
    Subscribe(&'static str, &'static str),
    Unsubscribe(&'static str, &'static str),
    Serve,
    Receive,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let types = || select(PUSH_ORDER.to_vec());
    let names = || select(NAMES.to_vec());
    let bodies = select(vec![None, Some("1"), Some("2"), Some("3"), Some(BAD)]);
    prop_oneof![
        8 => (types(), names(), bodies).prop_map(|(t, n, b)| Step::Change(t, n, b)),
        1 => Just(Step::Rebuild),
        4 => Just(Step::Notify),
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        5 => (types(), names()).prop_map(|(t, n)| Step::Subscribe(t, n)),
        3 => (types(), names()).prop_map(|(t, n)| Step::Unsubscribe(t, n)),
        10 => Just(Step::Serve),
        8 => Just(Step::Receive),
        1 => Just(Step::Settle),
    ]
}

fn run(kind: Kind, limit: usize, steps: Vec<Step>) {
    let mut network = Network::new(kind, limit);
    for step in steps {
        match step {
            Step::Change(type_url, name, content) => network.change(type_url, name, content),
            Step::Rebuild => network.rebuild(),
            Step::Notify => network.notify(),
            Step::Connect => network.connect(),
            Step::Disconnect => network.link = None,
            Step::Subscribe(type_url, name) => network.subscribe(type_url, name),
            Step::Unsubscribe(type_url, name) => network.unsubscribe(type_url, name),
            Step::Serve => drop(network.serve()),
            Step::Receive => drop(network.receive()),
            Step::Settle => network.settle(),
        }
    }
    network.settle();
    // After a break, another replica has nothing to say to a client that has everything.
    let exact = network.link.as_ref().unwrap().1.is_exact() && !network.is_bad();
    network.link = None;
    network.rebuild();
    network.settle();
    assert!(!exact || network.sent == 0, "{} resources again", network.sent);
}

fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.saturating_mul(3), ..default }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_history_keeps_the_promises(
        (wildcard, lenient, names, warms) in any::<(bool, bool, bool, bool)>(),
        limit in select(vec![1, 1 << 20]),
        steps in vec(step(), 0..150),
    ) {
        run(Kind { wildcard, lenient, names, warms }, limit, steps);
    }
}
