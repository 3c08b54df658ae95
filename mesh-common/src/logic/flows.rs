//! Which of a socket's flows a datagram belongs to.

use crate::addr::IpKey;
use crate::flow::{FLOWS, Flow, Flows};

/// The flow to a service address.
#[must_use]
#[inline(always)]
pub fn to_frontend(flows: &Flows, addr: &IpKey, port: u16) -> Option<usize> {
    let mut at = 0;
    while at < FLOWS {
        let flow = flows.flows.get(at)?;
        if flow.frontend_port == port && flow.frontend_addr.is(addr) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The flow from a backend. Where two services share it, the one that was used last: a reply
/// follows its request.
#[must_use]
#[inline(always)]
pub fn from_backend(flows: &Flows, addr: &IpKey, port: u16) -> Option<usize> {
    // Beyond the end: none. An `Option` would have no number where there is none, which the compiler may
    // compare before it looks whether there is one, and the verifier refuses.
    let mut found = FLOWS;
    let mut youngest = u32::MAX;
    let mut at = 0;
    while at < FLOWS {
        let flow = flows.flows.get(at)?;
        let age = age(flows, flow);
        if flow.frontend_port != 0
            && flow.backend_port == port
            && age <= youngest
            && flow.backend_addr.is(addr)
        {
            found = at;
            youngest = age;
        }
        at += 1;
    }
    if found < FLOWS { Some(found) } else { None }
}

/// Where a new flow goes: a free entry, else the one used longest ago.
#[must_use]
#[inline(always)]
pub fn oldest(flows: &Flows) -> usize {
    let mut oldest = 0;
    let mut age_of_oldest = 0;
    let mut at = 0;
    while at < FLOWS {
        if let Some(flow) = flows.flows.get(at) {
            if flow.frontend_port == 0 {
                return at;
            }
            let age = age(flows, flow);
            if age >= age_of_oldest {
                oldest = at;
                age_of_oldest = age;
            }
        }
        at += 1;
    }
    oldest
}

/// Datagrams since the flow was used; the clock may have gone round.
#[inline(always)]
const fn age(flows: &Flows, flow: &Flow) -> u32 {
    flows.clock.wrapping_sub(flow.used)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const fn addr(last: u8) -> IpKey {
        IpKey::from_v4(Ipv4Addr::new(10, 0, 0, last))
    }

    /// Sends to a service as the program does.
    fn send(flows: &mut Flows, frontend: u16, backend: u8) {
        flows.clock = flows.clock.wrapping_add(1);
        let used = flows.clock;
        let at = to_frontend(flows, &addr(1), frontend).unwrap_or_else(|| oldest(flows));
        flows.flows[at] = Flow {
            frontend_addr: addr(1),
            frontend_port: frontend,
            backend_addr: addr(backend),
            backend_port: 53,
            used,
            ..Flow::default()
        };
    }

    proptest! {
        /// The flows are those of the last [`FLOWS`] services sent to, whatever the clock says.
        #[test]
        fn the_flow_used_longest_ago_goes(
            clock: u32,
            sent in prop::collection::vec(1..40u16, 1..200),
        ) {
            let mut flows = Flows { clock, ..Flows::default() };
            let mut recent: std::vec::Vec<u16> = std::vec::Vec::new();
            for frontend in sent {
                send(&mut flows, frontend, 9);
                recent.retain(|other| *other != frontend);
                recent.push(frontend);
                if recent.len() > FLOWS {
                    recent.remove(0);
                }
            }
            for frontend in 1..40 {
                let found = to_frontend(&flows, &addr(1), frontend).is_some();
                prop_assert_eq!(found, recent.contains(&frontend));
            }
        }
    }

    #[test]
    fn a_reply_belongs_to_the_service_that_was_asked_last() {
        let mut flows = Flows { clock: u32::MAX - 1, ..Flows::default() };
        send(&mut flows, 53, 9);
        send(&mut flows, 5353, 9);
        let port = |flows: &Flows| {
            from_backend(flows, &addr(9), 53).map(|at| flows.flows[at].frontend_port)
        };
        assert_eq!(port(&flows), Some(5353));
        send(&mut flows, 53, 9);
        assert_eq!(port(&flows), Some(53));
        assert_eq!(from_backend(&flows, &addr(8), 53), None);
    }

    #[test]
    fn an_empty_entry_is_no_flow() {
        assert_eq!(to_frontend(&Flows::default(), &IpKey::default(), 1), None);
        assert_eq!(from_backend(&Flows::default(), &IpKey::default(), 0), None);
    }
}
