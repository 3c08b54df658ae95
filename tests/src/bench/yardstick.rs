//! The programs that the mesh is measured against: one that does nothing, and the smallest
//! redirect that can work (`mesh-ebpf/src/floor.rs`).

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags};
use mesh_common::frontend::FrontendKey;
use mesh_common::service::ServiceIndex;

use super::world;
use crate::cgroup::Cgroup;

/// The loaded object; everything goes with it.
pub(super) struct Yardsticks {
    object: Ebpf,
}

/// The object that `cargo xtask build-ebpf` makes.
fn object() -> anyhow::Result<PathBuf> {
    let path = env::var_os("MESH_FLOOR_OBJECT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/floor.bpf.o"),
        PathBuf::from,
    );
    if !path.is_file() {
        bail!("{} is missing: run `cargo xtask build-ebpf`", path.display());
    }
    Ok(path)
}

impl Yardsticks {
    /// Loads the object and gives it the same services as the mesh.
    pub(super) fn load(services: u32) -> anyhow::Result<Self> {
        let mut object = Ebpf::load_file(object()?).context("loading the yardstick programs")?;
        let map = object.map_mut("floor_backends").context("no backends")?;
        let mut backends: Array<_, Backend> = map.try_into()?;
        for service in 0..services {
            let base = service * world::BACKENDS;
            for index in base..base + world::BACKENDS {
                let address = world::backend(index);
                let value = Backend {
                    addr: IpKey::from_v4(*address.ip()),
                    port: address.port(),
                    flags: BackendFlags::default(),
                    service: ServiceIndex { index: service + 1 },
                    generation: 1,
                };
                backends.set(index, value, 0)?;
            }
        }
        let map = object.map_mut("floor_frontends").context("no frontends")?;
        let mut frontends: HashMap<_, FrontendKey, [u32; 2]> = map.try_into()?;
        for service in 0..services {
            let vip = world::vip(service);
            let key = FrontendKey::new(IpKey::from_v4(*vip.ip()), vip.port(), 6);
            let range = [service * world::BACKENDS, world::BACKENDS];
            frontends.insert(key, range, 0)?;
        }
        Ok(Self { object })
    }

    /// Attaches a program to a cgroup and returns its id.
    pub(super) fn attach(&mut self, program: &str, cgroup: &Cgroup) -> anyhow::Result<u32> {
        let program: &mut CgroupSockAddr = self
            .object
            .program_mut(program)
            .with_context(|| format!("no program {program}"))?
            .try_into()?;
        program.load()?;
        program.attach(File::open(cgroup.path())?, CgroupAttachMode::Single)?;
        Ok(program.info()?.id())
    }
}
