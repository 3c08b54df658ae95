//! Random histories against a client that follows the rules of the variant and knows nothing of
//! how the server keeps them, with an account at the server's door of what must not be sent.

mod door;
mod history;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::types;
use door::Link;

/// Bodies with this in them are refused.
const BAD: &str = "bad";

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Clusters and listeners are subscribed to without names, as Envoy does.
    wildcard: bool,
    /// Good resources of a refused response are used, as gRPC does.
    lenient: bool,
    /// A NACK says which resources are bad.
    names: bool,
    /// Endpoints are to follow a changed cluster, as Envoy needs it.
    warms: bool,
}

/// One type as the client has it; survives streams.
#[derive(Debug, Default)]
struct Cache {
    subscribed: BTreeSet<String>,
    version: String,
    resources: BTreeMap<String, String>,
    /// It uses parts of a refused response, so that it has something else than its version says.
    partial: bool,
    /// It has told this version to a new stream, whose server cannot know.
    beyond: bool,
    /// Names ever given up.
    given_up: BTreeSet<String>,
    /// Of these, what it asked for again and has not received. It claims no version with it.
    missing: BTreeSet<String>,
}

struct Network {
    kind: Kind,
    limit: usize,
    latest: Arc<Snapshot>,
    cache: BTreeMap<&'static str, Cache>,
    link: Option<(SotwStream, Link)>,
    /// Resources sent since the start of the stream.
    sent: usize,
}

fn name_of(body: &str) -> String {
    body.split_once('=').unwrap().0.to_owned()
}

fn bodies(response: &DiscoveryResponse) -> Vec<String> {
    response.resources.iter().map(|any| body(any).to_owned()).collect()
}

fn known(type_url: &str) -> &'static str {
    PUSH_ORDER.into_iter().find(|known| *known == type_url).unwrap()
}

impl Network {
    fn new(kind: Kind, limit: usize) -> Self {
        let cache = PUSH_ORDER.map(|type_url| (type_url, Cache::default())).into();
        let latest = Arc::new(Snapshot::builder(1).build());
        Self { kind, limit, latest, cache, link: None, sent: 0 }
    }

    fn is_wildcard(&self, type_url: &str) -> bool {
        self.kind.wildcard && types::is_complete(type_url)
    }

    fn change(&mut self, type_url: &str, name: &str, content: Option<&str>) {
        let next = Snapshot::edit(&self.latest, self.latest.revision() + 1);
        let next = if let Some(content) = content {
            let body = format!("{name}={content}");
            next.insert(type_url, name, Resource::from_body(body.into_bytes()))
        } else {
            // If it comes back, the server cannot know that a client has kept it.
            if let Some((_, link)) = &mut self.link {
                link.removed.insert(name.to_owned());
            }
            next.remove(type_url, name)
        };
        self.latest = Arc::new(next.build());
    }

    /// The same content in new memory, as another replica has it.
    fn rebuild(&mut self) {
        let mut next = Snapshot::builder(self.latest.revision());
        for type_url in self.latest.types() {
            for (name, resource) in self.latest.resources(type_url).unwrap().iter() {
                next = next.insert(type_url, name, Resource::from_body(resource.body.to_vec()));
            }
        }
        self.latest = Arc::new(next.build());
    }

    fn connect(&mut self) {
        if self.link.is_some() {
            return;
        }
        let warmed = self.kind.warms.then_some((CLUSTER, ENDPOINTS));
        let config = StreamConfig { max_response_bytes: self.limit, warmed, ..config() };
        let stream = SotwStream::new(config);
        self.link = Some((stream, Link::default()));
        self.sent = 0;
        for cache in self.cache.values_mut() {
            cache.beyond = cache.partial;
        }
        for type_url in PUSH_ORDER {
            if self.is_wildcard(type_url) || !self.cache[type_url].subscribed.is_empty() {
                self.request(type_url, None);
            }
        }
    }

    /// The client says what it wants of a type, and what it thinks of the last response.
    fn request(&mut self, type_url: &'static str, error: Option<&str>) {
        let Some((_, link)) = &mut self.link else { return };
        let cache = self.cache.get_mut(type_url).unwrap();
        if link.opened.insert(type_url) && !cache.missing.is_empty() {
            cache.version.clear();
        }
        let names: Vec<&str> = cache.subscribed.iter().map(String::as_str).collect();
        let status = |message: &str| Status { message: message.to_owned(), ..Status::default() };
        link.to_server.push_back(DiscoveryRequest {
            version_info: cache.version.clone(),
            response_nonce: link.nonces.get(type_url).cloned().unwrap_or_default(),
            error_detail: error.map(status),
            ..request(type_url, &names)
        });
    }

    fn subscribe(&mut self, type_url: &'static str, name: &str) {
        let wildcard = self.is_wildcard(type_url);
        let cache = self.cache.get_mut(type_url).unwrap();
        if wildcard || !cache.subscribed.insert(name.to_owned()) {
            return;
        }
        if cache.given_up.contains(name) {
            cache.missing.insert(name.to_owned());
        }
        self.request(type_url, None);
    }

    fn unsubscribe(&mut self, type_url: &'static str, name: &str) {
        let cache = self.cache.get_mut(type_url).unwrap();
        if cache.subscribed.remove(name) {
            cache.resources.remove(name);
            cache.missing.remove(name);
            cache.given_up.insert(name.to_owned());
            if self.link.as_ref().is_some_and(|(_, link)| link.opened.contains(type_url)) {
                self.request(type_url, None);
            }
        }
    }

    fn notify(&mut self) {
        if let Some((stream, link)) = &mut self.link {
            let sent = stream.on_snapshot(&self.latest);
            self.sent += link.sent(sent, self.kind);
        }
    }

    fn serve(&mut self) -> bool {
        let Some((stream, link)) = &mut self.link else { return false };
        let Some(request) = link.to_server.pop_front() else { return false };
        link.received(&request, self.kind);
        let sent = stream.on_request(request, &self.latest).unwrap();
        self.sent += link.sent(sent, self.kind);
        true
    }

    /// The client takes a response in and answers it.
    fn receive(&mut self) -> bool {
        let Some((_, link)) = &mut self.link else { return false };
        let Some(response) = link.to_client.pop_front() else { return false };
        let type_url = known(&response.type_url);
        link.nonces.insert(type_url, response.nonce.clone());
        let wildcard = self.is_wildcard(type_url);
        let cache = self.cache.get_mut(type_url).unwrap();
        if !wildcard && cache.subscribed.is_empty() {
            return true; // As Envoy: not its business any more, not even an answer.
        }
        let all = bodies(&response);
        let bad: Vec<String> =
            all.iter().filter(|it| it.contains(BAD)).map(|it| name_of(it)).collect();
        if bad.is_empty() || self.kind.lenient {
            if types::is_complete(type_url) {
                let present: BTreeSet<String> = all.iter().map(|it| name_of(it)).collect();
                cache.resources.retain(|name, _| present.contains(name));
            }
            for body in all.iter().filter(|it| !it.contains(BAD)) {
                let name = name_of(body);
                if wildcard || cache.subscribed.contains(&name) {
                    cache.missing.remove(&name);
                    cache.resources.insert(name, body.clone());
                }
            }
        }
        cache.partial = self.kind.lenient && !bad.is_empty();
        cache.beyond = false;
        if bad.is_empty() {
            cache.version = response.version_info;
            self.request(type_url, None);
        } else if self.kind.names {
            self.request(type_url, Some(&format!("errors: {}", bad.join(", "))));
        } else {
            self.request(type_url, Some("errors"));
        }
        true
    }

    /// Whether something that the client is subscribed to is bad.
    fn is_bad(&self) -> bool {
        PUSH_ORDER
            .into_iter()
            .any(|type_url| self.wanted(type_url).values().any(|it| it.contains(BAD)))
    }

    fn wanted(&self, type_url: &str) -> BTreeMap<String, String> {
        let resources = self.latest.resources(type_url).into_iter().flat_map(|it| it.iter());
        let covers = |name: &str| {
            self.is_wildcard(type_url) || self.cache[type_url].subscribed.contains(name)
        };
        let text = |resource: &Resource| String::from_utf8(resource.body.to_vec()).unwrap();
        resources
            .filter(|(name, _)| covers(name))
            .map(|(name, resource)| (name.to_owned(), text(resource)))
            .collect()
    }

    /// Run until nothing moves, then both ends must agree.
    fn settle(&mut self) {
        self.connect();
        self.notify();
        for step in 0.. {
            assert!(step < 10_000, "the machines never come to rest");
            if !(self.serve() | self.receive()) {
                break;
            }
        }
        for type_url in PUSH_ORDER {
            self.check_type(type_url);
            self.cache.get_mut(type_url).unwrap().missing.clear();
        }
        self.rebuild();
        let is_bad = self.is_bad();
        let (stream, link) = self.link.as_mut().unwrap();
        assert_eq!(show(&stream.on_snapshot(&self.latest)), [""; 0]);
        for (type_url, account) in &link.accounts {
            let exists = |name: &&String| self.latest.get(type_url, name).is_some();
            assert_eq!(account.asked.iter().find(exists), None, "{type_url}: not answered");
        }
        let progress = stream.progress();
        if !link.opened.is_empty() && self.cache.values().any(|it| !it.subscribed.is_empty()) {
            assert_eq!(is_bad, !progress.rejections.is_empty(), "{:?}", progress.rejections);
        }
        if self.kind.wildcard && !is_bad {
            assert_eq!(progress.live_revision, Some(self.latest.revision()));
        }
    }

    fn check_type(&self, type_url: &str) {
        if self.cache[type_url].beyond {
            return;
        }
        let (wanted, cache) = (self.wanted(type_url), &self.cache[type_url].resources);
        let is_bad = wanted.values().any(|it| it.contains(BAD));
        if is_bad && !self.kind.lenient && (types::is_complete(type_url) || !self.kind.names) {
            return; // One bad resource spoils all others.
        }
        for (name, body) in &wanted {
            if !body.contains(BAD) {
                assert_eq!(cache.get(name), Some(body), "{type_url}");
            }
        }
        // A cluster may stay for a route that is refused.
        let stays = type_url == CLUSTER && self.is_bad();
        if types::is_complete(type_url) && !stays {
            assert!(cache.keys().all(|name| wanted.contains_key(name)), "{type_url} {cache:?}");
        }
    }
}
