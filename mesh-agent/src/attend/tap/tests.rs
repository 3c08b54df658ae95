//! Taps as the API knows them: what is asked for, what is told, what is left out.

use mesh_common::edge::FailureCause;
use mesh_common::event::EventKind;

use super::*;
use crate::events::record::tests::record;
use crate::reconcile::Named;

const CLOCK: Clock =
    Clock { wall: Duration::from_secs(1_000_000), monotonic: Duration::from_secs(100) };

fn called(record: &Record) -> Called {
    let named = Named {
        service: "prod/web".parse().unwrap(),
        endpoint: "one".parse().unwrap(),
        version: Some("v1".parse().unwrap()),
        workload: None,
    };
    Called {
        backends: [(record.backend_key, named)].into(),
        services: [(record.service, "prod/api".parse().unwrap())].into(),
        sources: [(record.cgroup, "shop".parse().unwrap())].into(),
    }
}

fn choice(limit: u64, sample: u32) -> Choice {
    Choice::new(Filter::default(), sample, limit)
}

#[test]
fn an_event_has_names_addresses_and_the_time_of_the_calendar() {
    let mut record = record(EventKind::FAILED);
    record.happened = Happened::Failed(FailureCause::TIMED_OUT);
    record.time = Duration::from_secs(40);
    record.client = ("10.0.0.9".parse().unwrap(), 40_000);
    record.frontend = ("fd00::1".parse().unwrap(), 80);
    record.backend = ("fd00::2".parse().unwrap(), 8080);
    record.duration = Duration::from_micros(1500);
    record.cgroup = 7;
    let event = choice(0, 0).take(&record, &called(&record), CLOCK, Duration::ZERO);
    let expected = wire::ConnectionEvent {
        time_us: 999_940_000_000,
        outcome: wire::Outcome::Failed.into(),
        transport: wire::Transport::Tcp.into(),
        source_workload: "shop".to_owned(),
        cgroup: 7,
        namespace: "prod".to_owned(),
        service: "web".to_owned(),
        endpoint: "one".to_owned(),
        version: "v1".to_owned(),
        client: "10.0.0.9:40000".to_owned(),
        frontend: "[fd00::1]:80".to_owned(),
        backend: "[fd00::2]:8080".to_owned(),
        duration_us: 1500,
        cause: "timed_out".to_owned(),
        ..wire::ConnectionEvent::default()
    };
    assert_eq!(event, Some(expected));
}

#[test]
fn a_refused_connection_has_no_addresses_but_that_of_the_service() {
    let mut record = record(EventKind::REFUSED);
    record.happened = Happened::Refused(Reason::BREAKER_OPEN);
    let mut called = called(&record);
    called.backends.clear();
    let event = choice(0, 0).take(&record, &called, CLOCK, Duration::ZERO).unwrap();
    assert_eq!((event.service.as_str(), event.cause.as_str()), ("api", "breaker_open"));
    assert_eq!((event.client.as_str(), event.backend.as_str()), ("", ""));
    assert_eq!((event.endpoint.as_str(), event.frontend.is_empty()), ("", false));
}

#[test]
fn what_is_left_out_is_counted() {
    let record = record(EventKind::CLOSED);
    let called = called(&record);
    let taken = |choice: &mut Choice, count: u32| {
        let now = Duration::ZERO;
        (0..count).filter(|_| choice.take(&record, &called, CLOCK, now).is_some()).count()
    };
    let mut sampled = choice(0, 4);
    assert_eq!((taken(&mut sampled, 10), sampled.left_out.sampled), (3, 7));
    let mut fast = choice(0, 0);
    assert_eq!(taken(&mut fast, PER_SECOND + 5), PER_SECOND as usize);
    assert_eq!(fast.left_out.rate_limited, 5);
    // What comes after the last is nobody's any more.
    let mut last = choice(2, 0);
    assert_eq!((taken(&mut last, 5), last.left_out), (2, wire::LeftOut::default()));
    let mut other = choice(0, 0);
    other.filter.service = Some("other".to_owned());
    assert_eq!((taken(&mut other, 5), other.left_out), (0, wire::LeftOut::default()));
}

#[test]
fn what_the_kernel_lost_before_is_no_loss() {
    let mut lost = Lost::default();
    assert_eq!(lost.since(), 0);
    lost.now(40);
    assert_eq!(lost.since(), 0);
    lost.now(45);
    assert_eq!(lost.since(), 5);
    // The maps are new ones.
    lost.now(3);
    assert_eq!(lost.since(), 0);
}

#[test]
fn no_outcome_means_all_and_one_from_later_is_refused() {
    let of = |outcomes: &[i32]| {
        let wanted = wire::Tap { outcomes: outcomes.to_vec(), ..wire::Tap::default() };
        asked(&wanted).map(|(outcomes, _)| outcomes)
    };
    assert_eq!(of(&[]).unwrap(), Outcomes::default());
    let failures = Outcomes { failed: true, refused: true, ..Outcomes::NONE };
    assert_eq!(of(&[3, 4]).unwrap(), failures);
    assert_eq!(of(&[9]).unwrap_err().code(), tonic::Code::InvalidArgument);
}
