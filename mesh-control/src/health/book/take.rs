//! From the world to the endpoints that are checked: those of services with a health check.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Instant;

use mesh_api::model::{Endpoint, Kind, Object, ObjectName, ObjectRef};

use super::State;
use crate::health::aggregate::Subject;
use crate::world::{Stored, World};

impl State {
    pub(super) fn take_all(&mut self, world: &World, now: Instant) {
        for stored in world.list(Kind::ServiceConfig, None) {
            if let Object::ServiceConfig(config) = &stored.object
                && config.health_check.is_some()
            {
                self.checked.insert(config.name.clone());
            }
        }
        self.take_endpoints(world.list(Kind::Endpoint, None), now);
    }

    pub(super) fn take(
        &mut self,
        world: &World,
        changed: impl Iterator<Item: Borrow<ObjectRef>>,
        now: Instant,
    ) {
        let mut others = false;
        for reference in changed {
            let reference = reference.borrow();
            match reference.kind {
                Kind::Endpoint => match world.get(reference).map(|stored| &stored.object) {
                    Some(Object::Endpoint(endpoint)) => self.take_endpoint(endpoint, now),
                    _ => self.aggregator.remove(&reference.name),
                },
                Kind::ServiceConfig => {
                    others = true;
                    self.take_config(world, reference, now);
                }
                // Ports and virtual addresses matter to the control plane's own checks.
                Kind::Service => others = true,
            }
        }
        if others {
            self.aggregator.uncover();
        }
    }

    fn take_config(&mut self, world: &World, reference: &ObjectRef, now: Instant) {
        let name = &reference.name;
        let stored = world.get(reference).map(|stored| &stored.object);
        let is = matches!(stored, Some(Object::ServiceConfig(it)) if it.health_check.is_some());
        if is && self.checked.insert(name.clone()) {
            self.take_endpoints(world.list(Kind::Endpoint, Some(&name.namespace)), now);
        } else if !is && self.checked.remove(name) {
            let of: Vec<ObjectName> = self.aggregator.of_service(name).cloned().collect();
            for endpoint in of {
                self.aggregator.remove(&endpoint);
            }
        }
    }

    fn take_endpoints(&mut self, stored: impl Iterator<Item: Borrow<Arc<Stored>>>, now: Instant) {
        for stored in stored {
            if let Object::Endpoint(endpoint) = &stored.borrow().object
                && self.checked.contains(&endpoint.service)
            {
                self.take_endpoint(endpoint, now);
            }
        }
    }

    fn take_endpoint(&mut self, endpoint: &Endpoint, now: Instant) {
        if !self.checked.contains(&endpoint.service) {
            self.aggregator.remove(&endpoint.name);
            return;
        }
        let subject = Subject {
            name: endpoint.name.clone(),
            service: endpoint.service.clone(),
            address: endpoint.address,
            node: endpoint.node.clone(),
        };
        self.aggregator.put(subject, now);
    }
}
