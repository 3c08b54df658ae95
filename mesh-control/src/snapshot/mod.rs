//! What agents get: every object as an xDS resource, and the revision as the last one. Pure.
//! Only what changed is encoded again; types without a change are shared with the snapshot before.

#[cfg(test)]
mod tests;

use std::borrow::Borrow;

use mesh_api::model::{Kind, Object, ObjectRef};
use mesh_api::resource::{REVISION, REVISION_NAME, encode, type_url};
use mesh_api::wire;
use mesh_xds::snapshot::{Builder, Resource, Snapshot};

use crate::world::World;

/// The snapshot of a world, from nothing.
#[must_use]
pub fn build(world: &World) -> Snapshot {
    let mut builder = Snapshot::builder(world.revision());
    for kind in Kind::ALL {
        for stored in world.list(kind, None) {
            let name = stored.object.reference().name.to_string();
            builder = builder.insert(type_url(kind), name, resource(&stored.object));
        }
    }
    finish(builder, world.revision())
}

/// The snapshot of a world, from that of an earlier one and the names of all that changed since.
#[must_use]
pub fn update(
    previous: &Snapshot,
    world: &World,
    changed: impl IntoIterator<Item = impl Borrow<ObjectRef>>,
) -> Snapshot {
    let mut builder = Snapshot::edit(previous, world.revision());
    for reference in changed {
        let reference = reference.borrow();
        let url = type_url(reference.kind);
        let name = reference.name.to_string();
        builder = match world.get(reference) {
            Some(stored) => {
                let resource = resource(&stored.object);
                // Labels, for example, are no part of the resource.
                if previous.get(url, &name).is_some_and(|it| **it == resource) {
                    continue;
                }
                builder.insert(url, name, resource)
            }
            None => builder.remove(url, &name),
        };
    }
    finish(builder, world.revision())
}

fn finish(builder: Builder, revision: u64) -> Snapshot {
    let (body, version) = encode(&wire::Revision { revision, traceparent: String::new() });
    builder.insert(REVISION, REVISION_NAME, Resource::new(version, body)).build()
}

/// An object as agents get it.
pub(crate) fn resource(object: &Object) -> Resource {
    let (body, version) = match object {
        Object::Service(service) => encode(&wire::Service::from(service)),
        Object::Endpoint(endpoint) => encode(&wire::Endpoint::from(endpoint)),
        Object::ServiceConfig(config) => encode(&wire::ServiceConfig::from(config)),
    };
    Resource::new(version, body)
}
