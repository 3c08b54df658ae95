//! What passes the server's door: what a client was told, and must not be told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{BAD, Kind, bodies, known, name_of};
use crate::{
    ads::{DiscoveryRequest, DiscoveryResponse},
    types,
};

/// One type as the server's door sees it, for one stream.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) names: BTreeSet<String>,
    pub(super) first: bool,
    /// Told and not refused, as far as the server can know: name to body.
    pub(super) told: BTreeMap<String, String>,
    /// Asked for since the last response.
    pub(super) asked: BTreeSet<String>,
    /// Nonce and bodies of the response that is not answered.
    pub(super) unanswered: Option<(String, Vec<String>)>,
    /// Names were given up since the last response.
    pub(super) given_up: bool,
    /// The last response was refused.
    pub(super) refused: bool,
}

/// One stream.
#[derive(Default)]
pub(super) struct Link {
    pub(super) accounts: BTreeMap<&'static str, Account>,
    pub(super) nonces: BTreeMap<&'static str, String>,
    pub(super) opened: BTreeSet<&'static str>,
    /// What has been removed from a snapshot since the start of the stream.
    pub(super) removed: BTreeSet<String>,
    /// Clusters that were sent in another form, and whose endpoints may follow once.
    pub(super) warming: BTreeSet<String>,
    pub(super) to_server: VecDeque<DiscoveryRequest>,
    pub(super) to_client: VecDeque<DiscoveryResponse>,
}

impl Link {
    pub(super) fn received(&mut self, request: &DiscoveryRequest, kind: Kind) {
        let type_url = known(&request.type_url);
        let first = !self.accounts.contains_key(type_url);
        let account = self.accounts.entry(type_url).or_default();
        account.first |= first;
        let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
        if !first {
            account.asked.extend(names.difference(&account.names).cloned());
        }
        account.asked.retain(|name| names.contains(name));
        account.given_up |= !names.is_superset(&account.names);
        account.names = names;
        let wildcard = kind.wildcard && types::is_complete(type_url);
        if !wildcard {
            let names = &account.names;
            account.told.retain(|name, _| names.contains(name));
        }
        if account.unanswered.as_ref().is_some_and(|(nonce, _)| *nonce == request.response_nonce)
            && let Some((_, bodies)) = account.unanswered.take()
            && request.error_detail.is_some()
        {
            // Who knows what it has of these.
            account.refused = true;
            let bodies = bodies.iter().filter(|_| !types::is_complete(type_url));
            for body in bodies.filter(|body| !kind.names || !body.contains(BAD)) {
                account.told.remove(&name_of(body));
            }
        }
        if account.names.is_empty() && !wildcard {
            account.unanswered = None;
        }
    }

    pub(super) fn sent(&mut self, sent: Vec<DiscoveryResponse>, kind: Kind) -> usize {
        let mut count = 0;
        for response in sent {
            let type_url = known(&response.type_url);
            let account = self.accounts.get_mut(type_url).expect("not subscribed");
            assert!(account.unanswered.is_none(), "{type_url}: two responses unanswered");
            let all = bodies(&response);
            count += all.len();
            let complete = types::is_complete(type_url);
            let mut told = if complete { BTreeMap::new() } else { account.told.clone() };
            for body in &all {
                let name = name_of(body);
                let covered = account.names.contains(&name) || (kind.wildcard && complete);
                assert!(covered, "{type_url}: {name} is not wanted");
                let again = !complete && told.get(&name) == Some(body);
                let may = account.asked.contains(&name) || self.removed.contains(&name);
                let may = may || (type_url == types::ENDPOINTS && self.warming.contains(&name));
                assert!(!again || may, "{type_url}: {body} again");
                if type_url == types::ENDPOINTS {
                    self.warming.remove(&name);
                } else if kind.warms
                    && type_url == types::CLUSTER
                    && account.told.get(&name) != Some(body)
                {
                    self.warming.insert(name.clone());
                }
                told.insert(name, body.clone());
            }
            let news = told != account.told || !account.asked.is_empty();
            let news = news || account.first || (account.refused && account.given_up);
            assert!(!complete || news, "{type_url}: {told:?} again");
            account.told = told;
            // A response that was cut leaves some to the next.
            account.asked.retain(|name| !complete && !all.iter().any(|it| name_of(it) == *name));
            (account.first, account.given_up, account.refused) = (false, false, false);
            account.unanswered = Some((response.nonce.clone(), all));
            self.to_client.push_back(response);
        }
        count
    }

    /// Whether the client's version of each type covers exactly its subscription.
    pub(super) fn is_exact(&self) -> bool {
        let exact = |(type_url, account): (&&str, &Account)| {
            !types::is_complete(type_url) || !account.given_up
        };
        self.accounts.iter().all(exact)
    }
}
