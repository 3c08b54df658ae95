//! Where the control plane checks an endpoint for want of an agent, or why it does not. Pure.

use std::net::SocketAddr;

use mesh_api::model::{HealthCheck, Kind, Name, Object, ObjectName, ObjectRef, Protocol};

use super::aggregate::Subject;
use crate::world::World;

/// Address and check of an endpoint, or the reason why there is none, for people.
pub(super) fn place<'w>(
    world: &'w World,
    subject: &Subject,
) -> Result<(SocketAddr, &'w HealthCheck), String> {
    let get = |kind, name: &ObjectName| {
        world.get(&ObjectRef { kind, name: name.clone() }).map(|stored| &stored.object)
    };
    let service = &subject.service;
    // What follows the world is a moment behind it.
    let Some(Object::ServiceConfig(config)) = get(Kind::ServiceConfig, service) else {
        return Err("not checked yet".to_owned());
    };
    let (Some(check), Some(Object::Endpoint(endpoint))) =
        (&config.health_check, get(Kind::Endpoint, &subject.name))
    else {
        return Err("not checked yet".to_owned());
    };
    let of = match get(Kind::Service, service) {
        Some(Object::Service(of)) => Some(of),
        _ => None,
    };
    let own = |name: &Name| endpoint.ports.get(name).copied();
    let port = mesh_health::place::port(check, of, own).ok_or_else(|| match of {
        Some(_) => format!("not checked: {service} has no TCP port; set healthCheck.port"),
        None => format!("not checked: service {service} does not exist"),
    })?;
    // The host of the control plane may be in the mesh, where such a connection would go to some
    // endpoint of that service.
    if let Some(holder) = world.holder((endpoint.address, port, Protocol::Tcp)) {
        let address = SocketAddr::new(endpoint.address, port.get());
        return Err(format!(
            "not checked: {address} is a virtual address of service {holder}; run an agent on the \
             endpoint's node, and name that node in endpoint.node"
        ));
    }
    Ok((SocketAddr::new(endpoint.address, port.get()), check))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, endpoint, model, name, service, wire_check, wire_endpoint};
    use crate::world::Stored;

    fn world(objects: Vec<Object>) -> World {
        World::new(1, objects.into_iter().map(|object| Stored { object, resource_version: 1 }))
    }

    fn subject() -> Subject {
        Subject {
            name: name("shop/web-1"),
            service: name("shop/web"),
            address: "127.0.0.2".parse().unwrap(),
            node: None,
        }
    }

    #[test]
    fn where_and_why_not() {
        let check = || model(wire_check("shop/web", true));
        let ports = |it: &str| service("shop/web", it, 80);
        let instance = || endpoint("shop/web-1", "web", "v1");
        let whole = vec![check(), ports("10.96.0.1"), instance()];
        assert_eq!(
            place(&world(whole.clone()), &subject()).unwrap().0.to_string(),
            "127.0.0.2:8080"
        );

        let mut own = instance();
        let Object::Endpoint(endpoint) = &mut own else { panic!("{own:?}") };
        endpoint.ports.insert("http".parse().unwrap(), 9090.try_into().unwrap());
        let world_of = world(vec![check(), ports("10.96.0.1"), own]);
        assert_eq!(place(&world_of, &subject()).unwrap().0.to_string(), "127.0.0.2:9090");

        let frontend = service("shop/front", "10.96.0.9", 8080);
        let inside = model(at(wire_endpoint("shop/web-1", "web", "v1"), "10.96.0.9"));
        let table = [
            (vec![ports("10.96.0.1"), instance()], "not checked yet"),
            (vec![check(), instance()], "service shop/web does not exist"),
            ([whole, vec![frontend, inside]].concat(), "run an agent on the endpoint's node"),
        ];
        for (objects, reason) in table {
            let world = world(objects);
            let error = place(&world, &subject()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
