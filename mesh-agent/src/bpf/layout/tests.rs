//! Which maps are replaced, and how large the new ones are.

use super::plan::{Layout, Layouts};
use super::*;

fn layout(max_entries: u32) -> Layout {
    Layout { kind: 2, key_size: 4, value_size: 16, max_entries, flags: 1024 }
}

fn layouts(all: &[(&'static str, Layout)]) -> Layouts {
    all.iter().copied().collect()
}

#[test]
fn what_is_the_same_stays() {
    let maps = layouts(&[(names::SLOTS, layout(8)), (names::CONNS, layout(4))]);
    assert_eq!(plan(&maps, &maps).unwrap(), None);
    // A map that is not there yet is made, and one of an earlier agent is not missed.
    assert_eq!(plan(&layouts(&[]), &maps).unwrap(), None);
    assert_eq!(plan(&maps, &layouts(&[(names::CONNS, layout(4))])).unwrap(), None);
}

#[test]
fn only_what_differs_is_replaced() {
    let pinned = layouts(&[(names::SLOTS, layout(8)), (names::EVENTS, layout(4))]);
    let others =
        [layout(16), layout(4), Layout { flags: 0, ..layout(8) }, Layout { kind: 1, ..layout(8) }];
    for other in others {
        let wanted = layouts(&[(names::SLOTS, other), (names::EVENTS, layout(4))]);
        let plan = plan(&pinned, &wanted).unwrap().unwrap();
        assert_eq!(plan.replaced, [names::SLOTS]);
        assert_eq!(plan.kept, [names::EVENTS]);
    }
}

#[test]
fn what_cannot_be_translated_is_refused() {
    for map in [names::CONNS, names::CONNS_OVERFLOW, names::FLOWS, names::TUNABLES] {
        let error = plan(&layouts(&[(map, layout(8))]), &layouts(&[(map, layout(9))])).unwrap_err();
        assert!(error.to_string().contains("mesh-agent uninstall"), "{error}");
    }
    let longer = Layout { value_size: 24, ..layout(8) };
    let pinned = layouts(&[(names::SLOTS, layout(8))]);
    assert!(plan(&pinned, &layouts(&[(names::SLOTS, longer)])).is_err());
}

#[test]
fn what_is_used_has_room_in_every_map_of_the_index() {
    let mut sizes = Sizes::from([
        (names::FRONTENDS, 20),
        (names::SERVICES, 10),
        (names::SERVICE_STATE, 10),
        (names::BACKENDS, 10),
        (names::BACKEND_STATE, 10),
        (names::BACKEND_COUNTERS, 10),
        (names::CGROUPS, 10),
    ]);
    let used = Sizes::from([
        (names::FRONTENDS, 20),
        (names::SERVICES, 3),
        (names::BACKENDS, 40),
        (names::CGROUPS, 11),
    ]);
    let warnings = fit(&mut sizes, &used);
    let expected = Sizes::from([
        (names::FRONTENDS, 20),
        (names::SERVICES, 10),
        (names::SERVICE_STATE, 10),
        (names::BACKENDS, 40),
        (names::BACKEND_STATE, 40),
        (names::BACKEND_COUNTERS, 40),
        (names::CGROUPS, 11),
    ]);
    assert_eq!(sizes, expected);
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().any(|warning| warning.contains("--max-backends")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("--max-cgroups")), "{warnings:?}");
}
