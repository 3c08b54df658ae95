//! Which events a tap is for: by what they are, and by the names of both ends. Pure.

use std::net::{IpAddr, SocketAddr};

use mesh_api::model::{Label, ObjectName};

use super::record::{Happened, Record};
use crate::reconcile::{Called, Named, Numbers};

/// What may have become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set")]
pub struct Outcomes {
    /// It is established.
    pub opened: bool,
    /// It has ended.
    pub closed: bool,
    /// It was not established.
    pub failed: bool,
    /// Its service has refused it.
    pub refused: bool,
}

/// All of them.
impl Default for Outcomes {
    fn default() -> Self {
        Self { opened: true, closed: true, failed: true, refused: true }
    }
}

impl Outcomes {
    /// Nothing.
    pub const NONE: Self = Self { opened: false, closed: false, failed: false, refused: false };

    /// Whether this is one of them.
    #[must_use]
    pub const fn take(self, happened: Happened) -> bool {
        match happened {
            Happened::Opened => self.opened,
            Happened::Closed => self.closed,
            Happened::Failed(_) => self.failed,
            Happened::Refused(_) => self.refused,
        }
    }
}

/// An endpoint, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its name.
    Name(String),
    /// Its address, with any port.
    Ip(IpAddr),
    /// Its address.
    Address(SocketAddr),
}

impl Place {
    /// What looks like an address is one.
    #[must_use]
    pub fn new(text: String) -> Self {
        let address = text.parse().map(Self::Address);
        address.or_else(|_| text.parse().map(Self::Ip)).unwrap_or(Self::Name(text))
    }
}

/// Between whom. What is not said may be anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Namespace of the service.
    pub namespace: Option<String>,
    /// Name of the service.
    pub service: Option<String>,
    /// The client's workload.
    pub source: Option<String>,
    /// Where to.
    pub endpoint: Option<Place>,
}

/// The names of both ends, where they are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends<'a> {
    /// The client's workload.
    pub source: Option<&'a Label>,
    /// The service.
    pub service: Option<&'a ObjectName>,
    /// The endpoint, and what belongs to it.
    pub named: Option<&'a Named>,
}

impl<'a> Ends<'a> {
    /// The ends of a connection.
    #[must_use]
    pub fn of(record: &Record, called: &'a Called) -> Self {
        let named = called.backends.get(&record.backend_key);
        let service = named.map(|it| &it.service);
        Self {
            source: called.sources.get(&record.cgroup),
            service: service.or_else(|| called.services.get(&record.service)),
            named,
        }
    }
}

/// What names are needed for.
#[must_use]
pub fn numbers(records: &[Record]) -> Numbers {
    let mut numbers = Numbers::default();
    for record in records {
        match record.happened {
            // Nobody else can say which service that was.
            Happened::Refused(_) => numbers.services.push(record.service),
            Happened::Opened | Happened::Closed | Happened::Failed(_) => {
                numbers.backends.push(record.backend_key);
            }
        }
        numbers.cgroups.push(record.cgroup);
    }
    numbers.backends.sort_unstable();
    numbers.backends.dedup();
    numbers.services.sort_unstable();
    numbers.services.dedup();
    numbers.cgroups.sort_unstable();
    numbers.cgroups.dedup();
    numbers
}

impl Filter {
    /// Whether a connection is between whom it is to be.
    #[must_use]
    pub fn takes(&self, record: &Record, ends: Ends<'_>) -> bool {
        let Self { namespace, service, source, endpoint } = self;
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let (ip, port) = record.backend;
        let place = match endpoint {
            None => true,
            Some(Place::Name(name)) => {
                ends.named.is_some_and(|it| it.endpoint.as_str() == name.as_str())
            }
            Some(Place::Ip(wanted)) => *wanted == ip,
            Some(Place::Address(wanted)) => *wanted == SocketAddr::new(ip, port),
        };
        place
            && same(namespace, ends.service.map(|it| it.namespace.as_str()))
            && same(service, ends.service.map(|it| it.name.as_str()))
            && same(source, ends.source.map(Label::as_str))
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::event::EventKind;

    use super::*;
    use crate::events::record::tests::record;

    #[test]
    fn what_is_not_said_may_be_anybody_and_who_is_not_known_is_nobody() {
        let mut record = record(EventKind::CLOSED);
        record.backend = ("10.0.0.1".parse().unwrap(), 8080);
        let named = Named {
            service: "prod/web".parse().unwrap(),
            endpoint: "one".parse().unwrap(),
            version: None,
            workload: None,
        };
        let source: Label = "shop".parse().unwrap();
        let ends =
            Ends { source: Some(&source), service: Some(&named.service), named: Some(&named) };
        let text = |text: &str| Some(text.to_owned());
        let place = |text: &str| Some(Place::new(text.to_owned()));
        let any = Filter::default;
        for (filter, known, unknown) in [
            (any(), true, true),
            (Filter { namespace: text("prod"), ..any() }, true, false),
            (Filter { namespace: text("default"), ..any() }, false, false),
            (Filter { service: text("web"), ..any() }, true, false),
            (Filter { service: text("api"), ..any() }, false, false),
            (Filter { source: text("shop"), service: text("web"), ..any() }, true, false),
            (Filter { source: text("shop"), service: text("api"), ..any() }, false, false),
            (Filter { source: text("web"), ..any() }, false, false),
            (Filter { endpoint: place("one"), ..any() }, true, false),
            (Filter { endpoint: place("two"), ..any() }, false, false),
            (Filter { endpoint: place("10.0.0.1"), ..any() }, true, true),
            (Filter { endpoint: place("10.0.0.2"), ..any() }, false, false),
            (Filter { endpoint: place("10.0.0.1:8080"), ..any() }, true, true),
            (Filter { endpoint: place("10.0.0.1:80"), ..any() }, false, false),
        ] {
            assert_eq!(filter.takes(&record, ends), known, "{filter:?}");
            assert_eq!(filter.takes(&record, Ends::default()), unknown, "{filter:?}");
        }
    }

    #[test]
    fn only_a_refusal_asks_for_its_service() {
        let both = [record(EventKind::CLOSED), record(EventKind::CLOSED)];
        let Numbers { backends, services, cgroups } = numbers(&both);
        assert_eq!((backends.len(), services.len(), cgroups.len()), (1, 0, 1));
        let Numbers { backends, services, .. } = numbers(&[record(EventKind::REFUSED)]);
        assert_eq!((backends.len(), services.len()), (0, 1));
    }
}
