//! Globs, rules and verdicts; and that no step of a plan gives anybody a third verdict.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::Verdict::{In, Out};
use super::glob::{CgroupGlob, NetnsGlob};
use super::plan::{Step, plan};
use super::rules::{Rules, Why};
use super::tree::{Found, Tree, parent};
use super::verdicts::{Filters, Held, Namespace, Room, Verdicts, verdicts};
use super::*;

const ROOM: Room = Room { cgroups: 1000, namespaces: 1000 };

fn globs(texts: &[&str]) -> Vec<CgroupGlob> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn rules(include: &[&str], exclude: &[&str]) -> Rules {
    Rules { include_cgroups: globs(include), exclude_cgroups: globs(exclude), ..Rules::default() }
}

fn tree(rules: &Rules, paths: &[&str]) -> Tree {
    let mut tree = Tree::new(Arc::new(rules.clone()));
    tree.replace(found(paths));
    tree
}

fn found(paths: &[&str]) -> Vec<Found> {
    (1..).zip(paths).map(|(id, path)| Found { path: (*path).to_owned(), id }).collect()
}

#[test]
fn globs_are_those_of_a_shell() {
    for (glob, path, matches) in [
        ("/system.slice/nginx.service", "/system.slice/nginx.service", true),
        ("/system.slice/nginx.service/", "/system.slice/nginx.service", true),
        ("/system.slice/nginx.service", "/system.slice/nginx.service/worker", false),
        ("/system.slice/*", "/system.slice/nginx.service", true),
        ("/system.slice/*", "/system.slice/a/b", false),
        ("/docker/*", "/docker", false),
        ("/kubepods.slice/**", "/kubepods.slice/a/b/c", true),
        ("/kubepods.slice/**", "/kubepods.slice", false),
        ("/kubepods.slice/**", "/kubepods.slices", false),
        ("/kubepods.slice/**/cri-*.scope", "/kubepods.slice/a/b/cri-1.scope", true),
        ("**/nginx.service", "/system.slice/nginx.service", true),
        ("**/nginx.service", "/nginx.service", true),
        ("**/nginx.service", "/my-nginx.service", false),
        ("/a?c", "/abc", true),
        ("/a?c", "/a/c", false),
        ("/[a-c]x", "/bx", true),
        ("/[!a-c]x", "/bx", false),
        // Names that systemd escapes are written as they are.
        (r"/system.slice/dev-by\x2duuid.swap", r"/system.slice/dev-by\x2duuid.swap", true),
        ("/", "/", true),
        ("/*", "/", false),
        ("/**", "/a", true),
        ("/.hidden/*", "/.hidden/.x", true),
    ] {
        let parsed: CgroupGlob = glob.parse().unwrap();
        assert_eq!(parsed.matches(path), matches, "{glob} on {path}");
    }
}

#[test]
fn bad_globs_are_refused_at_their_place() {
    for (glob, complaint) in [
        ("", "position 1: an empty"),
        ("system.slice", "position 1: begin with `/`"),
        ("*", "position 1: begin with `/`"),
        ("/a//b", "position 4: \"\""),
        ("/a/../b", "position 4: \"..\""),
        ("/a/[b", "position 4: invalid range"),
        ("/a/b**", "position 4: recursive wildcards"),
        ("/a/***", "position 6: wildcards are"),
    ] {
        let error = glob.parse::<CgroupGlob>().unwrap_err().to_string();
        assert!(error.starts_with(complaint), "{glob:?}: {error}");
    }
    assert!("blue-[".parse::<NetnsGlob>().is_err());
}

#[test]
fn namespaces_are_matched_by_any_of_their_names() {
    for (glob, name, matches) in [
        ("blue-*", "blue-1", true),
        ("blue-*", "net:[4026531840]", false),
        ("net:[4026531840]", "net:[4026531840]", true),
        ("net:[4026531840]", "net:4", false),
        ("net:[*]", "net:[4026531840]", true),
    ] {
        let parsed: NetnsGlob = glob.parse().unwrap();
        assert_eq!(parsed.matches(name), matches, "{glob} on {name}");
    }
}

#[test]
fn exclusion_beats_inclusion_and_both_cover_what_is_below() {
    let none = rules(&[], &[]);
    assert_eq!(none.cgroup_at("/a/b"), Why::Default);
    let both = rules(&["/a", "/x/*"], &["/a/b", "/x"]);
    for (path, verdict, why) in [
        ("/", Out, "no --include-cgroup covers it"),
        ("/a", In, "--include-cgroup /a"),
        ("/a/c/d", In, "--include-cgroup /a"),
        ("/a/b", Out, "--exclude-cgroup /a/b"),
        ("/a/b/c", Out, "--exclude-cgroup /a/b"),
        ("/x/y", Out, "--exclude-cgroup /x"),
        ("/ab", Out, "no --include-cgroup covers it"),
    ] {
        let told = both.cgroup_at(path);
        assert_eq!((told.verdict(), told.to_string().as_str()), (verdict, why), "{path}");
    }
    assert_eq!(rules(&[], &["/a"]).cgroup_at("/b").verdict(), In);
    assert_eq!(rules(&["/"], &["/a"]).cgroup_at("/b").verdict(), In);
    assert_eq!(rules(&[], &["/"]).cgroup_at("/b/c").verdict(), Out);
}

#[test]
fn the_tree_follows_what_comes_and_goes() {
    let rules = rules(&[], &["/a/x"]);
    let mut tree = tree(&rules, &["/", "/a", "/a/x", "/a/x/1", "/a-b", "/b"]);
    assert_eq!(tree.len(), 6);
    assert_eq!(tree.put(Found { path: "/a".to_owned(), id: 2 }), None, "known");
    assert_eq!(tree.put(Found { path: "/a/x/1/2".to_owned(), id: 9 }), Some((9, Out)));
    assert_eq!(tree.get("/a/x/1/2").unwrap().why.verdict(), Out);
    // Removed and made again: what was below is gone.
    assert_eq!(tree.put(Found { path: "/a".to_owned(), id: 10 }), Some((10, In)));
    let paths: Vec<&String> = tree.cgroups().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/", "/a", "/a-b", "/b"]);
    assert!(tree.remove("/b") && !tree.remove("/b"));
    assert!(tree.replace(found(&["/"])) && !tree.replace(found(&["/"])));
    assert!(tree.remove("/") && tree.is_empty());
}

#[test]
fn the_entries_that_matter_come_first() {
    let rules = rules(&[], &["/a/b", "/c"]);
    let paths = ["/", "/a", "/a/b", "/a/b/1", "/a/b/2", "/c", "/d"];
    let tree = tree(&rules, &paths);
    let at = |room| verdicts(&rules, &tree, &[], Room { cgroups: room, ..ROOM });
    let all = at(7);
    assert_eq!(all.held.cgroups.len(), 7);
    assert!(all.warnings.is_empty(), "{:?}", all.warnings);
    let few = at(3);
    let ids: Vec<u64> = few.held.cgroups.keys().copied().collect();
    assert_eq!(ids, [1, 3, 6], "the root, /a/b, /c");
    assert!(few.warnings[0].contains("--max-cgroups"), "{:?}", few.warnings);
    assert!(few.warnings[0].starts_with("7 cgroups"), "{:?}", few.warnings);
    let fewer = at(2);
    assert!(fewer.warnings[0].starts_with("1 cgroups with a verdict of their own"));
    assert_eq!(fewer.held.cgroups.keys().copied().collect::<Vec<_>>(), [1, 6]);
}

#[test]
fn namespaces_have_entries_where_they_differ_from_the_default() {
    let namespace = |cookie, name: &str| Namespace { cookie, names: vec![name.to_owned()] };
    let there = [namespace(1, "host"), namespace(2, "blue"), namespace(3, "blue-2")];
    let of = |include: &[&str], exclude: &[&str], room| {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let rules = Rules {
            include_namespaces: parse(include),
            exclude_namespaces: parse(exclude),
            ..Rules::default()
        };
        let tree = Tree::new(Arc::new(rules.clone()));
        verdicts(&rules, &tree, &there, Room { namespaces: room, ..ROOM })
    };
    let Verdicts { held, .. } = of(&[], &["blue*"], 9);
    assert_eq!(held.filters, Filters { cgroups: None, namespaces: Some(In) });
    assert_eq!(held.namespaces, [(2, Out), (3, Out)].into());
    let Verdicts { held, .. } = of(&["blue*"], &["blue-*"], 9);
    assert_eq!(held.filters.namespaces, Some(Out));
    assert_eq!(held.namespaces, [(2, In)].into());
    assert!(of(&[], &["blue*"], 1).warnings[0].contains("--max-namespaces"));
    assert_eq!(of(&[], &[], 9).held, Held::default());
}

/// What the kernel decides for a cgroup: its entry, or that of the nearest ancestor that has
/// one, or the default.
fn kernel(held: &Held, tree: &Tree, path: &str) -> Verdict {
    let Some(default) = held.filters.cgroups else { return In };
    let mut at = Some(path);
    while let Some(path) = at {
        let id = tree.get(path).map(|cgroup| cgroup.id);
        if let Some(verdict) = id.and_then(|id| held.cgroups.get(&id)) {
            return *verdict;
        }
        at = parent(path);
    }
    default
}

fn kernel_namespace(held: &Held, cookie: u64) -> Verdict {
    let Some(default) = held.filters.namespaces else { return In };
    held.namespaces.get(&cookie).copied().unwrap_or(default)
}

/// A path of one to four parts of `a`, `b`, `c`.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", 1..5).prop_map(|parts| format!("/{}", parts.join("/")))
}

fn some_paths() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(path(), 0..25).prop_map(|paths| {
        let mut closed: BTreeSet<String> = ["/".to_owned()].into();
        for path in &paths {
            let mut at = Some(path.as_str());
            while let Some(path) = at {
                closed.insert(path.to_owned());
                at = parent(path);
            }
        }
        closed
    })
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let glob = || prop_oneof![path(), path().prop_map(|path| format!("{path}/*"))];
    let some = |most| prop::collection::vec(glob(), 0..most);
    let names = |most| prop::collection::vec("[ab][12*]", 0..most);
    (some(3), some(3), names(3), names(3)).prop_map(|(include, exclude, names, not)| {
        let parse = |texts: Vec<String>| texts.iter().map(|text| text.parse().unwrap()).collect();
        let parse_names = |texts: Vec<String>| {
            texts.iter().map(|text| text.parse::<NetnsGlob>().unwrap()).collect()
        };
        Rules {
            include_cgroups: parse(include),
            exclude_cgroups: parse(exclude),
            include_namespaces: parse_names(names),
            exclude_namespaces: parse_names(not),
        }
    })
}

/// A tree whose ids depend on the path alone: a cgroup that is in two trees is the same.
fn tree_of(rules: &Rules, paths: &BTreeSet<String>) -> Tree {
    let digit = |c: char| c.to_digit(16).unwrap_or(1);
    let id = |path: &str| path.chars().fold(7, |id, c| id * 16 + u64::from(digit(c)));
    let mut tree = Tree::new(Arc::new(rules.clone()));
    tree.replace(paths.iter().map(|path| Found { path: path.clone(), id: id(path) }).collect());
    tree
}

fn names() -> Vec<Namespace> {
    let names = ["a1", "a2", "b1", "b2", "c"];
    (1..).zip(names).map(|(cookie, it)| Namespace { cookie, names: vec![it.to_owned()] }).collect()
}

/// The verdict straight from the definition.
fn defined(rules: &Rules, path: &str) -> Verdict {
    let mut above = vec![path];
    while let Some(up) = parent(above[above.len() - 1]) {
        above.push(up);
    }
    let covers = |globs: &[CgroupGlob]| globs.iter().any(|it| above.iter().any(|p| it.matches(p)));
    let included = rules.include_cgroups.is_empty() || covers(&rules.include_cgroups);
    if included && !covers(&rules.exclude_cgroups) { In } else { Out }
}

proptest! {
    #[test]
    fn the_kernel_decides_what_the_rules_say(rules in some_rules(), paths in some_paths()) {
        let tree = tree_of(&rules, &paths);
        // However little fits, as long as what is needed does.
        let roomy = verdicts(&rules, &tree, &names(), ROOM);
        let needed = (0..1000).find(|room| {
            let tight = verdicts(&rules, &tree, &names(), Room { cgroups: *room, ..ROOM });
            !tight.warnings.iter().any(|it| it.contains("treated like their parents"))
        });
        let room = Room { cgroups: needed.unwrap(), ..ROOM };
        let tight = verdicts(&rules, &tree, &names(), room);
        for path in &paths {
            let verdict = defined(&rules, path);
            prop_assert_eq!(rules.cgroup_at(path).verdict(), verdict, "{}", path);
            prop_assert_eq!(kernel(&roomy.held, &tree, path), verdict, "{}", path);
            prop_assert_eq!(kernel(&tight.held, &tree, path), verdict, "{}", path);
        }
    }

    #[test]
    fn every_prefix_of_a_plan_gives_the_old_verdict_or_the_new(
        (before, after) in (some_rules(), some_rules()),
        (was, is) in (some_paths(), some_paths()),
        (little, less) in (1_usize..30, 1_usize..30),
        filtered in any::<bool>(),
    ) {
        let then = Room { cgroups: little, ..ROOM };
        let mut held = verdicts(&before, &tree_of(&before, &was), &names(), then).held;
        if !filtered {
            // What an earlier agent left while nobody asked.
            held.filters = Filters::default();
        }
        let now = Room { cgroups: less, ..ROOM };
        let tree = tree_of(&after, &is);
        let desired = verdicts(&after, &tree, &names(), now);
        let start = held.clone();
        // The map has room for both; what is wanted is less than what there is all the same.
        for step in plan(&start, &desired, ROOM) {
            held.take(step);
            for path in &is {
                let verdict = kernel(&held, &tree, path);
                let old = kernel(&start, &tree, path);
                let new = kernel(&desired.held, &tree, path);
                prop_assert!([old, new].contains(&verdict), "{path} after {step:?}");
            }
            for namespace in names() {
                let verdict = kernel_namespace(&held, namespace.cookie);
                let old = kernel_namespace(&start, namespace.cookie);
                let new = kernel_namespace(&desired.held, namespace.cookie);
                prop_assert!([old, new].contains(&verdict), "{namespace:?} after {step:?}");
            }
        }
        prop_assert_eq!(&held, &desired.held);
        prop_assert_eq!(plan(&held, &desired, ROOM), Vec::<Step>::new());
    }

    #[test]
    fn a_plan_never_needs_more_room_than_there_is(
        (before, after) in (some_rules(), some_rules()),
        (was, is) in (some_paths(), some_paths()),
        size in 1_usize..12,
    ) {
        let room = Room { cgroups: size, namespaces: 2 };
        let mut held = verdicts(&before, &tree_of(&before, &was), &names(), room).held;
        let desired = verdicts(&after, &tree_of(&after, &is), &names(), room);
        for step in plan(&held.clone(), &desired, room) {
            held.take(step);
            prop_assert!(held.cgroups.len() <= size && held.namespaces.len() <= 2);
        }
        prop_assert_eq!(held, desired.held);
    }
}
