//! A frontend (address, port, protocol) belongs to one service of the mesh: the kernel can send
//! a connection to only one. Services may hand frontends to each other within a batch.

use std::collections::BTreeMap;

use mesh_api::model::{Kind, Object, ObjectName, ObjectRef, Service};
use mesh_api::violation::{Reason, Violation};

use super::{Action, Batch, Outcome, Plan, violation};
use crate::world::{Frontend, World, frontends};

/// Reports frontends of changed services that another service holds.
pub(super) fn check(world: &World, plan: &Plan, batch: &Batch, found: &mut Vec<Violation>) {
    let mut claims: BTreeMap<Frontend, &ObjectName> = BTreeMap::new();
    for (change, outcome) in batch.changes.iter().zip(&plan.outcomes) {
        let Some(service) = changed_service(outcome) else {
            continue;
        };
        for (frontend, vip, port) in frontends(service) {
            let stored = world
                .holder(frontend)
                .filter(|holder| **holder != service.name)
                .filter(|holder| claims_still(&plan.world, holder, frontend));
            let earlier =
                claims.insert(frontend, &service.name).filter(|earlier| **earlier != service.name);
            let (reason, holder) = match (stored, earlier) {
                (Some(holder), _) => (Reason::Conflict, holder),
                (None, Some(earlier)) => (Reason::Duplicate, earlier),
                (None, None) => continue,
            };
            let (address, number, protocol) = frontend;
            found.push(violation(
                change.index,
                &outcome.reference,
                format!("spec.vips[{vip}]"),
                reason,
                format!(
                    "{address} port {number} (spec.ports[{port}], {protocol}) already belongs to \
                     Service {holder}"
                ),
            ));
        }
    }
}

/// The service that an outcome creates or changes.
pub(super) fn changed_service(outcome: &Outcome) -> Option<&Service> {
    match (outcome.action, &outcome.after.as_ref()?.object) {
        (Action::Created | Action::Configured, Object::Service(service)) => Some(service),
        _ => None,
    }
}

fn claims_still(world: &World, holder: &ObjectName, frontend: Frontend) -> bool {
    let reference = ObjectRef { kind: Kind::Service, name: holder.clone() };
    match world.get(&reference).map(|stored| &stored.object) {
        Some(Object::Service(service)) => frontends(service).any(|(held, ..)| held == frontend),
        Some(Object::Endpoint(_) | Object::ServiceConfig(_)) | None => false,
    }
}
