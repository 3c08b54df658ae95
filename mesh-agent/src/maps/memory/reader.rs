//! A program in progress: the same steps and decisions as mesh-ebpf's `select` and `datagram`, one
//! lookup at a time, so that a test can let writes happen in between.

use mesh_common::affinity::Affinity;
use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::frontend::FrontendKey;
use mesh_common::logic::connect::{
    MAX_TRIES, Place, belongs, choose, hashed, place, sticks, turn, without_backend,
};
use mesh_common::policy::Policy;
use mesh_common::reason::Reason;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceHead, ServiceIndex};

use crate::image::MapImage;

/// Who connects, and what the programs remember of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client {
    /// What Maglev hashes.
    pub key: u64,
    /// The backend that session affinity remembers, of which service.
    pub affinity: Option<(ServiceIndex, Affinity)>,
    /// The flow of an unconnected datagram socket, as backend and generation.
    pub flow: Option<(BackendIndex, u32)>,
    /// Connections sent so far by round robin.
    pub cursor: u64,
    /// Decides between the two backends of least connections.
    pub second_is_idler: bool,
}

/// A `connect()` or `sendmsg()` in progress.
#[derive(Clone, Debug)]
pub struct Reader {
    key: FrontendKey,
    client: Client,
    tries: u32,
    step: Step,
    policy: Option<(ServiceIndex, Policy)>,
}

/// The next lookup.
#[derive(Clone, Copy, Debug)]
enum Step {
    Frontend,
    Flow(ServiceIndex, BackendIndex, u32),
    Head(ServiceIndex),
    Policy(ServiceIndex, ServiceHead),
    Returning(ServiceIndex, ServiceHead, Affinity),
    Slot(ServiceIndex, ServiceHead, Place),
    SecondSlot(ServiceIndex, ServiceHead, BackendIndex),
    Backend(ServiceIndex, BackendIndex),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent to a backend.
    Backend(Backend),
    /// Anything else.
    Other(Reason),
}

/// What a lookup led to.
enum Next {
    Step(Step),
    Done(Outcome),
    /// Another service's slot or backend: once more from the head.
    Torn(ServiceIndex),
}

impl Reader {
    /// A client of a frontend.
    #[must_use]
    pub const fn new(key: FrontendKey, client: Client) -> Self {
        Self { key, client, tries: 0, step: Step::Frontend, policy: None }
    }

    /// Does the next lookup; the outcome, once there is one.
    pub fn step(&mut self, maps: &MapImage, random: u32) -> Option<Outcome> {
        match self.look(maps, random) {
            Next::Step(step) => {
                if let Step::Policy(service, _) = self.step {
                    self.policy = Some((service, maps.policies.at(service)));
                }
                self.step = step;
            }
            Next::Done(outcome) => return Some(outcome),
            Next::Torn(service) => {
                self.tries += 1;
                if self.tries == MAX_TRIES {
                    return Some(Outcome::Other(Reason::TORN));
                }
                self.step = Step::Head(service);
            }
        }
        None
    }

    fn look(&self, maps: &MapImage, random: u32) -> Next {
        match self.step {
            Step::Frontend => match (maps.frontends.get(&self.key), self.client.flow) {
                (None, _) => Next::Done(Outcome::Other(Reason::NOT_A_SERVICE)),
                (Some(service), Some((index, generation))) => {
                    Next::Step(Step::Flow(*service, index, generation))
                }
                (Some(service), None) => Next::Step(Step::Head(*service)),
            },
            Step::Flow(service, index, generation) => {
                let backend = maps.backends.at(index);
                let goes_on = belongs(&backend, service)
                    && backend.generation == generation
                    && backend.flags.keeps_old();
                if goes_on {
                    Next::Done(Outcome::Backend(backend))
                } else {
                    Next::Step(Step::Head(service))
                }
            }
            Step::Head(service) => {
                let head = maps.services.at(service);
                let flags = head.flags;
                let asks =
                    flags.contains(ServiceFlags::GUARDED) || flags.contains(ServiceFlags::TIMED);
                if asks && head.slot_count != 0 {
                    return Next::Step(Step::Policy(service, head));
                }
                self.with_head(service, head, random)
            }
            Step::Policy(service, head) => self.with_head(service, head, random),
            Step::Returning(service, head, affinity) => {
                let backend = maps.backends.at(affinity.backend);
                if sticks(&affinity, &backend, service, head.affinity_ms, affinity.used_ns) {
                    Next::Done(Outcome::Backend(backend))
                } else {
                    self.by_algorithm(service, head, random)
                }
            }
            Step::Slot(service, head, place) => {
                let slot = maps.slots.at(place.slot);
                match choose(&slot, service, place.fraction) {
                    None => Next::Torn(service),
                    Some(index) if head.algorithm == Algorithm::LEAST_CONNECTIONS => {
                        Next::Step(Step::SecondSlot(service, head, index))
                    }
                    Some(index) => Next::Step(Step::Backend(service, index)),
                }
            }
            Step::SecondSlot(service, head, first) => {
                let second = place(&head, random)
                    .and_then(|place| choose(&maps.slots.at(place.slot), service, place.fraction));
                match second {
                    None => Next::Torn(service),
                    Some(second) => {
                        let idler = if self.client.second_is_idler { second } else { first };
                        Next::Step(Step::Backend(service, idler))
                    }
                }
            }
            Step::Backend(service, index) => {
                let backend = maps.backends.at(index);
                if belongs(&backend, service) {
                    Next::Done(Outcome::Backend(backend))
                } else {
                    Next::Torn(service)
                }
            }
        }
    }

    fn with_head(&self, service: ServiceIndex, head: ServiceHead, random: u32) -> Next {
        match self.client.affinity {
            _ if head.slot_count == 0 => Next::Done(Outcome::Other(without_backend(&head))),
            Some((of, affinity)) if of == service && head.affinity_ms != 0 => {
                Next::Step(Step::Returning(service, head, affinity))
            }
            _ => self.by_algorithm(service, head, random),
        }
    }

    fn by_algorithm(&self, service: ServiceIndex, head: ServiceHead, random: u32) -> Next {
        let place = match head.algorithm {
            Algorithm::ROUND_ROBIN => turn(&head, self.client.cursor),
            Algorithm::MAGLEV => hashed(&head, self.client.key),
            _ => place(&head, random),
        };
        place.map_or(Next::Torn(service), |place| Next::Step(Step::Slot(service, head, place)))
    }

    /// The policy that it has read, if a head sent it there.
    #[must_use]
    pub const fn policy(&self) -> Option<(ServiceIndex, Policy)> {
        self.policy
    }

    /// Whether it has looked at a slot that turned out not to be its service's.
    #[must_use]
    pub const fn was_torn(&self) -> bool {
        self.tries > 0
    }
}
