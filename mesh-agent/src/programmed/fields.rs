//! A kernel service as names and values, so that what should be and what is can be compared one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::policy::Policy;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceHead, ServiceIndex};

use super::Difference;
use crate::compile::{Plan, table};
use crate::image::{Address, MapImage, policy_parts};
use crate::reconcile::{draining, serving};
use crate::world::Member;

/// What a slot gives away.
const WHOLE: u64 = u32::MAX as u64;

/// Values by name.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, String>);

impl Fields {
    pub(super) fn set(&mut self, field: &str, value: &str) {
        self.0.insert(field.to_owned(), value.to_owned());
    }

    /// What differs; this is what should be.
    pub(super) fn against(&self, programmed: &Self, subject: &str) -> Vec<Difference> {
        let mut all: Vec<&String> = self.0.keys().chain(programmed.0.keys()).collect();
        all.sort_unstable();
        all.dedup();
        let pair = |field: &String| (self.0.get(field).cloned(), programmed.0.get(field).cloned());
        let each = all.into_iter().map(|field| (field, pair(field)));
        each.filter(|(_, (intended, programmed))| intended != programmed)
            .map(|(field, (intended, programmed))| Difference {
                subject: subject.to_owned(),
                field: field.clone(),
                intended,
                programmed,
            })
            .collect()
    }

    /// What the head says, and the policy, which is read only where the head sends readers there.
    pub(super) fn settings(&mut self, head: &ServiceHead, policy: &Policy) {
        let algorithm = match head.algorithm {
            Algorithm::ALIAS => "random".to_owned(),
            Algorithm::ROUND_ROBIN => "round robin".to_owned(),
            Algorithm::LEAST_CONNECTIONS => "least connections".to_owned(),
            Algorithm::MAGLEV => "Maglev".to_owned(),
            Algorithm { code } => format!("unknown ({code})"),
        };
        self.set("load balancer", &algorithm);
        let passes = head.flags.contains(ServiceFlags::PASS_THROUGH);
        let refuses = format!("errno {}", head.refusal());
        self.set("without backend", if passes { "pass through" } else { &refuses });
        if head.affinity_ms != 0 {
            self.set("affinity", &format!("{} ms", head.affinity_ms));
        }
        for (flag, name) in [
            (ServiceFlags::KEY_WORKLOAD, "client is workload"),
            (ServiceFlags::KEY_CONNECTION, "client is connection"),
            (ServiceFlags::OTHER_FAMILY, "endpoints of the other family only"),
            (ServiceFlags::GUARDED, "guarded"),
            (ServiceFlags::TIMED, "timed"),
            (ServiceFlags::ACCELERATED, "accelerated"),
            (ServiceFlags::AUTO, "accelerated where it helps"),
            (ServiceFlags::CANARY, "the agent's own"),
        ] {
            if head.flags.contains(flag) {
                self.set(name, "yes");
            }
        }
        let asks = ServiceFlags::GUARDED.and(ServiceFlags::TIMED).bits;
        if head.flags.bits & asks != 0 {
            for part in policy_parts(policy).split_whitespace() {
                let (name, value) = part.split_once('=').unwrap_or((part, "yes"));
                self.set(&format!("policy {}", name.to_lowercase()), value);
            }
        }
    }

    /// Shares and states as they should be.
    pub(super) fn plan(&mut self, plan: &Plan) {
        let cells = table(plan.head.algorithm, &plan.shares);
        let mut sums = vec![0_u64; plan.shares.len()];
        for cell in &cells {
            let threshold = u64::from(cell.threshold);
            for (at, part) in [(cell.primary, threshold), (cell.alias, WHOLE - threshold)] {
                if let Some(sum) = sums.get_mut(at) {
                    *sum += part;
                }
            }
        }
        for (share, sum) in plan.shares.iter().zip(sums) {
            let place = place(&share.addr, share.port);
            self.share(&place, sum, cells.len());
            self.state(&place, serving(&share.member));
        }
    }

    /// Shares as they are.
    pub(super) fn table(&mut self, image: &MapImage, service: ServiceIndex, head: &ServiceHead) {
        let slots = image.table(head);
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        let mut add = |at: String, part: u64| *sums.entry(at).or_default() += part;
        let name = |index: BackendIndex| match image.backends.get(&index) {
            Some(backend) if backend.service == service => place(&backend.addr, backend.port),
            Some(backend) => {
                let at = place(&backend.addr, backend.port);
                format!("{at} of service index {}", backend.service.index)
            }
            None => "backend that is free".to_owned(),
        };
        for slot in slots {
            if slot.service == service {
                let threshold = u64::from(slot.threshold);
                add(name(slot.backend), threshold);
                add(name(slot.alias), WHOLE - threshold);
            } else {
                add(format!("slot of service index {}", slot.service.index), WHOLE);
            }
        }
        let count = usize::try_from(head.slot_count).unwrap_or(usize::MAX);
        for _ in slots.len()..count {
            add("slot that is free".to_owned(), WHOLE);
        }
        for (at, sum) in sums {
            self.share(&at, sum, count);
        }
    }

    /// States of the backends of a service as they are.
    pub(super) fn backends(&mut self, backends: &[&Backend]) {
        for backend in backends {
            self.state(&place(&backend.addr, backend.port), backend.flags);
        }
    }

    /// States as they should be of backends without a share: those whose endpoint is there drain, the
    /// others are kept for open connections. Any of them may have been freed.
    pub(super) fn leaving(
        &mut self,
        backends: &[&Backend],
        plan: &Plan,
        targets: &[(IpKey, u16, Arc<Member>)],
    ) {
        for backend in backends {
            let at = (backend.addr, backend.port);
            let order = |addr: &IpKey, port: u16| (*addr, port).cmp(&at);
            if plan.shares.binary_search_by(|it| order(&it.addr, it.port)).is_ok() {
                continue;
            }
            let found = targets.binary_search_by(|(addr, port, _)| order(addr, *port));
            let member = found.ok().and_then(|at| targets.get(at)).map(|(.., member)| member);
            let flags = member.map_or(BackendFlags::REMOVED, |member| draining(member));
            let flags =
                flags.and(BackendFlags { bits: backend.flags.bits & BackendFlags::PROXY.bits });
            self.state(&place(&at.0, at.1), flags);
        }
    }

    /// A share, where it is one.
    fn share(&mut self, place: &str, sum: u64, slots: usize) {
        if sum > 0 && slots > 0 {
            let value = percent(sum, slots);
            self.set(&format!("endpoint {place} share"), &value);
        }
    }

    fn state(&mut self, place: &str, flags: BackendFlags) {
        let state = match flags {
            flags if !flags.keeps_old() => "removed",
            flags if !flags.takes_new() => "draining",
            _ => "serving",
        };
        let here = if flags.contains(BackendFlags::LOCAL) { ", on this node" } else { "" };
        let proxy = if flags.contains(BackendFlags::PROXY) { ", Envoy" } else { "" };
        self.set(&format!("endpoint {place} state"), &format!("{state}{here}{proxy}"));
    }
}

fn place(addr: &IpKey, port: u16) -> String {
    Address(addr, port).to_string()
}

/// With six digits.
fn percent(sum: u64, slots: usize) -> String {
    let all = u128::from(WHOLE) * u128::try_from(slots).unwrap_or(u128::MAX);
    let millionths = (u128::from(sum) * 100_000_000 + all / 2) / all;
    let (whole, rest) = (millionths / 1_000_000, millionths % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}
