//! A mesh for the benchmarks: control plane and agent in a namespace of their own, and a cgroup
//! whose processes are in the mesh, wherever they are.

use std::sync::Arc;

use anyhow::Context as _;
use mesh_common::names;
use mesh_common::tunables::TunableFlags;

use super::api::Api;
use super::rounds::Programs;
use super::world::{self, Special};
use crate::netns::NetNs;
use crate::process::Place;
use crate::testbed::Testbed;
use crate::{bpftool, maps, ui};

/// A mesh with so many services, and those that every world has besides.
pub(super) struct Mesh {
    pub(super) services: u32,
    bed: Testbed,
    programs: Programs,
}

impl Mesh {
    /// Starts it and waits until everything is live. Its maps have room for `most` services.
    pub(super) fn start(services: u32, most: u32) -> anyhow::Result<Self> {
        ui::note(format!("starting a mesh of {services} services"));
        let name = format!("mesh{services}");
        let netns = Arc::new(NetNs::create(&name)?);
        // As large as the largest, so that worlds differ in nothing but what is in the maps.
        let flags = world::agent_flags(most.max(1_000));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let bed = Testbed::start_in(&netns, &name, &flags)?;
        let mut api = Api::connect(&netns)?;
        let special = [Special::ECHO, Special::ONE, Special::MANY, Special::GUARDED];
        let special = special.map(Special::objects);
        let objects = world::objects(services).chain(special.into_iter().flatten());
        let revision = api.apply_all(objects)?;
        api.wait_node(&name, revision)?;
        let programs = programs_of(&bed)?;
        Ok(Self { services, bed, programs })
    }

    /// `outside`, but in the mesh.
    pub(super) fn place(&self, outside: &Place) -> Place {
        outside.clone().and_cgroup(self.bed.node.cgroup())
    }

    /// Has the programs count so, and report so; the agent sleeps meanwhile.
    pub(super) fn count(&self, flags: TunableFlags) -> anyhow::Result<()> {
        let which = TunableFlags::EDGES.and(TunableFlags::ACCESS_LOG);
        maps::set_flags(&self.bed.node, which, flags)
    }

    /// All programs that the agent attached.
    pub(super) fn programs(&self) -> Programs {
        self.programs.clone()
    }
}

fn programs_of(bed: &Testbed) -> anyhow::Result<Programs> {
    let links = bed.node.pins().join(names::LINKS_DIR);
    let mut programs = Programs::default();
    for name in names::PROGRAMS {
        let id = u32::try_from(bpftool::program_of_link(&links.join(name))?)?;
        if name == names::CONNECT4 {
            programs.connect4 = Some(id);
        } else {
            programs.others.push(id);
        }
    }
    programs.connect4.context("nothing is attached at connect4")?;
    Ok(programs)
}
