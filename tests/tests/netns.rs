//! The agent's view of the machine's network namespaces, against the kernel's.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mesh_agent::netns::{self, Listing, Namespace, Namespaces, NetnsError};
use mesh_tests::netns::NetNs;
use mesh_tests::process::{Place, Process};
use mesh_tests::wait::eventually;
use mesh_tests::{require, ui};

fn named<'a>(listing: &'a Listing, netns: &NetNs) -> Option<&'a Namespace> {
    listing.namespaces.iter().find(|namespace| namespace.name() == netns.name())
}

/// What a link below `/proc` says; empty where there is none.
fn link(path: &str) -> String {
    fs::read_link(path).map(|target| target.display().to_string()).unwrap_or_default()
}

/// Descriptors of this process that hold the namespace.
fn held(namespace: &str) -> anyhow::Result<usize> {
    let links = fs::read_dir("/proc/self/fd")?.filter_map(|entry| {
        let path = entry.ok()?.path();
        fs::read_link(path).ok()
    });
    Ok(links.filter(|link| link.to_string_lossy() == namespace).count())
}

#[test]
fn named_and_nameless_namespaces_are_listed() -> anyhow::Result<()> {
    require::kernel()?;
    let (blue, red) = (NetNs::create("blue")?, NetNs::create("red")?);
    let mut command = Command::new("unshare");
    command.args(["--net", "sleep", "60"]);
    let nameless = Process::spawn("unshare", command, &Place::default(), None)?;
    let inside = format!("/proc/{}/ns/net", nameless.id());
    let ours = link("/proc/self/ns/net");
    eventually(|| {
        if link(&inside) == ours { Err("unshare has not happened".to_owned()) } else { Ok(()) }
    })?;

    let listing = Namespaces::default().scan()?;
    let own: Vec<_> = listing.namespaces.iter().filter(|namespace| namespace.own).collect();
    assert_eq!(own.len(), 1);
    assert!(own[0].names().contains(&ours));
    let third = listing.namespaces.iter().find(|namespace| namespace.name() == link(&inside));
    let third = third.expect("the namespace that only a process holds");
    let [blue, red] = [&blue, &red].map(|netns| named(&listing, netns).expect("a named one"));
    let mut cookies = vec![own[0].cookie, third.cookie, blue.cookie, red.cookie];
    cookies.sort_unstable();
    cookies.dedup();
    assert_eq!(cookies.len(), 4, "each has a cookie of its own");
    Ok(())
}

#[test]
fn work_happens_inside_and_leaves_this_thread_where_it_is() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("inside")?;
    netns.addresses(&["10.77.9.9/32"])?;
    let before = link("/proc/thread-self/ns/net");
    let listing = Namespaces::default().scan()?;
    let namespace = named(&listing, &netns).expect("listed");

    let (place, bound) = netns::run(namespace, || {
        (link("/proc/thread-self/ns/net"), UdpSocket::bind("10.77.9.9:0").map(drop))
    })?;
    assert_eq!(place, namespace.id.to_string());
    bound?;
    assert_eq!(link("/proc/thread-self/ns/net"), before);
    UdpSocket::bind("10.77.9.9:0").expect_err("the address is not here");
    Ok(())
}

#[test]
fn a_namespace_that_ended_is_let_go_and_its_successor_is_another() -> anyhow::Result<()> {
    require::kernel()?;
    let mut namespaces = Namespaces::default();
    let mut reused = 0;
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let netns = NetNs::create("again")?;
        let listing = namespaces.scan()?;
        let namespace = named(&listing, &netns).expect("listed").clone();
        let held = held(&namespace.id.to_string())?;
        assert_eq!(held, 1, "the test's own: a scan keeps no namespace alive");
        assert_eq!(netns::run(&namespace, || 7)?, 7);
        reused += usize::from(!seen.insert(namespace.id));
        let fresh = netns.run(|| Namespaces::default().scan())??;
        let fresh = fresh.namespaces.iter().find(|other| other.own).expect("where it runs");
        assert_eq!((fresh.id, fresh.cookie), (namespace.id, namespace.cookie));
        drop(netns);
        let listing = namespaces.scan()?;
        assert!(listing.namespaces.iter().all(|other| other.cookie != namespace.cookie));
        let error = netns::run(&namespace, || ()).expect_err("it has ended");
        assert!(matches!(error, NetnsError::Gone { .. }), "{error}");
    }
    // Not asserted: whether the kernel reuses inode numbers depends on who else makes some.
    ui::note(format!("{reused} of 20 namespaces had the inode number of an earlier one"));
    Ok(())
}

#[test]
fn hundreds_of_namespaces_are_cheap_to_list() -> anyhow::Result<()> {
    require::kernel()?;
    let many: Vec<_> =
        (0..200).map(|n| NetNs::create(&format!("n{n}"))).collect::<Result<_, _>>()?;
    let mut namespaces = Namespaces::default();
    for what in ["first", "second", "third"] {
        let start = Instant::now();
        let listing = namespaces.scan()?;
        let took = start.elapsed();
        assert!(many.iter().all(|netns| named(&listing, netns).is_some()));
        let count = listing.namespaces.len();
        let processes = fs::read_dir(Path::new("/proc"))?.count();
        ui::note(format!("{what} scan: {took:?}, {count} namespaces, {processes} in /proc"));
    }
    Ok(())
}
