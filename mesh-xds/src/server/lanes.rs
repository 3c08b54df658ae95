//! One stream with two lanes: the configuration, whose pushes a commit ends, and types that are
//! pushed on their own as soon as they change. Each lane has its own snapshots, pushes and
//! answers, so a large configuration push does not hold up the others, and their answers say
//! nothing about a revision.

use std::sync::Arc;

use super::{DeltaStream, Progress, ProtocolError, StreamConfig};
use crate::{
    ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    snapshot::Snapshot,
};

/// Both lanes of one stream. Feed it every request and every snapshot, send what it returns, in
/// order.
///
/// Nonces are counted by each lane: the type of a request says which lane it is for.
#[derive(Debug)]
pub struct Lanes {
    main: DeltaStream,
    aside: DeltaStream,
    aside_types: &'static [&'static str],
}

impl Lanes {
    /// A stream that has seen no request yet; `aside_types` are pushed on their own.
    #[must_use]
    pub fn new(config: StreamConfig, aside_types: &'static [&'static str]) -> Self {
        let aside = StreamConfig { push_order: aside_types, commit_type: None, ..config };
        Self { main: DeltaStream::new(config), aside: DeltaStream::new(aside), aside_types }
    }

    /// Take a request in. `latest` and `aside` are the newest snapshots; where there is no `aside`
    /// yet, requests for it are answered by the first [`Self::on_aside`]. After an error the
    /// stream must end.
    pub fn on_request(
        &mut self,
        request: DeltaDiscoveryRequest,
        latest: &Arc<Snapshot>,
        aside: Option<&Arc<Snapshot>>,
    ) -> Result<Vec<DeltaDiscoveryResponse>, ProtocolError> {
        if !self.aside_types.contains(&request.type_url.as_str()) {
            return self.main.on_request(request, latest);
        }
        // Whichever lane the first request of the stream is for, it names the node.
        self.main.progress.identify(request.node.as_ref())?;
        self.aside.progress.node.clone_from(&self.main.progress.node);
        match aside {
            Some(aside) => self.aside.on_request(request, aside),
            None => self.aside.take_in(request).map(|()| Vec::new()),
        }
    }

    /// Take a newer snapshot of the configuration in: [`DeltaStream::on_snapshot`].
    #[must_use]
    pub fn on_snapshot(&mut self, latest: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        self.main.on_snapshot(latest)
    }

    /// Take a newer snapshot of what is pushed on its own in. Its revision only counts: it is in
    /// no relation to that of the configuration.
    #[must_use]
    pub fn on_aside(&mut self, latest: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        self.aside.on_snapshot(latest)
    }

    /// How far the client has got with the configuration.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        self.main.progress()
    }
}
