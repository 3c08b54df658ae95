//! The ledger and its file. A change is one line, appended before what it is about happens; now
//! and then the file is written anew, to a temporary file, synced and renamed.
//!
//! Appended lines are not synced: they have to survive an agent that is killed, not a machine
//! that stops, for then the maps and what they counted are gone as well.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mesh_api::model::ObjectName;
use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use super::{
    Account, EdgeBook, EdgeStep, Entry, InboundBook, InboundStep, Last, Ledger, RefusalBook,
    RefusalStep, Sources, Step, Totals, line,
};

const FILE: &str = "counters.json";
const TEMPORARY: &str = "counters.json.new";
/// Appended bytes after which the file is written anew, if it has doubled.
const LEAST_APPENDED: usize = 1 << 20;

/// The ledger cannot be kept on disk; it goes on in memory.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write {}: {source}; until it can be written, counters of removed endpoints do not \
     survive a restart", .path.display()
)]
pub struct LedgerError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The ledger and its file.
#[derive(Debug, Default)]
pub struct Journal {
    ledger: Ledger,
    pending: Vec<Entry>,
    disk: Option<Disk>,
    /// The books were not kept for the present map of edges.
    edges_new: bool,
    /// Nor for the present map of refusals.
    refusals_new: bool,
}

#[derive(Debug)]
struct Disk {
    directory: PathBuf,
    /// Open for appending; not there where the file has to be written anew.
    file: Option<File>,
    /// Bytes at the last time the file was written anew, and appended since.
    whole: usize,
    appended: usize,
}

impl Journal {
    /// A journal without a file.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Opens the file below `directory` and goes over to the present maps; `earlier` are maps
    /// that the programs have just left for good.
    pub fn open(
        directory: &Path,
        present: &Sources,
        earlier: Option<(&Sources, &Last)>,
    ) -> Result<Self, LedgerError> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(source) => return Err(LedgerError { path, source }),
        };
        // Without a file, all that the earlier maps counted is for whoever holds the index now.
        let first = earlier.map_or(present, |(sources, _)| sources);
        let mut ledger = parse(&text).unwrap_or_else(|| Ledger::new(first.clone()));
        let known = &ledger.sources;
        let edges_new = (&known.boot, known.edges) != (&present.boot, present.edges);
        let refusals_new = (&known.boot, known.refusals) != (&present.boot, present.refusals);
        ledger.carry(present, earlier);
        let disk = Disk { directory: directory.to_owned(), file: None, whole: 0, appended: 0 };
        let mut journal =
            Self { ledger, pending: Vec::new(), disk: Some(disk), edges_new, refusals_new };
        journal.commit()?;
        Ok(journal)
    }

    fn enter(&mut self, entry: Entry) {
        self.ledger.apply(&entry);
        // A file that has to be written anew gets all of the ledger.
        if self.disk.as_ref().is_some_and(|disk| disk.file.is_some()) {
            self.pending.push(entry);
        }
    }

    /// How many changes wait to be written.
    #[cfg(test)]
    pub(super) const fn pending(&self) -> usize {
        self.pending.len()
    }

    /// As after a write that has failed.
    #[cfg(test)]
    pub(super) fn give_up_file(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.file = None;
        }
    }

    /// Whether all changes were on disk when they were last to be; without a file they need not be.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.disk.as_ref().is_none_or(|disk| disk.file.is_some())
    }

    /// A backend is about to be freed; what it counts until then is the account's.
    pub fn leave_backend(&mut self, index: BackendIndex, account: &Account) {
        if self.ledger.backends.leaver(index.index) != Some(account) {
            self.enter(Entry::Backend(Step::Leave(index.index, account.clone())));
        }
    }

    /// A service is about to be freed; what it counts until then is its own.
    pub fn leave_service(&mut self, index: ServiceIndex, name: &ObjectName) {
        let account = Account::of_service(name.clone());
        if self.ledger.services.leaver(index.index) != Some(&account) {
            self.enter(Entry::Service(Step::Leave(index.index, account)));
        }
    }

    /// A backend counts for `account` from here on; so far it did for whom it was leaving, or for
    /// `before`. With neither, all it counted is the account's.
    pub fn take_backend(
        &mut self,
        index: BackendIndex,
        before: Option<&Account>,
        account: &Account,
        raw: BackendCounters,
    ) {
        let leaver = self.ledger.backends.leaver(index.index);
        let step = match leaver.or(before) {
            Some(before) if before != account => Step::Settle(index.index, before.clone(), raw),
            Some(_) | None if leaver.is_some() => Step::Stay(index.index),
            Some(_) | None => return,
        };
        self.enter(Entry::Backend(step));
    }

    /// The same of a service.
    pub fn take_service(&mut self, index: ServiceIndex, name: &ObjectName, raw: ServiceCounters) {
        let account = Account::of_service(name.clone());
        let step = match self.ledger.services.leaver(index.index) {
            None => return,
            Some(before) if *before == account => Step::Stay(index.index),
            Some(before) => Step::Settle(index.index, before.clone(), raw),
        };
        self.enter(Entry::Service(step));
    }

    /// A backend's entry is free and no program counts there any more.
    pub fn settle_backend(&mut self, index: BackendIndex, raw: BackendCounters) {
        let account = self.ledger.backends.leaver(index.index).cloned().unwrap_or_default();
        self.enter(Entry::Backend(Step::Settle(index.index, account, raw)));
    }

    /// A service's entry is free and no program counts there any more.
    pub fn settle_service(&mut self, index: ServiceIndex, raw: ServiceCounters) {
        let account = self.ledger.services.leaver(index.index).cloned().unwrap_or_default();
        self.enter(Entry::Service(Step::Settle(index.index, account, raw)));
    }

    /// Changes the book of edges.
    pub fn enter_edge(&mut self, step: EdgeStep) {
        self.enter(Entry::Edge(step));
    }

    /// The book of edges.
    #[must_use]
    pub const fn edges(&self) -> &EdgeBook {
        &self.ledger.edges
    }

    /// Changes the book of connections to this node's endpoints.
    pub fn enter_inbound(&mut self, step: InboundStep) {
        self.enter(Entry::Inbound(step));
    }

    /// The book of connections to this node's endpoints.
    #[must_use]
    pub const fn inbound(&self) -> &InboundBook {
        &self.ledger.inbound
    }

    /// Changes the book of refusals.
    pub fn enter_refusal(&mut self, step: RefusalStep) {
        self.enter(Entry::Refusal(step));
    }

    /// The book of refusals.
    #[must_use]
    pub const fn refusals(&self) -> &RefusalBook {
        &self.ledger.refusals
    }

    /// See [`Self::edges_are_new`].
    #[must_use]
    pub const fn refusals_are_new(&self) -> bool {
        self.refusals_new
    }

    /// Whether nobody has kept this book so far: the map may hold edges of backends that were settled
    /// without them.
    #[must_use]
    pub const fn edges_are_new(&self) -> bool {
        self.edges_new
    }

    /// Backends that are about to be freed, also those that an earlier agent did not come to free.
    pub fn leaving_backends(&self) -> impl Iterator<Item = (BackendIndex, &Account)> {
        self.ledger.backends.leaving().map(|(index, account)| (BackendIndex { index }, account))
    }

    /// Services that are about to be freed.
    pub fn leaving_services(&self) -> impl Iterator<Item = (ServiceIndex, &ObjectName)> {
        self.ledger.services.leaving().filter_map(|(index, account)| {
            account.service.as_ref().map(|name| (ServiceIndex { index }, name))
        })
    }

    /// For whom a backend counts that is about to be freed.
    #[must_use]
    pub fn leaver(&self, index: BackendIndex) -> Option<&Account> {
        self.ledger.backends.leaver(index.index)
    }

    /// For whom a service counts that is about to be freed.
    #[must_use]
    pub fn service_leaver(&self, index: ServiceIndex) -> Option<&Account> {
        self.ledger.services.leaver(index.index)
    }

    /// What a backend has counted for its present holder.
    #[must_use]
    pub fn counted(&self, index: BackendIndex, raw: BackendCounters) -> BackendCounters {
        self.ledger.backends.counted(index.index, &raw)
    }

    /// What a service has counted for its present holder.
    #[must_use]
    pub fn counted_service(&self, index: ServiceIndex, raw: ServiceCounters) -> ServiceCounters {
        self.ledger.services.counted(index.index, &raw)
    }

    /// What programs have counted for a reason, also in maps that are gone.
    #[must_use]
    pub fn counted_reason(&self, reason: Reason, raw: ReasonCount) -> ReasonCount {
        self.ledger.reasons.counted(reason.code, &raw)
    }

    /// Totals of backends that were freed.
    #[must_use]
    pub const fn settled(&self) -> &Totals {
        self.ledger.backends.settled()
    }

    /// Totals of services that were freed.
    #[must_use]
    pub const fn settled_services(&self) -> &BTreeMap<Account, ServiceCounters> {
        self.ledger.services.settled()
    }

    /// Writes what is new to the file.
    pub fn commit(&mut self) -> Result<(), LedgerError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let written = disk.write(&self.ledger, &self.pending).map_err(|source| {
            // What came of the attempt is not known: the next one writes everything.
            disk.file = None;
            LedgerError { path: disk.directory.join(FILE), source }
        });
        self.pending.clear();
        written
    }
}

impl Disk {
    fn write(&mut self, ledger: &Ledger, pending: &[Entry]) -> io::Result<()> {
        let grown = self.appended > self.whole.max(LEAST_APPENDED);
        match &mut self.file {
            Some(_) if pending.is_empty() => Ok(()),
            Some(file) if !grown => {
                let mut text = String::new();
                for entry in pending {
                    writeln!(text, "{}", line::entry(entry)?).map_err(io::Error::other)?;
                }
                self.appended += text.len();
                file.write_all(text.as_bytes())
            }
            Some(_) | None => self.rewrite(ledger),
        }
    }

    fn rewrite(&mut self, ledger: &Ledger) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let temporary = self.directory.join(TEMPORARY);
        let mut text = String::new();
        writeln!(text, "{}", line::header(&ledger.sources)?).map_err(io::Error::other)?;
        for entry in ledger.entries() {
            writeln!(text, "{}", line::entry(&entry)?).map_err(io::Error::other)?;
        }
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let path = self.directory.join(FILE);
        fs::rename(&temporary, &path)?;
        File::open(&self.directory)?.sync_all()?;
        self.file = Some(OpenOptions::new().append(true).open(&path)?);
        (self.whole, self.appended) = (text.len(), 0);
        Ok(())
    }
}

/// Reads the file's text; `None` where it is none of ours. A line that was not written to its end
/// ends the file.
fn parse(text: &str) -> Option<Ledger> {
    let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
    let mut ledger = Ledger::new(line::parse_header(lines.next()?)?);
    for entry in lines.map_while(line::parse_entry) {
        ledger.apply(&entry);
    }
    Some(ledger)
}
