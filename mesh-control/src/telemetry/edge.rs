//! Edges: from whom to whom, as reports name them, and what of them the rows of an answer show.

/// What stands for edges that there was no room for.
pub use mesh_api::clients::OTHER;

/// Who has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Reporter {
    /// The node of the client.
    #[default]
    Source,
    /// The node of the endpoint.
    Destination,
}

/// How the connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Transport {
    /// Not known.
    #[default]
    Unknown,
    /// TCP.
    Tcp,
    /// UDP flows.
    Udp,
}

/// From whom to whom. Empty texts: not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Edge {
    /// Who has counted.
    pub reporter: Reporter,
    /// How the connections go.
    pub transport: Transport,
    /// The client.
    pub source_workload: String,
    /// The client's node.
    pub source_node: String,
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// Version of the endpoint.
    pub version: String,
    /// The endpoint's workload.
    pub workload: String,
}

impl Edge {
    /// All edges of the same service, together.
    #[must_use]
    pub fn other_of_service(&self) -> Self {
        Self {
            source_workload: OTHER.to_owned(),
            version: String::new(),
            workload: String::new(),
            ..self.clone()
        }
    }

    /// All edges of the same reporter, together.
    #[must_use]
    pub fn other_of_all(&self) -> Self {
        Self {
            reporter: self.reporter,
            source_workload: OTHER.to_owned(),
            service: OTHER.to_owned(),
            ..Self::default()
        }
    }

    /// Memory that one takes behind an `Arc`, in bytes: the struct, its counts of references, its
    /// texts, and what the allocator adds to each of them.
    #[must_use]
    pub fn memory(&self) -> usize {
        /// `malloc` of the C library: 8 bytes and rounding to 16, 24 at the least.
        const ALLOCATOR: usize = 16;
        let texts = [
            &self.source_workload,
            &self.source_node,
            &self.namespace,
            &self.service,
            &self.version,
            &self.workload,
        ];
        let texts = texts.iter().filter(|text| text.capacity() > 0);
        let texts: usize = texts.map(|text| text.capacity() + ALLOCATOR).sum();
        size_of::<Self>() + 2 * size_of::<usize>() + ALLOCATOR + texts
    }
}

/// What the rows of an answer stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum By {
    /// Services.
    #[default]
    Service,
    /// Clients' workloads to services.
    Edge,
    /// Versions of services.
    Version,
    /// Endpoints' workloads of services.
    Workload,
    /// Nodes of the clients.
    Node,
}

/// What a row is about; texts that it is not about are empty. In the order of rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Subject<T> {
    /// Namespace of the service.
    pub namespace: T,
    /// Name of the service.
    pub service: T,
    /// Version of the endpoint.
    pub version: T,
    /// The endpoint's workload.
    pub workload: T,
    /// The client.
    pub source_workload: T,
    /// The client's node.
    pub source_node: T,
}

impl Subject<String> {
    /// The same, borrowed.
    #[must_use]
    pub fn as_strs(&self) -> Subject<&str> {
        Subject {
            namespace: &self.namespace,
            service: &self.service,
            version: &self.version,
            workload: &self.workload,
            source_workload: &self.source_workload,
            source_node: &self.source_node,
        }
    }
}

impl Subject<&str> {
    /// A copy of its own.
    #[must_use]
    pub fn to_owned(&self) -> Subject<String> {
        Subject {
            namespace: self.namespace.to_owned(),
            service: self.service.to_owned(),
            version: self.version.to_owned(),
            workload: self.workload.to_owned(),
            source_workload: self.source_workload.to_owned(),
            source_node: self.source_node.to_owned(),
        }
    }
}

/// Which edges an answer is about, and which of them go into one row. Empty texts: all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Select {
    /// What rows stand for.
    pub by: By,
    /// Only services of this namespace.
    pub namespace: String,
    /// Only services of this name.
    pub service: String,
    /// Only this client.
    pub source_workload: String,
    /// Only clients of this node.
    pub node: String,
    /// Only what this one has counted, so that a connection counts once.
    pub reporter: Reporter,
}

impl Select {
    /// The row of an edge; `None` where it is none of those asked for.
    #[must_use]
    pub fn subject<'a>(&self, edge: &'a Edge) -> Option<Subject<&'a str>> {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let wanted = self.reporter == edge.reporter
            && fits(&self.namespace, &edge.namespace)
            && fits(&self.service, &edge.service)
            && fits(&self.source_workload, &edge.source_workload)
            && fits(&self.node, &edge.source_node);
        wanted.then(|| {
            let service = Subject {
                namespace: edge.namespace.as_str(),
                service: edge.service.as_str(),
                ..Subject::default()
            };
            match self.by {
                By::Service => service,
                By::Edge => Subject { source_workload: edge.source_workload.as_str(), ..service },
                By::Version => Subject { version: edge.version.as_str(), ..service },
                By::Workload => Subject { workload: edge.workload.as_str(), ..service },
                By::Node => {
                    Subject { source_node: edge.source_node.as_str(), ..Subject::default() }
                }
            }
        })
    }
}
