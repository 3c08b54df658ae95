//! The agent's own entries: few, at fixed places that the world does not get, and written whole.

use crate::diff::{MapOp, Writes};
use crate::image::MapImage;

/// Operations from one set of own entries to another.
pub(super) fn ops(before: &MapImage, after: &MapImage) -> Vec<MapOp> {
    let mut writes = Writes { gone_goes_on: true, ..Writes::default() };
    let gone = before.frontends.keys().filter(|key| !after.frontends.contains_key(key));
    writes.gone = gone.copied().collect();
    let new = |(index, value): &(_, &_)| before.backends.get(index) != Some(*value);
    writes.backends = after.backends.iter().filter(new).map(|(at, to)| (at, *to)).collect();
    let new = |(at, value): &(u32, &_)| before.slots.get(at) != Some(*value);
    writes.slots = after.slots.iter().filter(new).map(|(at, slot)| (at, *slot)).collect();
    let new = |(index, value): &(_, &_)| before.services.get(index) != Some(*value);
    writes.heads = after.services.iter().filter(new).map(|(at, head)| (at, *head)).collect();
    for (key, index) in &after.frontends {
        match before.frontends.get(key) {
            Some(known) if known == index => {}
            Some(_) => writes.moved.push((*key, *index)),
            None => writes.new.push((*key, *index)),
        }
    }
    let nothing = writes.gone.is_empty()
        && writes.backends.is_empty()
        && writes.slots.is_empty()
        && writes.heads.is_empty()
        && writes.new.is_empty()
        && writes.moved.is_empty();
    let mut ops = if nothing { Vec::new() } else { writes.into_ops() };
    let unused = before.services.keys().filter(|index| !after.services.contains_key(index));
    let mut clear: Vec<MapOp> = unused.map(MapOp::ClearService).collect();
    let unused = before.slots.keys().filter(|at| !after.slots.contains_key(at));
    clear.extend(unused.map(MapOp::ClearSlot));
    let unused = before.backends.keys().filter(|index| !after.backends.contains_key(index));
    clear.extend(unused.map(MapOp::ClearBackend));
    if !clear.is_empty() {
        ops.push(MapOp::Grace);
        ops.extend(clear);
    }
    ops
}
