//! The world of `bench connect`: thousands of services with ten backends each, loaded through
//! the real control plane. All backends are one server that listens on every address.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::manifest::Manifest;
use crate::meshctl::Meshctl;
use crate::testbed::PORT;
use crate::ui;

/// Backends of a service.
pub(super) const BACKENDS: u32 = 10;
/// First virtual address; the others follow.
const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// First backend address; the others follow.
const FIRST_BACKEND: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 0);
/// Services in one manifest: the size of a file that a person might still apply.
const CHUNK: u32 = 250;

pub(super) fn vip(service: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from(FIRST_VIP) + service), 80)
}

/// Address of backend `n`, counted over all services.
pub(super) fn backend(n: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from(FIRST_BACKEND) + n), PORT)
}

/// Applies everything, chunk by chunk; the last one waits until all is live.
pub(super) fn load(meshctl: &Meshctl, services: u32) -> anyhow::Result<()> {
    let mut from = 0;
    while from < services {
        let to = (from + CHUNK).min(services);
        let mut manifest = Manifest::new();
        for service in from..to {
            let name = format!("s{service}");
            manifest = manifest.service(&name, vip(service), PORT);
            for n in 0..BACKENDS {
                let address = *backend(service * BACKENDS + n).ip();
                manifest = manifest.endpoint(&name, &format!("{name}-{n}"), "v1", address);
            }
        }
        let file = meshctl.file(&manifest)?;
        let mut args = vec!["apply", "-f", &file];
        if to == services {
            args.push("--wait");
        }
        meshctl.ok(&args)?;
        ui::note(format!("  {to} of {services} services applied"));
        from = to;
    }
    Ok(())
}
