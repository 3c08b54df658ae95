//! Lines of the book of refusals: `index` is the service's.

use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use super::{Book, Line, Verb, account, blank, name, numbers, source, spelt};
use crate::ledger::{Account, Count as _, RefusalStep};

pub(super) fn line(step: &RefusalStep) -> Line {
    let of = |verb, key: &RefusalKey, account: Option<&Account>, count| Line {
        verb,
        index: Some(key.service.index),
        cgroup: Some(key.cgroup),
        count: numbers::<RefusalCounters>(count),
        ..blank(Book::Refusals, account)
    };
    match step {
        RefusalStep::Settle(key, client, account, raw) => {
            let (source, other) = spelt(client);
            Line { source, other, ..of(Verb::Settle, key, Some(account), Some(raw)) }
        }
        RefusalStep::Drop(key) => of(Verb::Drop, key, None, None),
        RefusalStep::Mark(key, raw) => of(Verb::Mark, key, None, Some(raw)),
        RefusalStep::Rest(account, rest) => {
            let count = vec![*rest];
            Line { verb: Verb::Rest, count, ..blank(Book::Refusals, Some(account)) }
        }
        RefusalStep::Total(client, account, total) => {
            let (source, other) = spelt(client);
            let count = numbers(Some(total));
            Line { source, other, count, ..blank(Book::Refusals, Some(account)) }
        }
    }
}

pub(super) fn step(line: &Line) -> Option<RefusalStep> {
    let key = || {
        let service = ServiceIndex { index: line.index? };
        Some(RefusalKey { cgroup: line.cgroup?, service, pad: 0 })
    };
    let client = source(line, name(line.source.as_deref()).ok()?);
    let count = || RefusalCounters::from_numbers(&line.count);
    Some(match line.verb {
        Verb::Settle => RefusalStep::Settle(key()?, client, account(line)?, count()?),
        Verb::Drop => RefusalStep::Drop(key()?),
        Verb::Mark => RefusalStep::Mark(key()?, count()?),
        Verb::Rest => RefusalStep::Rest(account(line)?, line.count.first().copied()?),
        Verb::Total => RefusalStep::Total(client, account(line)?, count()?),
        Verb::Leave
        | Verb::Stay
        | Verb::Name
        | Verb::Fold
        | Verb::Told
        | Verb::Move
        | Verb::Own
        | Verb::Others
        | Verb::Gone => return None,
    })
}
