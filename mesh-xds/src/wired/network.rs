//! A client, a server and the wire between them, advanced one step at a time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    A, B, COMMIT, REVISION, TYPES,
    observer::{Commits, Observer, Snapshots},
};
use crate::{
    WILDCARD,
    ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    client::{DeltaClient, Push},
    server::{DeltaStream, NodeInfo, StreamConfig},
    snapshot::{Resource, Snapshot},
};

/// Resources with this body are refused by the client.
pub(super) const BAD: &str = "bad";

/// One stream.
pub(super) struct Link {
    pub(super) server: DeltaStream,
    pub(super) observer: Observer,
    commits: Commits,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<DeltaDiscoveryResponse>,
}

pub(super) struct Network {
    max_response_bytes: usize,
    snapshots: Snapshots,
    pub(super) latest: Arc<Snapshot>,
    pub(super) client: DeltaClient,
    pub(super) subscribed: BTreeMap<&'static str, BTreeSet<String>>,
    /// Received and not answered, by type, with the number of times it was delivered.
    held: BTreeMap<&'static str, VecDeque<(Push, usize)>>,
    pub(super) link: Option<Link>,
}

fn new_client() -> DeltaClient {
    let node = NodeInfo { id: "node".to_owned(), version: String::new() };
    DeltaClient::new(node, &TYPES)
}

fn everything() -> BTreeMap<&'static str, BTreeSet<String>> {
    TYPES.map(|url| (url, BTreeSet::from([WILDCARD.to_owned()]))).into()
}

fn commit(revision: u64) -> Resource {
    Resource::from_body(revision.to_string().into_bytes())
}

/// Every seventh revision cannot be put into the kernel.
pub(super) const fn refused(revision: u64) -> bool {
    revision % 7 == 6
}

impl Network {
    pub(super) fn new(max_response_bytes: usize) -> Self {
        let latest = Snapshot::builder(1).insert(COMMIT, REVISION, commit(1)).build();
        Self {
            max_response_bytes,
            snapshots: [(1, latest.clone())].into(),
            latest: Arc::new(latest),
            client: new_client(),
            subscribed: everything(),
            held: BTreeMap::new(),
            link: None,
        }
    }

    /// The store changes; the server is not told yet.
    pub(super) fn change(&mut self, type_url: &str, name: &str, body: Option<&str>) {
        let revision = self.latest.revision() + 1;
        let next =
            Snapshot::edit(&self.latest, revision).insert(COMMIT, REVISION, commit(revision));
        let next = match body {
            Some(body) => next.insert(type_url, name, Resource::from_body(body.as_bytes())),
            None => next.remove(type_url, name),
        };
        self.latest = Arc::new(next.build());
        self.snapshots.insert(revision, (*self.latest).clone());
    }

    /// The same content in new memory, as another replica has it.
    pub(super) fn rebuild(&mut self) {
        let mut next = Snapshot::builder(self.latest.revision());
        for type_url in self.latest.types() {
            for (name, resource) in self.latest.resources(type_url).unwrap().iter() {
                let copy = Resource::from_body(resource.body.to_vec());
                next = next.insert(type_url, name, copy);
            }
        }
        self.latest = Arc::new(next.build());
    }

    pub(super) fn notify(&mut self) {
        if let Some(link) = &mut self.link {
            let sent = link.server.on_snapshot(&self.latest);
            link.sent(sent, &self.snapshots);
        }
    }

    pub(super) fn connect(&mut self) {
        if self.link.is_some() {
            return;
        }
        let server = DeltaStream::new(StreamConfig {
            max_response_bytes: self.max_response_bytes,
            push_order: &[A, B, COMMIT],
            commit_type: Some(COMMIT),
            staged: &[],
            warmed: None,
        });
        self.link = Some(Link {
            server,
            observer: Observer::default(),
            commits: Commits::new(),
            to_server: self.client.connect().into(),
            to_client: VecDeque::new(),
        });
        // Answers that come too late must do nothing at either end.
        let link = self.link.as_mut().unwrap();
        for (push, _) in std::mem::take(&mut self.held).into_values().flatten() {
            link.to_server.push_back(self.client.ack(&push));
        }
    }

    /// The stream breaks; what is on the wire is lost.
    pub(super) fn disconnect(&mut self) {
        self.link = None;
    }

    /// The agent restarts with its last-good copy.
    pub(super) fn restart(&mut self) {
        self.disconnect();
        self.held.clear();
        let old = std::mem::replace(&mut self.client, new_client());
        self.client.restore(old.known());
        self.subscribed = everything();
    }

    pub(super) fn subscribe(&mut self, type_url: &'static str, name: &str) {
        let request = self.client.subscribe(type_url, &[name]).unwrap();
        self.subscribed.entry(type_url).or_default().insert(name.to_owned());
        if let Some(link) = &mut self.link {
            link.to_server.push_back(request);
        }
    }

    pub(super) fn unsubscribe(&mut self, type_url: &'static str, name: &str) {
        let request = self.client.unsubscribe(type_url, &[name]).unwrap();
        self.subscribed.entry(type_url).or_default().remove(name);
        if let Some(link) = &mut self.link {
            link.to_server.push_back(request);
        }
    }

    /// The server takes one request in.
    pub(super) fn serve(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let Some(request) = link.to_server.pop_front() else {
            return false;
        };
        link.observer.request(&request, &link.commits);
        let sent = link.server.on_request(request, &self.latest).unwrap();
        link.sent(sent, &self.snapshots);
        link.observer.check_live(link.server.progress().live_revision);
        true
    }

    /// The client takes one response in: the first one, or the first of the other type if that
    /// may overtake (nothing overtakes the commit, and the commit overtakes nothing).
    pub(super) fn receive(&mut self, overtake: bool, times: usize) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let Some(first) = link.to_client.front() else {
            return false;
        };
        let other = link.to_client.iter().take_while(|r| r.type_url != COMMIT);
        let other = other.map(|r| &r.type_url).position(|url| *url != first.type_url);
        let position = other.filter(|_| overtake).unwrap_or(0);
        let response = link.to_client.remove(position).unwrap();
        let push = self.client.on_response(response.clone()).unwrap();
        assert_eq!(self.client.on_response(response).unwrap(), push);
        let type_url = TYPES.into_iter().find(|url| *url == push.type_url).unwrap();
        self.held.entry(type_url).or_default().push_back((push, times));
        true
    }

    /// The client answers the oldest push of a type that it holds, once for each delivery.
    pub(super) fn answer(&mut self, type_url: &str) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let Some((push, times)) = self.held.get_mut(type_url).and_then(VecDeque::pop_front) else {
            return false;
        };
        let bad = push.added.iter().filter(|resource| match type_url {
            COMMIT => refused(push.revision),
            _ => resource.body == BAD.as_bytes(),
        });
        let bad: Vec<(String, String)> =
            bad.map(|resource| (resource.name.clone(), "bad".to_owned())).collect();
        for _ in 0..times {
            let answer = match bad.as_slice() {
                [] => self.client.ack(&push),
                bad => self.client.nack(&push, bad),
            };
            link.to_server.push_back(answer);
        }
        true
    }

    /// Run until nothing moves, then check that both ends agree.
    pub(super) fn settle(&mut self) {
        self.connect();
        self.notify();
        for step in 0.. {
            assert!(step < 10_000, "the machines never come to rest");
            let mut moved = self.serve() | self.receive(false, 1);
            for type_url in TYPES {
                moved |= self.answer(type_url);
            }
            if !moved {
                break;
            }
        }
        self.check_known();
        self.check_quiet();
        self.check_refusals();
    }
}

impl Link {
    fn sent(&mut self, sent: Vec<DeltaDiscoveryResponse>, snapshots: &Snapshots) {
        self.observer.responses(&sent, snapshots);
        let commits = sent
            .iter()
            .filter(|response| response.type_url == COMMIT && !response.resources.is_empty());
        self.commits.extend(commits.map(|response| response.nonce.clone()));
        self.to_client.extend(sent);
    }
}
