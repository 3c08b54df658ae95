//! Policies, and what the programs forget when these change. `diff` has the rules.

use mesh_common::backend::BackendIndex;
use mesh_common::policy::Policy;
use mesh_common::service::ServiceIndex;

use super::state::State;
use super::update::Update;
use crate::diff::{Forget, MapOp};
use crate::world::Member;

impl State {
    /// Stages the policy of a service that has its owner.
    pub(super) fn write_policy(
        &mut self,
        index: ServiceIndex,
        policy: &Policy,
        update: &mut Update,
    ) {
        // What is in a free entry is nobody's.
        let is_new = !self.actual.services.contains_key(&index);
        let before = self.actual.policies.at(index);
        if *policy == before {
            self.garbage.policies.remove(&index);
            return;
        }
        if *policy == Policy::default() {
            // A program may have seen the head that asked for it.
            self.garbage.policies.insert(index);
        } else {
            self.garbage.policies.remove(&index);
            update.changed.insert(index);
            update.writes.policies.push((index, *policy));
        }
        if is_new {
            return;
        }
        let (on, on_backends) = switched(&before, policy);
        update.writes.forget.extend(self.forget(index, on, on_backends));
        let (off, off_backends) = switched(policy, &before);
        let (service, backends) = self.garbage.forget.entry(index).or_default();
        *service = (*service || off) && !on;
        let join = |known: bool, off: bool, on: bool| (known || off) && !on;
        backends.breaker = join(backends.breaker, off_backends.breaker, on_backends.breaker);
        backends.outlier = join(backends.outlier, off_backends.outlier, on_backends.outlier);
    }

    /// What the programs forget about a backend that takes connections for this endpoint from now
    /// on, if that is another one than before.
    pub(super) fn forget_other(&self, at: BackendIndex, member: &Member) -> Option<MapOp> {
        let before = self.actual.backends.get(&at)?;
        let is_other = match self.member(at) {
            Some(known) => known.name != member.name,
            // Nobody's any more; otherwise, nobody knows since the agent started.
            None => !before.flags.keeps_old(),
        };
        (is_other && self.actual.policies.contains_key(&before.service))
            .then_some(MapOp::ForgetBackend(at, Forget::ALL))
    }

    /// What the programs forget about a service and its backends in the maps.
    pub(super) fn forget(
        &self,
        index: ServiceIndex,
        service: bool,
        backends: Forget,
    ) -> Vec<MapOp> {
        let mut ops = Vec::new();
        ops.extend(service.then_some(MapOp::ForgetService(index)));
        if backends.is_any()
            && let Some(holding) = self.held.get(&index)
        {
            let known = holding.backends.iter().filter(|at| self.actual.backends.contains_key(at));
            ops.extend(known.map(|at| MapOp::ForgetBackend(*at, backends)));
        }
        ops
    }
}

/// What of the second policy the first one does not have: whether the service's breaker, and what
/// of the backends.
const fn switched(without: &Policy, with: &Policy) -> (bool, Forget) {
    let service = without.service.max_failures == 0 && with.service.max_failures != 0;
    let breaker = without.backend.max_failures == 0 && with.backend.max_failures != 0;
    let outlier = without.outlier.max_ejected == 0 && with.outlier.max_ejected != 0;
    (service, Forget { breaker, outlier })
}
