//! Random histories. `PROPTEST_CASES` in the environment asks for more of them.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    A, B, COMMIT, TYPES,
    network::{BAD, Network},
};
use crate::WILDCARD;

#[derive(Clone, Debug)]
enum Step {
    Change(&'static str, &'static str, Option<&'static str>),
    Rebuild,
    Notify,
    Connect,
    Disconnect,
    Restart,
    Subscribe(&'static str, &'static str),
    Unsubscribe(&'static str, &'static str),
    Serve,
    /// Overtake; delivered so many times.
    Receive(bool, usize),
    Answer(&'static str),
    Settle,
}

const NAMES: [&str; 4] = ["n1", "n2", "n3", "a-longer-name-that-fills-responses"];

fn step() -> impl Strategy<Value = Step> {
    let facts = || select(vec![A, B]);
    let names = || select(NAMES.to_vec());
    let bodies = select(vec![None, Some("1"), Some("2"), Some(BAD)]);
    let hints = || select(vec!["n1", "n2", "absent", WILDCARD, WILDCARD]);
    let types = || select(vec![A, A, B, B, COMMIT]);
    prop_oneof![
        8 => (facts(), names(), bodies).prop_map(|(t, n, b)| Step::Change(t, n, b)),
        1 => Just(Step::Rebuild),
        4 => Just(Step::Notify),
        3 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Restart),
        3 => (types(), hints()).prop_map(|(t, n)| Step::Subscribe(t, n)),
        3 => (types(), hints()).prop_map(|(t, n)| Step::Unsubscribe(t, n)),
        10 => Just(Step::Serve),
        8 => (any::<bool>(), 1..3_usize).prop_map(|(o, times)| Step::Receive(o, times)),
        8 => select(TYPES.to_vec()).prop_map(Step::Answer),
        1 => Just(Step::Settle),
    ]
}

fn run(max_response_bytes: usize, steps: Vec<Step>) {
    let mut network = Network::new(max_response_bytes);
    for step in steps {
        match step {
            Step::Change(type_url, name, body) => network.change(type_url, name, body),
            Step::Rebuild => network.rebuild(),
            Step::Notify => network.notify(),
            Step::Connect => network.connect(),
            Step::Disconnect => network.disconnect(),
            Step::Restart => network.restart(),
            Step::Subscribe(type_url, name) => network.subscribe(type_url, name),
            Step::Unsubscribe(type_url, name) => network.unsubscribe(type_url, name),
            Step::Serve => drop(network.serve()),
            Step::Receive(overtake, times) => drop(network.receive(overtake, times)),
            Step::Answer(type_url) => drop(network.answer(type_url)),
            Step::Settle => network.settle(),
        }
    }
    network.settle();
    // Another replica with the same content, after a break: the observer sees what is resent.
    network.disconnect();
    network.rebuild();
    network.settle();
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.saturating_mul(3), ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_history_keeps_the_promises(
        max_response_bytes in select(vec![1, 150, 1 << 20]),
        steps in vec(step(), 0..120),
    ) {
        run(max_response_bytes, steps);
    }
}
