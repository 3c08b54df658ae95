//! Which maps have to be replaced: what is pinned compared with what the object declares.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use aya_obj::Object;
use mesh_common::names;

use super::LayoutError;
use crate::bpf::pinned::info;

/// What a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bpf) struct Layout {
    pub(in crate::bpf) kind: u32,
    pub(in crate::bpf) key_size: u32,
    pub(in crate::bpf) value_size: u32,
    pub(in crate::bpf) max_entries: u32,
    pub(in crate::bpf) flags: u32,
}

/// Numbers of entries by the name of the map.
pub(in crate::bpf) type Sizes = BTreeMap<&'static str, u32>;

/// Layouts by the name of the map.
pub(in crate::bpf) type Layouts = BTreeMap<&'static str, Layout>;

/// Maps that belong to open sockets, or to agents of every layout: they are not translated.
const FIXED: [&str; 17] = [
    names::EDGES,
    names::REFUSALS,
    names::CONNS,
    names::CONNS_INDEX,
    names::CONNS_STATE,
    names::CONNS_OVERFLOW,
    names::FLOWS,
    names::AUTO_CLIENTS,
    names::PAIRINGS,
    names::PAIRS,
    names::SOCKETS,
    names::ACCELERATED,
    names::LOCALS,
    names::PEERS,
    names::INBOUND,
    names::ACCEPTED,
    names::TUNABLES,
];

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::bpf) struct Plan {
    /// Maps that are made anew.
    pub(in crate::bpf) replaced: Vec<&'static str>,
    /// Maps that stay.
    pub(in crate::bpf) kept: Vec<&'static str>,
}

/// The maps that the object declares, with these sizes.
pub(in crate::bpf) fn declared(object: &[u8], sizes: &Sizes) -> Result<Layouts, LayoutError> {
    let object = Object::parse(object).map_err(|error| LayoutError::Object(Box::new(error)))?;
    let layout = |name: &'static str| {
        let map = object.maps.get(name)?;
        let layout = Layout {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: sizes.get(name).copied().unwrap_or_else(|| map.max_entries()),
            flags: map.map_flags(),
        };
        Some((name, layout))
    };
    Ok(names::MAPS.into_iter().filter_map(layout).collect())
}

/// The maps that are pinned in a directory.
pub(in crate::bpf) fn pinned(directory: &Path) -> Result<Layouts, LayoutError> {
    let mut layouts = Layouts::new();
    for name in names::MAPS {
        let path = directory.join(name);
        let found = info(&path).map_err(|source| LayoutError::Pins { path, source })?;
        if let Some(info) = found {
            let layout = Layout {
                kind: info.kind,
                key_size: info.key_size,
                value_size: info.value_size,
                max_entries: info.max_entries,
                flags: info.flags,
            };
            layouts.insert(name, layout);
        }
    }
    Ok(layouts)
}

/// Compares; `None` where what is pinned can be used as it is.
pub(in crate::bpf) fn plan(
    pinned: &Layouts,
    declared: &Layouts,
) -> Result<Option<Plan>, LayoutError> {
    let mut plan = Plan::default();
    for (name, layout) in pinned {
        match declared.get(name) {
            Some(wanted) if wanted == layout => plan.kept.push(name),
            Some(_) if FIXED.contains(name) => return Err(LayoutError::Fixed { map: name }),
            Some(wanted) if wanted.key_size != layout.key_size => {
                return Err(other_size(name));
            }
            Some(wanted) if wanted.value_size != layout.value_size => {
                return Err(other_size(name));
            }
            Some(_) => plan.replaced.push(name),
            // An earlier agent's; nobody misses it.
            None => {}
        }
    }
    Ok((!plan.replaced.is_empty()).then_some(plan))
}

fn other_size(map: &'static str) -> LayoutError {
    LayoutError::Fill { map, source: io::Error::other("its keys or values have another size") }
}

/// Raises the sizes so that every entry has room where it is. Says what had to be raised, and what
/// to do.
pub(in crate::bpf) fn fit(sizes: &mut Sizes, used: &Sizes) -> Vec<String> {
    let mut warnings = Vec::new();
    for (map, size) in sizes {
        let (leader, flag) = rule(map);
        let Some(used) = used.get(leader).filter(|used| **used > *size) else { continue };
        if leader == *map {
            warnings.push(format!(
                "{flag} is too low for what the map {map} holds: it keeps {used} entries instead of \
                 {size} until less is installed and the agent starts again"
            ));
        }
        *size = *used;
    }
    warnings
}

/// Which map says how large another must be, and the flag for both.
fn rule(map: &'static str) -> (&'static str, &'static str) {
    match map {
        names::FRONTENDS => (map, "--max-services"),
        names::SERVICES
        | names::SERVICE_STATE
        | names::SERVICE_COUNTERS
        | names::POLICIES
        | names::SERVICE_GUARDS => (names::SERVICES, "--max-services"),
        names::BACKENDS
        | names::BACKEND_STATE
        | names::BACKEND_COUNTERS
        | names::BACKEND_GUARDS => (names::BACKENDS, "--max-backends"),
        names::SLOTS => (map, "--max-slots"),
        names::CGROUPS => (map, "--max-cgroups"),
        names::NAMESPACES => (map, "--max-namespaces"),
        _ => (map, "--max-affinity"),
    }
}
