//! The canary's verdict, and its place in the maps.

use mesh_common::backend::BackendFlags;
use mesh_common::counter::BackendCounters;
use mesh_common::names;
use mesh_common::service::ServiceFlags;
use proptest::prelude::*;

use super::verdict::{Fires, Tried, settled, verdict};
use super::{Family, Finding, Ports, Probe, image, room, strip, without_room};
use crate::compile::Limits;
use crate::testing::LIMITS;

const PROBES: [Probe; 6] = [
    Probe::TcpConnect,
    Probe::TcpPeer,
    Probe::Refusal,
    Probe::UdpConnect,
    Probe::UdpSend,
    Probe::UdpReceive,
];

fn healthy(family: Family) -> (Family, Tried) {
    let finding = |probe| Finding { family, probe, problem: None };
    let counted = |n| BackendCounters { attempts: n, opened: n, closed: n, ..Default::default() };
    let findings = Ok(PROBES.map(finding).to_vec());
    (family, Tried { findings, tcp: counted(1), udp: counted(2) })
}

#[test]
fn where_all_is_well_every_program_fires() {
    let tried = [healthy(Family::V4), healthy(Family::V6)];
    assert!(settled(&tried));
    let verdict = verdict(&tried);
    for name in names::PROGRAMS {
        assert_eq!(verdict[name], Fires::Yes, "{name}");
    }
}

#[test]
fn a_family_that_is_not_there_is_no_failure() {
    let reason = "no such address".to_owned();
    let absent = Tried { findings: Err(reason.clone()), ..healthy(Family::V6).1 };
    let verdict = verdict(&[healthy(Family::V4), (Family::V6, absent)]);
    assert_eq!(verdict[names::CONNECT6], Fires::Unavailable(reason));
    assert_eq!(verdict[names::SOCKOPS], Fires::Yes);
    assert!(verdict.values().all(Fires::is_good));
}

#[test]
fn a_connection_that_goes_elsewhere_names_connect_and_leaves_the_rest_open() {
    let (family, mut tried) = healthy(Family::V4);
    let problem = "TCP to 192.0.0.8:1: Network is unreachable (os error 101)".to_owned();
    tried.findings =
        Ok(vec![Finding { family, probe: Probe::TcpConnect, problem: Some(problem.clone()) }]);
    tried.tcp = BackendCounters::default();
    let verdict = verdict(&[(family, tried), healthy(Family::V6)]);
    let Fires::No(reason) = &verdict[names::CONNECT4] else { panic!("{verdict:?}") };
    assert!(reason.starts_with(&problem) && reason.contains("not redirected"), "{reason}");
    assert_eq!(verdict[names::GETPEERNAME4], Fires::Unknown);
    assert_eq!(verdict[names::SOCKOPS], Fires::Unknown);
    assert_eq!(verdict[names::CONNECT6], Fires::Yes);
}

#[test]
fn what_is_not_counted_names_the_program_that_counts() {
    for (opened, closed) in [(0, 0), (1, 0)] {
        let (family, mut tried) = healthy(Family::V4);
        tried.tcp = BackendCounters { attempts: 1, opened, closed, ..Default::default() };
        tried.udp.closed = 1;
        let tried = [(family, tried), healthy(Family::V6)];
        assert!(!settled(&tried));
        let verdict = verdict(&tried);
        assert!(matches!(verdict[names::SOCKOPS], Fires::No(_)), "{verdict:?}");
        assert!(matches!(verdict[names::SOCK_RELEASE], Fires::No(_)), "{verdict:?}");
        assert_eq!(verdict[names::CONNECT4], Fires::Yes);
    }
}

#[test]
fn the_canary_lies_beyond_what_users_may_have_and_can_be_taken_out() {
    let ports = |v6| Ports { v4: Ok((1000, 1001)), v6, token: String::new() };
    let sizes = Limits {
        frontends: LIMITS.frontends + room(names::FRONTENDS),
        services: LIMITS.services + room(names::SERVICES),
        slots: LIMITS.slots + room(names::SLOTS),
        backends: LIMITS.backends + room(names::BACKENDS),
    };
    assert_eq!(without_room(sizes), LIMITS);
    let mut both = image(LIMITS, &ports(Ok((1002, 1003))), 7);
    assert_eq!((both.frontends.len(), both.services.len()), (6, 6));
    assert_eq!((both.slots.len(), both.backends.len()), (4, 4));
    assert!(both.services.keys().all(|at| (LIMITS.services..sizes.services).contains(&at.index)));
    assert!(both.backends.keys().all(|at| (LIMITS.backends..sizes.backends).contains(&at.index)));
    assert!(both.slots.keys().all(|at| (LIMITS.slots..sizes.slots).contains(&at)));
    for (_, head) in both.services.iter().filter(|(_, head)| head.slot_count > 0) {
        assert!(!head.flags.contains(ServiceFlags::ACCELERATED));
        let slot = both.slots.at(head.slot_base);
        assert_eq!(both.backends.at(slot.backend).service, slot.service);
    }
    // Nothing of its own way may depend on sockets being of one node.
    assert!(both.backends.iter().all(|(_, it)| !it.flags.contains(BackendFlags::LOCAL)));
    strip(&mut both);
    assert_eq!(both, crate::image::MapImage::default());
    let one = image(LIMITS, &ports(Err(String::new())), 7);
    assert_eq!((one.services.len(), one.backends.len()), (3, 2));
}

proptest! {
    #[test]
    fn any_outcome_has_a_verdict_on_every_program(
        problems in prop::collection::vec(prop::option::of("[a-z]{0,3}"), 6),
        made in 0..7usize,
        counts in prop::array::uniform4(0..3u64),
        absent: bool,
    ) {
        let (family, mut tried) = healthy(Family::V4);
        let finding = |(probe, problem): (Probe, &Option<String>)| {
            Finding { family, probe, problem: problem.clone() }
        };
        tried.findings = if absent {
            Err("absent".to_owned())
        } else {
            Ok(PROBES.into_iter().zip(&problems).map(finding).take(made).collect())
        };
        let [attempts, opened, closed, udp] = counts;
        tried.tcp = BackendCounters { attempts, opened, closed, ..Default::default() };
        tried.udp.closed = udp;
        let good = !absent && made == 6 && problems.iter().all(Option::is_none);
        let counted = opened > 0 && closed > 0 && udp >= 2;
        let verdict = verdict(&[(family, tried), healthy(Family::V6)]);
        prop_assert_eq!(verdict.len(), names::PROGRAMS.len());
        let all = verdict.values().all(Fires::is_good);
        prop_assert_eq!(all, absent || (good && counted));
    }
}

#[test]
fn no_service_can_have_the_canarys_addresses() {
    use mesh_api::model::{Kind, Object};
    use mesh_api::wire;
    use prost::Message as _;

    for address in [mesh_common::canary::V4.to_string(), mesh_common::canary::V6.to_string()] {
        let port = wire::ServicePort { port: 80, ..wire::ServicePort::default() };
        let service =
            wire::Service { vips: vec![address], ports: vec![port], ..wire::Service::default() };
        let read: Result<Object, _> =
            mesh_api::convert::from_resource(Kind::Service, "default/a", &service.encode_to_vec());
        let refused = read.unwrap_err().to_string();
        assert!(refused.contains("kept for the agents' own checks"), "{refused}");
    }
}
