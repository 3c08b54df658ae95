//! An update gives what a new start with the same world would, but for the indices.

use super::*;

/// A service as its clients meet it: what its head says, and its table by addresses.
pub(super) fn canonical(image: &MapImage, key: &FrontendKey) -> Option<String> {
    let head = image.services.at(*image.frontends.get(key)?);
    let place = |index| {
        let backend = image.backends.at(index);
        format!("{}:{} {:?}", backend.addr.to_ip(), backend.port, backend.flags)
    };
    let table: Vec<_> = image
        .table(&head)
        .iter()
        .map(|slot| (place(slot.backend), place(slot.alias), slot.threshold))
        .collect();
    let (flags, errno) = (head.flags, head.refuse_errno);
    let asks = flags.bits & (ServiceFlags::GUARDED.bits | ServiceFlags::TIMED.bits) != 0;
    let policy = asks.then(|| image.policies.at(*image.frontends.get(key).unwrap()));
    let rest = format!("{flags:?} {errno} {} {policy:?}", head.affinity_ms);
    Some(format!("{:?} {rest} {table:?}", head.algorithm))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn updates_give_what_a_new_start_would(
        steps in prop::collection::vec((world(), any::<bool>()), 1..6),
    ) {
        let mut reconciler = opened_over(MemoryMaps::new(LIMITS));
        let mut before = Objects::default();
        for (stamp, (objects, retires)) in (1..).zip(&steps) {
            reconciler.change(changes(&before, objects));
            reconciler.install(stamp).unwrap();
            if *retires {
                reconciler.retire(NOW).unwrap();
            }
            guarded::check(&mut reconciler)?;
            before = objects.clone();
        }
        let expected = fresh(&before);
        let (image, wanted) = (reconciler.actual(), expected.actual());
        prop_assert_eq!(&reconciler.report().rejections, &expected.report().rejections);
        prop_assert_eq!(&reconciler.report().warnings, &expected.report().warnings);
        for key in wanted.frontends.keys() {
            prop_assert_eq!(canonical(image, key), canonical(wanted, key));
        }
        // What a rejected service had before stays.
        prop_assume!(expected.report().rejections.is_empty());
        prop_assert_eq!(image.frontends.len(), wanted.frontends.len());
        reconciler.retire(NOW).unwrap();
        let image = reconciler.actual();
        prop_assert_eq!(image.services.len(), wanted.services.len());
        prop_assert_eq!(image.slots.len(), wanted.slots.len());
        let draining = image.backends.iter().filter(|(_, backend)| !backend.flags.takes_new());
        prop_assert_eq!(image.backends.len() - draining.count(), wanted.backends.len());
        prop_assert_eq!(reconciler.maps().image(), image);
        // All room is there again.
        reconciler.change(changes(&before, &Objects::default()));
        reconciler.install(100).unwrap();
        reconciler.retire(NOW).unwrap();
        prop_assert_eq!(reconciler.actual(), &MapImage::default());
        let state = &reconciler.state;
        prop_assert!(state.held.is_empty() && state.units.is_empty() && state.claims.is_empty());
        prop_assert!(state.unowned.is_empty() && state.leaving.is_empty() && state.gone.is_empty());
        prop_assert!(state.members.iter().all(Option::is_none));
        prop_assert_eq!(state.world.groups().count(), 0);
        let free = reconciler.state.room.slots.take(LIMITS.slots);
        prop_assert_eq!(free.ok(), Some(0));
    }
}
