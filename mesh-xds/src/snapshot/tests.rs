//! Sharing between snapshots is what makes large configurations affordable, so it is pinned.

use super::*;

const A: &str = "type/a";
const B: &str = "type/b";

fn base() -> Snapshot {
    Snapshot::builder(1)
        .insert(A, "x", Resource::from_body(*b"x1"))
        .insert(A, "y", Resource::from_body(*b"y1"))
        .insert(B, "z", Resource::from_body(*b"z1"))
        .build()
}

#[test]
fn versions_are_content_hashes() {
    let one = Resource::from_body(*b"same");
    let two = Resource::from_body(b"same".to_vec());
    assert_eq!(one, two);
    assert_eq!(one.version, version_of(b"same"));
    assert_ne!(one.version, Resource::from_body(*b"other").version);
}

#[test]
fn an_edit_shares_what_it_does_not_touch() {
    let old = base();
    let new = Snapshot::edit(&old, 2).insert(A, "x", Resource::from_body(*b"x2")).build();
    assert_eq!((old.revision(), new.revision()), (1, 2));
    assert!(Arc::ptr_eq(old.resources(B).unwrap(), new.resources(B).unwrap()));
    assert!(!Arc::ptr_eq(old.resources(A).unwrap(), new.resources(A).unwrap()));
    assert!(Arc::ptr_eq(old.get(A, "y").unwrap(), new.get(A, "y").unwrap()));
    assert_eq!(&*old.get(A, "x").unwrap().body, b"x1", "old is untouched");
}

#[test]
fn removing_an_absent_name_copies_nothing() {
    let old = base();
    let new = Snapshot::edit(&old, 2).remove(A, "absent").remove("type/none", "x").build();
    assert!(Arc::ptr_eq(old.resources(A).unwrap(), new.resources(A).unwrap()));
    assert_eq!(Snapshot::edit(&old, 2).remove(A, "x").build().len(), 2);
}

#[test]
fn type_from_replaces_the_type() {
    let old = base();
    let new = Snapshot::builder(2)
        .insert(A, "gone", Resource::from_body(*b""))
        .insert(B, "gone", Resource::from_body(*b""))
        .type_from(&old, A)
        .type_from(&Snapshot::default(), B)
        .build();
    assert!(Arc::ptr_eq(old.resources(A).unwrap(), new.resources(A).unwrap()));
    assert!(new.resources(B).is_none());
    assert_eq!(new.types().collect::<Vec<_>>(), [A]);
    assert!(!new.is_empty());
    assert!(Snapshot::default().is_empty());
}
