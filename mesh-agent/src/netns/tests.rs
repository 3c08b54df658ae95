//! Reading what the kernel writes about namespaces, and what is seen without any permission.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::mounts::{Mount, mounts};
use super::{Namespaces, NetnsError};

const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
40 28 0:4 net:[4026532246] /run/netns/blue rw shared:3 - nsfs nsfs rw
41 28 0:4 mnt:[4026532247] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
42 28 0:4 net:[4026532248] /run/netns/with\\040space\\134 rw master:1 shared:3 - nsfs nsfs rw
";

#[test]
fn bind_mounts_are_read() {
    let found: Vec<_> = mounts(MOUNTINFO).collect();
    let mount = |inode, path| Mount { inode, path: PathBuf::from(path) };
    assert_eq!(
        found,
        [mount(4_026_532_246, "/run/netns/blue"), mount(4_026_532_248, "/run/netns/with space\\")]
    );
}

proptest! {
    #[test]
    fn any_mountinfo_is_survived(text in ".{0,200}") {
        mounts(&text).for_each(drop);
    }

    #[test]
    fn escaped_paths_come_back(name in "[^/\0]{1,20}") {
        let escaped: String = name
            .chars()
            .map(|c| match c {
                ' ' | '\t' | '\n' | '\r' | '\\' => format!("\\{:03o}", u32::from(c)),
                other => other.to_string(),
            })
            .collect();
        let line = format!("1 2 0:4 net:[7] /run/netns/{escaped} rw - nsfs nsfs rw");
        // `lines` splits only at newlines, which the kernel escapes.
        let found: Vec<_> = mounts(&line).map(|mount| mount.path).collect();
        prop_assert_eq!(found, [Path::new("/run/netns").join(name)]);
    }
}

#[test]
fn the_own_namespace_needs_no_permission() {
    let mut namespaces = Namespaces::default();
    let own = |listing: super::Listing| {
        listing.namespaces.into_iter().find(|namespace| namespace.own).expect("our own")
    };
    let first = own(namespaces.scan().expect("/proc is there"));
    assert_ne!(first.cookie, 0);
    assert!(first.names().contains(&first.id.to_string()));
    let again = own(namespaces.scan().expect("/proc is there"));
    assert_eq!((again.id, again.cookie), (first.id, first.cookie));
}

#[test]
fn a_missing_proc_is_said() {
    let error = Namespaces::new("/nowhere".into()).scan().expect_err("there is none");
    assert!(matches!(error, NetnsError::Proc { .. }), "{error}");
}
