//! What the kernel's maps hold against what they should hold, in the words of services: who gets which
//! share, with which settings. Indices and places are nobody's business: two tables that give the
//! same shares are the same. Pure.

mod fields;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use mesh_common::addr::IpKey;
use mesh_common::backend::Backend;
use mesh_common::frontend::FrontendKey;
use mesh_common::service::ServiceIndex;

use self::fields::Fields;
use crate::compile::{Family, Kernel, Origin, UnitKey, Via, units};
use crate::image::{Address, MapImage};
use crate::maps::Held;
use crate::world::World;

/// What the maps should hold.
#[derive(Clone, Debug)]
pub struct Intended {
    /// What the control plane has said, and the health of endpoints.
    pub world: World,
    /// The indices that were given out.
    pub indices: BTreeMap<UnitKey, ServiceIndex>,
    /// Where the backends are that outlier detection has ejected.
    pub ejected: BTreeMap<UnitKey, BTreeSet<(IpKey, u16)>>,
    /// Which way those go that have rules for requests.
    pub vias: BTreeMap<UnitKey, Via>,
    /// What timeouts depend on.
    pub kernel: Kernel,
    /// Whether acceleration should be on.
    pub accelerating: bool,
}

/// What the maps hold, read back, and what they should hold.
#[derive(Clone, Debug)]
pub struct Programmed {
    /// Which update they say to hold.
    pub held: Held,
    /// Their content, without the agent's own.
    pub image: MapImage,
    /// `None` before the first update.
    pub intended: Option<Intended>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// `service/default/web:80/TCP/IPv4`, or `node`.
    pub subject: String,
    /// What of it: `endpoint 10.0.0.1:8080 share`.
    pub field: String,
    /// What it should be; `None`: it should not be.
    pub intended: Option<String>,
    /// What it is; `None`: there is no such thing.
    pub programmed: Option<String>,
}

/// A kernel service that should be, and where it is.
struct Unit {
    key: UnitKey,
    subject: String,
    frontends: Vec<FrontendKey>,
    index: Option<ServiceIndex>,
}

impl Intended {
    /// The differences, sorted; and how many kernel services were compared.
    #[must_use]
    pub fn differences(&self, image: &MapImage) -> (Vec<Difference>, usize) {
        let all = self.units(image);
        let mut found = Vec::new();
        let names: BTreeMap<ServiceIndex, &str> = all
            .iter()
            .filter_map(|unit| unit.index.map(|index| (index, unit.subject.as_str())))
            .collect();
        let name = |index: ServiceIndex| {
            let unknown = || format!("unknown service {}", index.index);
            names.get(&index).map_or_else(unknown, |name| (*name).to_owned())
        };
        let mut backends: BTreeMap<ServiceIndex, Vec<&Backend>> = BTreeMap::new();
        for (_, backend) in image.backends.iter() {
            backends.entry(backend.service).or_default().push(backend);
        }
        let mut claimed: BTreeSet<FrontendKey> = BTreeSet::new();
        for unit in &all {
            claimed.extend(&unit.frontends);
            let own = unit.index.and_then(|index| backends.get(&index));
            let own = own.map_or(&[][..], Vec::as_slice);
            self.compare(unit, image, own, &name, &mut found);
        }
        let others = image.frontends.iter().filter(|(key, _)| !claimed.contains(key));
        found.extend(others.map(|(key, index)| Difference {
            subject: name(*index),
            field: frontend(key),
            intended: None,
            programmed: Some("there".to_owned()),
        }));
        let on = |on| Some(if on { "on" } else { "off" }.to_owned());
        if self.accelerating != image.accelerating {
            found.push(Difference {
                subject: "node".to_owned(),
                field: "acceleration".to_owned(),
                intended: on(self.accelerating),
                programmed: on(image.accelerating),
            });
        }
        found.sort();
        (found, all.len())
    }

    fn units(&self, image: &MapImage) -> Vec<Unit> {
        let mut all = Vec::new();
        for (id, group) in self.world.groups() {
            for (key, frontends) in units(id, group) {
                let family = match key.family {
                    Family::V4 => "IPv4",
                    Family::V6 => "IPv6",
                };
                let subject =
                    format!("service/{}:{}/{}/{family}", group.name, key.port, key.protocol);
                // Where nobody knows an index, its addresses lead to it.
                let led = || frontends.iter().find_map(|key| image.frontends.get(key));
                let index = self.indices.get(&key).or_else(led).copied();
                all.push(Unit { key, subject, frontends, index });
            }
        }
        all
    }

    fn compare(
        &self,
        unit: &Unit,
        image: &MapImage,
        backends: &[&Backend],
        name: &impl Fn(ServiceIndex) -> String,
        found: &mut Vec<Difference>,
    ) {
        let Some(origin) = Origin::find(&self.world, unit.key) else { return };
        let nobody = BTreeSet::new();
        let ejected = self.ejected.get(&unit.key).unwrap_or(&nobody);
        let via = self.vias.get(&unit.key).copied().unwrap_or_default();
        let origin = origin.through(via);
        let plan = origin.plan(ejected, self.kernel);
        let (mut intended, mut programmed) = (Fields::default(), Fields::default());
        for key in &unit.frontends {
            intended.set(&frontend(key), "there");
            match image.frontends.get(key) {
                Some(index) if Some(*index) == unit.index => {
                    programmed.set(&frontend(key), "there");
                }
                Some(index) => programmed.set(&frontend(key), &format!("of {}", name(*index))),
                None => {}
            }
        }
        intended.set("programmed", "yes");
        let head = unit.index.and_then(|index| Some((index, image.services.get(&index)?)));
        if let Some((index, head)) = head {
            programmed.set("programmed", "yes");
            intended.settings(&plan.head, &plan.policy);
            programmed.settings(head, &image.policies.at(index));
            intended.plan(&plan);
            programmed.table(image, index, head);
            programmed.backends(backends);
            intended.leaving(backends, &plan, &origin.targets());
        }
        found.extend(intended.against(&programmed, &unit.subject));
    }
}

fn frontend(key: &FrontendKey) -> String {
    format!("frontend {}", Address(&key.addr, key.port))
}
