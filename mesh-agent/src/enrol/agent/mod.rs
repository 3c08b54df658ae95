//! Keeps the verdicts and the list of workloads up to date: hears of new cgroups within
//! milliseconds, and scans everything now and then, in case something was missed.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Verdict;
use super::rules::Rules;
use super::scan::{Base, MAX_CGROUPS, Scan, ScanError};
use super::tree::Tree;
use super::verdicts::{Namespace, Room, Verdicts, verdicts};
use super::watch::{Heard, Watches};
use crate::workload::inventory::{Inventory, inventory};

/// Between two scans where every directory is watched.
const SCAN: Duration = Duration::from_secs(30);
/// The same where some are not: this is how long a new cgroup stays unknown.
const SCAN_BLIND: Duration = Duration::from_secs(1);
/// Between two looks at the network namespaces; there is no event for one without a name.
const NAMES: Duration = Duration::from_secs(5);
/// The first look after a name was made: the namespace is mounted there a moment later.
const NAMES_SOON: Duration = Duration::from_millis(5);
/// How long events are collected before everything is computed anew. What is new has been told
/// by then.
const SETTLE: Duration = Duration::from_millis(20);
/// Least time between two lists of workloads, which are for people.
const LIST: Duration = Duration::from_millis(100);

/// What it needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the flags say.
    pub rules: Rules,
    /// Where the cgroups are.
    pub base: Base,
    /// Sizes of the maps.
    pub room: Room,
    /// Where network namespaces have names: `/run/netns`.
    pub names: PathBuf,
}

/// What it tells. The two states are those of the first scan from the beginning.
#[derive(Debug)]
pub struct Outputs {
    /// What the maps should hold.
    pub verdicts: watch::Receiver<Arc<Verdicts>>,
    /// Cgroups that have just been made, ahead of `verdicts`, for which computing takes time that
    /// grows with their number. Whoever takes both must take `verdicts` first where both have
    /// something: an older one has no entry for what is new.
    pub fresh: mpsc::UnboundedReceiver<Fresh>,
    /// Who runs on this node.
    pub inventory: watch::Receiver<Arc<Inventory>>,
}

/// Ids of new cgroups with their verdicts.
pub type Fresh = Vec<(u64, Verdict)>;

/// Lists network namespaces; asked only where a flag speaks of them.
pub trait ListNamespaces: Send {
    /// All that there are now, or why they cannot be listed.
    fn list(&mut self) -> Result<Vec<Namespace>, String>;
}

/// Watches the node.
#[derive(Debug)]
pub struct Enrolment<List> {
    settings: Settings,
    rules: Arc<Rules>,
    list: List,
    tree: Tree,
    namespaces: Vec<Namespace>,
    watches: Option<Watches>,
    /// What was complained about last, so that it is said once.
    complaint: String,
    /// Why the network namespaces could not be listed.
    unlisted: String,
    said: Vec<String>,
    verdicts: watch::Sender<Arc<Verdicts>>,
    fresh: mpsc::UnboundedSender<Fresh>,
    inventory: watch::Sender<Arc<Inventory>>,
}

impl<List: ListNamespaces> Enrolment<List> {
    /// Scans once.
    pub fn start(settings: Settings, list: List) -> Result<(Self, Outputs), ScanError> {
        let rules = Arc::new(settings.rules.clone());
        let watches = match Watches::new() {
            Ok(watches) => Some(watches),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "no inotify: new cgroups are found every {SCAN_BLIND:?} only; raise the sysctl \
                     fs.inotify.max_user_instances"
                );
                None
            }
        };
        let (verdicts, verdicts_told) = watch::channel(Arc::default());
        let (fresh, fresh_told) = mpsc::unbounded_channel();
        let (inventory, inventory_told) = watch::channel(Arc::default());
        let mut enrolment = Self {
            tree: Tree::new(Arc::clone(&rules)),
            settings,
            rules,
            list,
            namespaces: Vec::new(),
            watches,
            complaint: String::new(),
            unlisted: String::new(),
            said: Vec::new(),
            verdicts,
            fresh,
            inventory,
        };
        enrolment.scan()?;
        enrolment.look();
        enrolment.tell();
        enrolment.tell_list();
        let outputs =
            Outputs { verdicts: verdicts_told, fresh: fresh_told, inventory: inventory_told };
        Ok((enrolment, outputs))
    }

    /// Watches for ever; returns why it ended.
    pub async fn run(mut self) -> String {
        let source = match self.watches.as_ref().map(waitable).transpose() {
            Ok(source) => source,
            Err(error) => return format!("cannot wait for inotify: {error}"),
        };
        let names = self.rules.filter_namespaces();
        let now = Instant::now();
        let (mut scan_at, mut names_at, mut names_wait) = (now, now + NAMES, NAMES);
        let (mut tell_at, mut list_at) = (None, None);
        loop {
            let heard = tokio::select! {
                () = readable_now(source.as_ref()) => {
                    self.watches.as_ref().map(Watches::read).unwrap_or_default()
                }
                () = tokio::time::sleep_until(scan_at) => vec![Heard::Lost],
                () = tokio::time::sleep_until(names_at), if names => vec![Heard::Names],
                () = tokio::time::sleep_until(tell_at.unwrap_or(now)), if tell_at.is_some() => {
                    tell_at = None;
                    self.tell();
                    continue;
                }
                () = tokio::time::sleep_until(list_at.unwrap_or(now)), if list_at.is_some() => {
                    list_at = None;
                    self.tell();
                    self.tell_list();
                    continue;
                }
            };
            let now = Instant::now();
            if names && heard.contains(&Heard::Names) {
                // Often at first, then ever less.
                names_wait = if now < names_at { NAMES_SOON } else { (names_wait * 2).min(NAMES) };
                names_at = now + names_wait;
            }
            let due = now >= scan_at;
            match tokio::task::block_in_place(|| self.take(&heard, due)) {
                Ok(None) => {}
                Ok(Some(next)) => scan_at = Instant::now() + next,
                Err(error) => {
                    self.complain(format!("{error}; trying again"));
                    scan_at = Instant::now() + SCAN_BLIND;
                }
            }
            let now = Instant::now();
            tell_at = tell_at.or(Some(now + SETTLE));
            list_at = list_at.or(Some(now + LIST));
        }
    }

    /// Takes over what was heard. Returns when to scan again, if it has scanned.
    fn take(&mut self, heard: &[Heard], due: bool) -> Result<Option<Duration>, ScanError> {
        if heard.contains(&Heard::Names) {
            self.look();
        }
        if heard.contains(&Heard::Lost) {
            if !due {
                tracing::warn!("events about cgroups were lost; looking at all of them");
            }
            return self.scan().map(Some);
        }
        let mut fresh = Vec::new();
        for event in heard {
            match event {
                Heard::Created(directory) => {
                    let mut scan = Scan::default();
                    let enter = watch_with(&mut self.watches);
                    if self.settings.base.walk(directory, &mut scan, enter).is_ok() {
                        fresh.extend(scan.found.into_iter().filter_map(|it| self.tree.put(it)));
                    }
                }
                Heard::Removed(directory) => {
                    // It may have been made again already: that is another event.
                    self.tree.remove(&self.settings.base.path_of(directory));
                    if let Some(watches) = &mut self.watches {
                        watches.remove(directory);
                    }
                }
                Heard::Names | Heard::Lost => {}
            }
        }
        if self.rules.filter_cgroups() && !fresh.is_empty() {
            // Whoever does not listen takes the verdicts alone.
            self.fresh.send(fresh).unwrap_or_default();
        }
        let missing = self.watches.as_mut().and_then(Watches::missing);
        Ok(missing.map(|_| SCAN_BLIND))
    }

    /// Looks at all cgroups. Returns when to do so again.
    fn scan(&mut self) -> Result<Duration, ScanError> {
        if let Some(watches) = &mut self.watches {
            watches.add_names(&self.settings.names);
        }
        let enter = watch_with(&mut self.watches);
        let Scan { found, cut } = self.settings.base.scan(enter)?;
        self.tree.replace(found);
        let mut complaint = String::new();
        if cut {
            complaint = format!("there are more than {MAX_CGROUPS} cgroups: the rest is not seen");
        }
        let Some(watches) = &mut self.watches else {
            self.complain(complaint);
            return Ok(SCAN_BLIND);
        };
        let (base, tree) = (&self.settings.base, &self.tree);
        watches.keep(|directory| tree.get(&base.path_of(directory)).is_some());
        let missing = watches.missing();
        if let Some(error) = missing {
            complaint = format!(
                "some cgroups cannot be watched ({error}): new ones are found every \
                 {SCAN_BLIND:?} only; raise the sysctl fs.inotify.max_user_watches"
            );
        }
        self.complain(complaint);
        Ok(if missing.is_some() { SCAN_BLIND } else { SCAN })
    }

    /// Says what is new to say.
    fn complain(&mut self, complaint: String) {
        if !complaint.is_empty() && complaint != self.complaint {
            tracing::warn!("{complaint}");
        }
        self.complaint = complaint;
    }

    /// Looks at the network namespaces.
    fn look(&mut self) {
        if self.rules.filter_namespaces() {
            match self.list.list() {
                Ok(namespaces) => {
                    self.namespaces = namespaces;
                    self.unlisted.clear();
                }
                Err(error) if error == self.unlisted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot list the network namespaces; trying again");
                    self.unlisted = error;
                }
            }
        }
    }

    /// Tells the verdicts.
    fn tell(&mut self) {
        let mut new = verdicts(&self.rules, &self.tree, &self.namespaces, self.settings.room);
        let others = [&self.complaint, &self.unlisted].into_iter();
        new.warnings.extend(others.filter(|text| !text.is_empty()).cloned());
        if new.warnings != self.said {
            for warning in new.warnings.iter().filter(|warning| !self.said.contains(warning)) {
                if *warning != self.complaint && *warning != self.unlisted {
                    tracing::warn!("{warning}");
                }
            }
            self.said.clone_from(&new.warnings);
        }
        self.verdicts.send_if_modified(|held| {
            let changed = **held != new;
            if changed {
                *held = Arc::new(new);
            }
            changed
        });
    }

    /// Tells who runs here.
    fn tell_list(&self) {
        let new = inventory(&self.rules, &self.tree, &self.namespaces);
        self.inventory.send_if_modified(|listed| {
            let changed = **listed != new;
            if changed {
                *listed = Arc::new(new);
            }
            changed
        });
    }
}

fn watch_with(watches: &mut Option<Watches>) -> impl FnMut(&Path) {
    move |directory| {
        if let Some(watches) = watches {
            watches.add(directory);
        }
    }
}

fn waitable(watches: &Watches) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(deprecated, reason = "owns its descriptor, so it outlives the registration")]
    AsyncFd::new(watches.readable()?)
}

/// Waits until something has happened.
async fn readable_now(source: Option<&AsyncFd<OwnedFd>>) {
    let Some(source) = source else { return std::future::pending().await };
    match source.readable().await {
        // What is there is read to the end.
        Ok(mut guard) => guard.clear_ready(),
        // Only without a runtime.
        Err(_) => std::future::pending().await,
    }
}
