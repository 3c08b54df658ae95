//! The connections that are open, with names. Reading is apart from the rest, which is pure.

use std::cmp::Reverse;
use std::path::Path;
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::wire::{Connection, ListConnections, OpenConnections, Transport};
use mesh_common::canary;
use mesh_common::conn::{ConnFlags, ConnRecord, Stage, WAYS};

use crate::accel::live;
use crate::maps::MapError;
use crate::maps::kernel::conns::ConnTable;
use crate::maps::kernel::pairs::PairTable;
use crate::reconcile::{BackendKey, BackendNames, Named};

/// Connections listed unless told otherwise.
const LIMIT: u32 = 10_000;
/// Connections in one message: some 200 KiB.
const PART: usize = 1000;

/// A connection as the programs know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Of the client's socket.
    pub cookie: u64,
    /// The record.
    pub record: ConnRecord,
    /// Which ways the data goes, where both ends are known: sent and received.
    pub paths: Option<(&'static str, &'static str)>,
}

impl Open {
    /// Its backend.
    #[must_use]
    pub const fn backend(&self) -> BackendKey {
        (self.record.backend, self.record.generation)
    }

    /// Since the SYN; nothing where nobody has sent one yet.
    fn age(&self, now: Duration) -> Duration {
        if self.record.stage == Stage::CHOSEN {
            return Duration::ZERO;
        }
        now.saturating_sub(Duration::from_nanos(self.record.started_ns))
    }
}

/// Reads the table while the programs write to it. The maps are in the agent's memory meanwhile.
/// Connections for which the table had no room are not found.
pub fn read(pin_path: &Path) -> Result<Vec<Open>, MapError> {
    let table = ConnTable::open(pin_path)?;
    let pairs = PairTable::open(pin_path)?;
    let mut found = Vec::new();
    for (first, group) in (0..).step_by(WAYS).zip(table.groups()) {
        for (place, cookie) in (first..).zip(group.cookies) {
            let Some(record) = table.record(place).filter(|_| cookie != 0) else { continue };
            // Whoever has the place now may have written the record.
            if table.holder(place) != cookie || !is_shown(&record) {
                continue;
            }
            let accelerated = record.flags.contains(ConnFlags::ACCELERATED);
            let pair = accelerated.then(|| pairs.of(place, cookie)).flatten();
            let paths = pair.map(|it| (live::name(it.sent_path), live::name(it.received_path)));
            found.push(Open { cookie, record, paths });
        }
    }
    Ok(found)
}

/// Whether it is a connection of somebody that has not ended.
fn is_shown(record: &ConnRecord) -> bool {
    record.stage != Stage::DONE && !canary::is_reserved(record.frontend_addr.to_ip())
}

/// The answer, in parts: by service and endpoint, the oldest first. `now` is `CLOCK_MONOTONIC`.
#[must_use]
pub fn answer(
    open: &[Open],
    names: &BackendNames,
    wanted: &ListConnections,
    now: Duration,
) -> Vec<OpenConnections> {
    // Rows are made only of what is listed.
    let mut found: Vec<(Option<&Named>, &Open)> = open
        .iter()
        .map(|it| (names.get(&it.backend()), it))
        .filter(|(named, _)| is_wanted(*named, wanted))
        .collect();
    found.sort_by_key(|(named, it)| {
        let name = named.map(|it| (&it.service, &it.endpoint));
        (name, Reverse(milliseconds(it.age(now))), it.cookie)
    });
    let limit = if wanted.limit == 0 { LIMIT } else { wanted.limit };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let omitted = found.len().saturating_sub(limit);
    found.truncate(limit);
    let mut parts = Vec::new();
    let mut rest = found.into_iter().peekable();
    loop {
        let part = rest.by_ref().take(PART);
        let connections = part.map(|(named, it)| connection(it, named, now)).collect();
        let more = rest.peek().is_some();
        parts.push(OpenConnections { connections, omitted: 0, more });
        if !more {
            break;
        }
    }
    if let Some(last) = parts.last_mut() {
        last.omitted = u64::try_from(omitted).unwrap_or(u64::MAX);
    }
    parts
}

fn is_wanted(named: Option<&Named>, wanted: &ListConnections) -> bool {
    let same = |wanted: &str, is: Option<&str>| wanted.is_empty() || is == Some(wanted);
    let service = named.map(|it| &it.service);
    same(&wanted.namespace, service.map(|it| it.namespace.as_str()))
        && same(&wanted.service, service.map(|it| it.name.as_str()))
}

fn connection(open: &Open, named: Option<&Named>, now: Duration) -> Connection {
    let Open { cookie, record, paths } = open;
    let address = |ip: &mesh_common::addr::IpKey, port: u16| {
        std::net::SocketAddr::new(ip.to_ip(), port).to_string()
    };
    let is_up = matches!(record.stage, Stage::OPEN | Stage::DATAGRAM);
    let transport = if record.stage == Stage::DATAGRAM { Transport::Udp } else { Transport::Tcp };
    let mut connection = Connection {
        cookie: *cookie,
        transport: transport.into(),
        frontend: address(&record.frontend_addr, record.frontend_port),
        backend: address(&record.backend_addr, record.backend_port),
        state: if is_up { "open" } else { "connecting" }.to_owned(),
        age_ms: milliseconds(open.age(now)),
        ..Connection::default()
    };
    if let Some(named) = named {
        connection.namespace = named.service.namespace.to_string();
        connection.service = named.service.name.to_string();
        connection.endpoint = named.endpoint.to_string();
        connection.version = named.version.as_ref().map(ToString::to_string).unwrap_or_default();
    }
    if let Some((sent, received)) = paths {
        (*sent).clone_into(&mut connection.sent_path);
        (*received).clone_into(&mut connection.received_path);
    }
    connection
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mesh_common::addr::IpKey;
    use mesh_common::backend::BackendIndex;

    use super::*;

    fn key(text: &str) -> IpKey {
        IpKey::from_ip(text.parse::<IpAddr>().unwrap())
    }

    fn open(cookie: u64, backend: u32, started_ns: u64) -> Open {
        let record = ConnRecord {
            frontend_addr: key("10.96.0.1"),
            frontend_port: 80,
            backend_addr: key("fd00::1"),
            backend_port: 8080,
            backend: BackendIndex { index: backend },
            generation: 7,
            stage: Stage::OPEN,
            started_ns,
            ..ConnRecord::default()
        };
        Open { cookie, record, paths: None }
    }

    fn names() -> BackendNames {
        let named = |service: &str, version: Option<&str>| Named {
            service: service.parse().unwrap(),
            endpoint: "one".parse().unwrap(),
            version: version.map(|it| it.parse().unwrap()),
            workload: None,
        };
        let key = |index| (BackendIndex { index }, 7);
        [(key(1), named("prod/web", Some("v1"))), (key(2), named("prod/api", None))].into()
    }

    const NOW: Duration = Duration::from_secs(10);

    fn cookies(parts: &[OpenConnections]) -> Vec<u64> {
        parts.iter().flat_map(|part| &part.connections).map(|it| it.cookie).collect()
    }

    #[test]
    fn a_connection_is_told_with_names_and_addresses() {
        let mut one = open(5, 1, 4_000_000_000);
        one.paths = Some(("redirected", "tcp"));
        let parts = answer(&[one], &names(), &ListConnections::default(), NOW);
        let expected = Connection {
            cookie: 5,
            transport: Transport::Tcp.into(),
            namespace: "prod".to_owned(),
            service: "web".to_owned(),
            endpoint: "one".to_owned(),
            version: "v1".to_owned(),
            frontend: "10.96.0.1:80".to_owned(),
            backend: "[fd00::1]:8080".to_owned(),
            state: "open".to_owned(),
            age_ms: 6000,
            source_workload: String::new(),
            sent_path: "redirected".to_owned(),
            received_path: "tcp".to_owned(),
        };
        assert_eq!(
            parts,
            [OpenConnections { connections: vec![expected], omitted: 0, more: false }]
        );
    }

    #[test]
    fn by_name_then_age_and_only_what_is_wanted() {
        let mut connecting = open(4, 3, 0);
        connecting.record.stage = Stage::CHOSEN;
        let all = [open(1, 1, 2), open(2, 1, 1), open(3, 2, 3), connecting];
        let list = |service: &str, limit| ListConnections {
            service: service.to_owned(),
            limit,
            ..ListConnections::default()
        };
        // Nobody knows what the last is called.
        let parts = answer(&all, &names(), &list("", 0), NOW);
        assert_eq!(cookies(&parts), [4, 3, 1, 2]);
        let parts = answer(&all, &names(), &list("", 0), Duration::from_hours(1));
        assert_eq!(parts[0].connections[0].state, "connecting");
        assert_eq!(parts[0].connections[0].age_ms, 0);
        assert_eq!(cookies(&answer(&all, &names(), &list("web", 0), NOW)), [1, 2]);
        let other = ListConnections { namespace: "default".to_owned(), ..list("web", 0) };
        let none = answer(&all, &names(), &other, NOW);
        assert_eq!(none, [OpenConnections::default()]);
        let parts = answer(&all, &names(), &list("web", 1), NOW);
        assert_eq!((cookies(&parts), parts[0].omitted), (vec![1], 1));
    }

    #[test]
    fn many_come_in_parts() {
        let all: Vec<Open> = (1..=2500).map(|cookie| open(cookie, 1, cookie)).collect();
        let wanted = ListConnections { limit: 2400, ..ListConnections::default() };
        let parts = answer(&all, &names(), &wanted, NOW);
        let shape: Vec<_> =
            parts.iter().map(|it| (it.connections.len(), it.more, it.omitted)).collect();
        assert_eq!(shape, [(1000, true, 0), (1000, true, 0), (400, false, 100)]);
    }

    #[test]
    fn what_has_ended_and_the_agents_own_are_not_shown() {
        let mut record = open(1, 1, 1).record;
        assert!(is_shown(&record));
        record.stage = Stage::DONE;
        assert!(!is_shown(&record));
        let record = ConnRecord {
            stage: Stage::OPEN,
            frontend_addr: IpKey::from_ip(canary::V4.into()),
            ..record
        };
        assert!(!is_shown(&record));
    }
}
