//! Ways under test: each row of the module's picture, and that no walk through it breaks a promise.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_api::model::Protocol;
use proptest::prelude::*;

use super::*;
use crate::compile::Family;
use crate::testing::{name, put, service};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const PORT: u16 = 20_001;

fn unit(family: Family) -> UnitKey {
    let mut world = World::default();
    world.apply(put(service("a", &[1], &[80])));
    let group = world.find(&name("a")).unwrap();
    UnitKey { group, port: 80, protocol: Protocol::Tcp, family }
}

fn want(port: u16, otherwise: OnNoProxy) -> Want {
    Want { family: Family::V4, port, otherwise }
}

/// To Envoy on the loopback.
fn at(port: u16) -> Via {
    Via::Proxy(SocketAddr::new(Family::V4.loopback(), port))
}

fn listening(ports: &[u16]) -> ProxyState {
    ProxyState::Ready(Arc::new(
        ports.iter().map(|port| ((Family::V4, *port), Family::V4.loopback())).collect(),
    ))
}

/// One service, followed.
struct One {
    courses: Courses,
    unit: UnitKey,
    want: Option<Want>,
    leads: bool,
}

impl One {
    fn new(proxy: ProxyState, leads: bool) -> Self {
        let mut courses = Courses::default();
        courses.set_proxy(proxy);
        Self { courses, unit: unit(Family::V4), want: None, leads }
    }

    fn wants(&mut self, want: Want) -> Via {
        self.want = Some(want);
        self.follow()
    }

    fn follow(&mut self) -> Via {
        let (via, warning) = self.courses.follow(self.unit, self.want, self.leads);
        assert_eq!(warning.is_some(), self.counts()[2..] != [0, 0], "loud where it fails");
        self.leads = true;
        via
    }

    fn proxy(&mut self, proxy: ProxyState) -> Via {
        for unit in self.courses.set_proxy(proxy) {
            assert_eq!(unit, self.unit);
            self.follow();
        }
        self.via()
    }

    fn at(&mut self, now: Duration) -> Via {
        if !self.courses.set_time(now).is_empty() {
            self.follow();
        }
        self.via()
    }

    fn via(&self) -> Via {
        self.courses.vias().get(&self.unit).copied().unwrap_or_default()
    }

    fn counts(&self) -> Counts {
        self.courses.counts()
    }
}

#[test]
fn an_envoy_that_listens_gets_the_connections() {
    let mut one = One::new(listening(&[PORT]), false);
    assert_eq!(one.wants(want(PORT, OnNoProxy::Refuse)), at(PORT));
    assert_eq!(one.counts(), [1, 0, 0, 0]);
    one.want = None;
    assert_eq!(one.follow(), Via::Endpoints);
    assert_eq!(one.counts(), [0; 4], "nobody who does not ask is counted");
}

#[test]
fn a_service_that_works_waits_for_its_listener() {
    let mut one = One::new(listening(&[]), true);
    one.at(SECOND);
    assert_eq!(one.wants(want(PORT, OnNoProxy::Refuse)), Via::AnyEndpoint);
    assert_eq!(one.counts(), [0, 1, 0, 0]);
    assert_eq!(one.courses.next(), Some(PATIENCE));
    one.at(5 * SECOND);
    one.follow();
    assert_eq!(one.courses.next(), Some(6 * SECOND), "another change does not begin anew");
    assert_eq!(one.proxy(listening(&[PORT])), at(PORT));
    assert_eq!(one.courses.next(), None);
}

#[test]
fn it_does_not_wait_for_ever() {
    for (otherwise, via) in
        [(OnNoProxy::Bypass, Via::AnyEndpoint), (OnNoProxy::Refuse, Via::Nobody)]
    {
        let mut one = One::new(listening(&[]), true);
        one.wants(want(PORT, otherwise));
        assert_eq!(one.at(PATIENCE.saturating_sub(Duration::from_millis(1))), Via::AnyEndpoint);
        assert_eq!(one.at(PATIENCE), via);
        one.follow();
        assert_eq!((one.via(), one.courses.next()), (via, None), "nor does it begin again");
        assert_eq!(one.proxy(listening(&[PORT])), at(PORT));
    }
}

#[test]
fn without_an_envoy_nobody_waits() {
    for (otherwise, via) in
        [(OnNoProxy::Bypass, Via::AnyEndpoint), (OnNoProxy::Refuse, Via::Nobody)]
    {
        let mut one = One::new(listening(&[PORT]), true);
        one.wants(want(PORT, otherwise));
        assert_eq!(one.proxy(ProxyState::Absent), via);
        assert_eq!(one.proxy(listening(&[])), via, "it comes back without its listeners");
        assert_eq!(one.proxy(listening(&[PORT])), at(PORT));
    }
    let mut one = One::new(listening(&[]), true);
    one.wants(want(PORT, OnNoProxy::Refuse));
    assert_eq!(one.proxy(ProxyState::Absent), Via::Nobody, "who waits neither");
}

#[test]
fn a_new_service_has_nothing_to_wait_with() {
    let mut one = One::new(listening(&[]), false);
    assert_eq!(one.wants(want(PORT, OnNoProxy::Bypass)), Via::AnyEndpoint);
    assert_eq!(one.counts(), [0, 0, 1, 0]);
}

#[test]
fn another_port_is_waited_for_at_the_old_one_while_that_is_there() {
    let mut one = One::new(listening(&[PORT]), false);
    one.wants(want(PORT, OnNoProxy::Refuse));
    assert_eq!(one.wants(want(PORT + 1, OnNoProxy::Refuse)), at(PORT));
    assert_eq!(one.counts(), [0, 1, 0, 0]);
    assert_eq!(one.proxy(listening(&[PORT, PORT + 1])), at(PORT + 1));
    one.wants(want(PORT, OnNoProxy::Refuse));
    assert_eq!(one.wants(want(PORT + 2, OnNoProxy::Refuse)), at(PORT));
    assert_eq!(one.proxy(listening(&[])), Via::Nobody, "not where nobody listens");
}

#[test]
fn who_goes_the_same_way_is_left_alone() {
    let mut courses = Courses::default();
    let unit = unit(Family::V4);
    courses.set_proxy(listening(&[PORT]));
    courses.follow(unit, Some(want(PORT, OnNoProxy::Bypass)), false);
    assert!(courses.set_proxy(listening(&[PORT, 1, 2])).is_empty());
    assert!(courses.set_proxy(listening(&[PORT, 1, 2])).is_empty());
    assert_eq!(courses.set_proxy(listening(&[1, 2])), [unit]);
}

#[derive(Clone, Debug)]
enum Step {
    Proxy(Option<BTreeSet<u16>>),
    Want(Option<(u16, bool)>),
    Wait(u64),
    Again,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::option::weighted(0.8, prop::collection::btree_set(1..4u16, 0..3))
            .prop_map(Step::Proxy),
        prop::option::weighted(0.8, (1..4u16, any::<bool>())).prop_map(Step::Want),
        (0..7_000u64).prop_map(Step::Wait),
        Just(Step::Again),
    ]
}

proptest! {
    /// Whatever happens: nobody is sent to a port where nobody listens, whoever can be sent to Envoy
    /// is, nobody waits longer than promised, and who asks for nothing goes to the endpoints.
    #[test]
    fn every_walk_keeps_the_promises(steps in prop::collection::vec(step(), 1..40), leads: bool) {
        let mut one = One::new(ProxyState::Absent, leads);
        let (mut now, mut proxy, mut waits_since) = (Duration::ZERO, ProxyState::Absent, None);
        for step in steps {
            match step {
                Step::Proxy(ports) => {
                    proxy = ports.map_or(ProxyState::Absent, |ports| {
                        listening(&ports.into_iter().collect::<Vec<_>>())
                    });
                    one.proxy(proxy.clone());
                }
                Step::Want(wanted) => {
                    one.want = wanted.map(|(port, refuse)| {
                        want(port, if refuse { OnNoProxy::Refuse } else { OnNoProxy::Bypass })
                    });
                    one.follow();
                }
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    one.at(now);
                }
                Step::Again => {
                    one.follow();
                }
            }
            let via = one.via();
            if let Via::Proxy(at) = via {
                prop_assert_eq!(proxy.listens(Family::V4, at.port()), Some(at));
            }
            let listens =
                one.want.is_some_and(|want| proxy.listens(Family::V4, want.port).is_some());
            prop_assert_eq!(one.counts()[0] == 1, listens);
            match one.want {
                None => prop_assert_eq!((via, one.counts()), (Via::Endpoints, [0; 4])),
                Some(want) if listens => prop_assert_eq!(via, at(want.port)),
                Some(_) => {}
            }
            if one.counts()[1] == 1 {
                prop_assert!(via != Via::Nobody && proxy != ProxyState::Absent);
                let since = *waits_since.get_or_insert(now);
                prop_assert!(now < since + PATIENCE);
            } else {
                waits_since = None;
            }
        }
    }
}
