//! Puts right what was found, by compare-and-exchange, and says so.

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnFlags, Stage};
use mesh_common::logic::breaker::{self, Outcome, Ticket};
use mesh_common::logic::load;

use super::Repairs;
use super::leak::Entry;
use super::surplus::Wrong;
use crate::guard::directory::Directory;
use crate::guard::line::Line;
use crate::guard::states::Key;
use crate::maps::guards::{GuardStore, Word, change};

/// Ends a connection that nobody saw end, once its record is taken back: it is no longer counted
/// anywhere, and says nothing about the backend.
pub fn release(store: &impl GuardStore, entry: &Entry, now_ms: u64) {
    let record = &entry.record;
    let open = record.stage == Stage::OPEN;
    let less = move |word: u64| {
        let word = if load::active(word) > 0 { word - load::OPEN } else { word };
        let made = !open && load::pending(word) > 0;
        Some(if made { word - load::ESTABLISHED } else { word })
    };
    let unknown = |word: Word, ticket: Ticket, limits| {
        if ticket.trial && !open {
            let settled =
                |before| breaker::settle(before, limits, ticket, Outcome::Unknown, now_ms);
            change(store, word, |before| Some(settled(before)));
        }
    };
    let guarded = record.flags.contains(ConnFlags::GUARDED);
    let policy = store.policy(record.service);
    if guarded {
        change(store, Word::ServiceLoad(record.service), less);
        let ticket = record.flags.service_ticket();
        unknown(Word::ServiceBreaker(record.service), ticket, &policy.service);
    }
    if !holds(store, entry) {
        return;
    }
    if guarded {
        change(store, Word::BackendLoad(record.backend), less);
        let ticket = record.flags.ticket();
        unknown(Word::BackendBreaker(record.backend), ticket, &policy.backend);
    }
    if record.flags.contains(ConnFlags::ACTIVE) {
        change(store, Word::Active(record.backend), |active| active.checked_sub(1));
    }
}

/// Whether a record's backend still has the index.
#[must_use]
pub fn holds(store: &impl GuardStore, entry: &Entry) -> bool {
    store.generation(entry.record.backend) == entry.record.generation
}

/// Puts a word right, if it is still what it was.
pub fn correct(store: &impl GuardStore, wrong: &Wrong, repairs: &mut Repairs) -> bool {
    let done = store.exchange(wrong.word, wrong.is, wrong.should);
    let count = match wrong.word {
        Word::ServiceLoad(_) => &mut repairs.services,
        Word::Ejected(_) => &mut repairs.ejected,
        Word::BackendLoad(_)
        | Word::ServiceBreaker(_)
        | Word::BackendBreaker(_)
        | Word::Outlier(_)
        | Word::Active(_) => &mut repairs.backends,
    };
    *count += u64::from(done);
    done
}

/// Says what was put right.
pub fn tell(directory: &Directory, word: Word, message: String) {
    let (service, backend) = match word {
        Word::ServiceLoad(service) | Word::ServiceBreaker(service) | Word::Ejected(service) => {
            (Some(service), BackendIndex::NONE)
        }
        Word::BackendLoad(backend)
        | Word::BackendBreaker(backend)
        | Word::Outlier(backend)
        | Word::Active(backend) => {
            let of = directory.services.iter().find(|it| it.holder(backend).is_some());
            (of.map(|it| it.index), backend)
        }
    };
    if let Some(entry) = service.and_then(|service| directory.find(service)) {
        Line::about(entry, Key::breaker(entry.index, backend), message).warn();
    } else {
        tracing::warn!(target: "mesh_agent::guard", ?word, "{message}");
    }
}

/// In which words, where so many connections of a backend had a record and no socket.
#[must_use]
pub fn lost(count: u64) -> String {
    let connections = if count == 1 { "connection has" } else { "connections have" };
    format!("{count} {connections} ended that no program saw end: taken out of the counts")
}

/// In which words.
#[must_use]
pub fn message(wrong: &Wrong) -> String {
    let Wrong { word, is, should, .. } = *wrong;
    if matches!(word, Word::Ejected(_)) {
        return format!("{should} backends are ejected, but {is} were counted: put right");
    }
    let connections = |word| format!("{} ({} pending)", load::active(word), load::pending(word));
    format!(
        "{} connections are there, but {} were counted: put right",
        connections(should),
        connections(is)
    )
}
