//! Whose connections are counted, as [Istio's labels] tell it.
//!
//! [Istio's labels]: https://istio.io/latest/docs/reference/config/metrics/#labels

use mesh_api::model::Label;

use crate::edges::Source;
use crate::ledger::Account;

/// Value where nothing is known, as Istio has it.
const UNKNOWN: &str = "unknown";

/// One end of connections. What is empty is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Party<'a> {
    /// What runs it: a unit, a container, a pod.
    pub(super) workload: &'a str,
    /// Of the workload.
    pub(super) namespace: &'a str,
    /// Of the workload.
    pub(super) version: &'a str,
}

/// Which end of connections counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reporter {
    /// The client's node.
    Source,
    /// The endpoint's.
    Destination,
}

/// What tells one row from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels<'a> {
    /// Who counts them.
    pub(super) reporter: Reporter,
    /// Name and namespace of the service; `None`: not known.
    pub(super) service: Option<(&'a str, &'a str)>,
    /// Who serves them.
    pub(super) destination: Party<'a>,
    /// Who makes them.
    pub(super) source: Party<'a>,
    /// Whether they are datagram flows; otherwise they are TCP connections.
    pub(super) udp: bool,
}

impl<'a> Labels<'a> {
    /// Of what a node counts for an account.
    #[must_use]
    pub(super) fn of(reporter: Reporter, source: &'a Source, account: &'a Account) -> Self {
        let service = account.service.as_ref().map(|it| (it.name.as_str(), it.namespace.as_str()));
        // Who is called `unknown` is, in metrics, not to be told from who is not known.
        let text = |label: &'a Option<Label>| {
            label.as_ref().map(Label::as_str).filter(|text| *text != UNKNOWN).unwrap_or_default()
        };
        let destination = Party {
            workload: text(&account.workload),
            // An endpoint is in its service's namespace.
            namespace: service.map_or("", |(_, namespace)| namespace),
            version: text(&account.version),
        };
        let workload = Some(source.as_str()).filter(|text| *text != UNKNOWN).unwrap_or_default();
        let source = Party { workload, ..Party::default() };
        Self { reporter, service, destination, source, udp: account.udp }
    }

    /// All labels of Istio's TCP metrics but for the last one, which is to follow: `{…,name="`.
    #[must_use]
    pub(super) fn istio(&self) -> String {
        // Two thirds of it are always the same.
        let mut to = String::with_capacity(1_024);
        self.begin(&mut to);
        self.source.istio(&mut to, "source_");
        self.destination.istio(&mut to, "destination_");
        let security = match self.reporter {
            // Not known at the client's end, by definition.
            Reporter::Source => UNKNOWN,
            Reporter::Destination => "none",
        };
        put(&mut to, ",connection_security_policy", security);
        to.push_str(",response_flags=\"");
        to
    }

    /// Labels of the mesh's own: those of Istio's that tell rows from each other. `{…`
    #[must_use]
    pub(super) fn own(&self) -> String {
        let mut to = String::with_capacity(512);
        self.begin(&mut to);
        self.source.own(&mut to, "source_");
        self.destination.own(&mut to, "destination_");
        to
    }

    fn begin(&self, to: &mut String) {
        let reporter = match self.reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        };
        put(to, "{reporter", reporter);
        put(to, ",request_protocol", if self.udp { "udp" } else { "tcp" });
        self.host(to, ",destination_service");
        let (name, namespace) = self.service.unwrap_or_default();
        put(to, ",destination_service_name", name);
        put(to, ",destination_service_namespace", namespace);
    }

    /// `name.namespace` of the service.
    pub(super) fn host(&self, to: &mut String, label: &str) {
        let Some((name, namespace)) = self.service else { return put(to, label, UNKNOWN) };
        to.push_str(label);
        to.push_str("=\"");
        to.push_str(name);
        to.push('.');
        to.push_str(namespace);
        to.push('"');
    }
}

impl Party<'_> {
    fn own(&self, to: &mut String, end: &str) {
        let Self { workload, namespace, version } = self;
        for (label, value) in
            [("workload", workload), ("workload_namespace", namespace), ("version", version)]
        {
            to.push(',');
            to.push_str(end);
            put(to, label, value);
        }
    }

    fn istio(&self, to: &mut String, end: &str) {
        self.own(to, end);
        for (label, value) in [
            // By default the workload's name, and its version.
            ("canonical_service", self.workload),
            ("canonical_revision", self.version),
            ("app", ""),
            ("principal", ""),
            ("cluster", ""),
        ] {
            to.push(',');
            to.push_str(end);
            put(to, label, value);
        }
    }
}

/// `label="value"`, escaped.
pub(super) fn put(to: &mut String, label: &str, value: &str) {
    to.push_str(label);
    to.push_str("=\"");
    if value.contains(['"', '\\', '\n']) {
        for character in value.chars() {
            match character {
                '"' => to.push_str("\\\""),
                '\\' => to.push_str("\\\\"),
                '\n' => to.push_str("\\n"),
                other => to.push(other),
            }
        }
    } else {
        to.push_str(if value.is_empty() { UNKNOWN } else { value });
    }
    to.push('"');
}
