//! On ordinary directories, which look like cgroups as far as names, inode numbers and inotify
//! go. Real cgroups: `tests/tests/enrol.rs`.

use std::fs;

use tempfile::TempDir;

use super::*;

struct Nobody;

impl ListNamespaces for Nobody {
    fn list(&mut self) -> Result<Vec<Namespace>, String> {
        Ok(vec![Namespace { cookie: 1, names: vec!["blue".to_owned()] }])
    }
}

fn settings(root: &TempDir, exclude: &[&str]) -> Settings {
    Settings {
        rules: Rules {
            exclude_cgroups: exclude.iter().map(|text| text.parse().unwrap()).collect(),
            exclude_namespaces: vec!["blue".parse().unwrap()],
            ..Rules::default()
        },
        base: Base::new(root.path(), root.path()).unwrap(),
        room: Room { cgroups: 1000, namespaces: 10 },
        names: root.path().join("none"),
    }
}

/// The verdicts by path, as soon as `good` says so.
async fn until(outputs: &mut Outputs, good: impl Fn(&Inventory) -> bool + Send) -> Arc<Inventory> {
    let list = outputs.inventory.wait_for(|list| good(list));
    let patience = Duration::from_secs(20);
    Arc::clone(&tokio::time::timeout(patience, list).await.expect("in time").unwrap())
}

fn has(list: &Inventory, path: &str) -> Option<bool> {
    list.workloads.iter().find(|it| it.cgroup == path).map(|it| it.enrolled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_and_goes_is_followed() {
    let root = TempDir::new().unwrap();
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("system.slice/sshd.service")).unwrap();
    let (enrolment, mut outputs) =
        Enrolment::start(settings(&root, &["/system.slice/sshd.service", "/x/*"]), Nobody).unwrap();
    // The first scan is there before it runs.
    assert_eq!(has(&outputs.inventory.borrow(), "/system.slice/sshd.service"), Some(false));
    assert_eq!(outputs.verdicts.borrow().held.namespaces, [(1, Verdict::Out)].into());
    let task = tokio::spawn(enrolment.run());
    // It begins with a scan, which finds what is there by then: this one, at the latest.
    fs::create_dir(at("first")).unwrap();
    until(&mut outputs, |list| has(list, "/first").is_some()).await;
    while outputs.fresh.try_recv().is_ok() {}

    fs::create_dir_all(at("x/y/z")).unwrap();
    fs::create_dir(at("system.slice/nginx.service")).unwrap();
    let list = until(&mut outputs, |list| {
        has(list, "/x/y/z").is_some() && has(list, "/system.slice/nginx.service").is_some()
    })
    .await;
    assert_eq!(has(&list, "/x/y/z"), Some(false), "below an exclusion");
    assert_eq!(has(&list, "/system.slice/nginx.service"), Some(true));
    let ids: Vec<u64> = list.workloads.iter().map(|it| it.cgroup_id).collect();
    let verdicts = Arc::clone(&outputs.verdicts.borrow());
    assert!(ids.iter().all(|id| verdicts.held.cgroups.contains_key(id)), "{verdicts:?}");
    let mut early = Vec::new();
    while let Ok(fresh) = outputs.fresh.try_recv() {
        early.extend(fresh);
    }
    assert!(early.iter().all(|(id, verdict)| verdicts.held.cgroups[id] == *verdict), "{early:?}");
    assert_eq!(early.len(), 4, "x, y, z and nginx.service: {early:?}");

    fs::remove_dir_all(at("x")).unwrap();
    let list = until(&mut outputs, |list| has(list, "/x").is_none()).await;
    assert_eq!(has(&list, "/x/y"), None);
    // The same name again is another cgroup.
    fs::create_dir_all(at("x/y")).unwrap();
    until(&mut outputs, |list| has(list, "/x/y") == Some(false)).await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_events_are_made_up_for_by_a_scan() {
    let root = TempDir::new().unwrap();
    let (mut enrolment, outputs) = Enrolment::start(settings(&root, &["/a"]), Nobody).unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    enrolment.take(&[Heard::Lost], false).unwrap();
    enrolment.tell();
    let held = outputs.verdicts.borrow().held.cgroups.clone();
    assert_eq!(held.values().filter(|verdict| **verdict == Verdict::Out).count(), 2);
    // An event about what is gone meanwhile changes nothing.
    enrolment.take(&[Heard::Created(root.path().join("gone"))], false).unwrap();
    enrolment.tell();
    assert_eq!(outputs.verdicts.borrow().held.cgroups, held);
}

#[test]
fn another_hierarchy_is_refused() {
    let (root, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let error = Base::new(root.path(), other.path()).unwrap_err();
    assert!(matches!(error, ScanError::Outside { .. }), "{error}");
    let error = Base::new(root.path(), &root.path().join("none")).unwrap_err();
    assert!(matches!(error, ScanError::Read { .. }), "{error}");
}
