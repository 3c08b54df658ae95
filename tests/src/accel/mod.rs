//! Same-node acceleration on a bed of its own: the mesh's programs in a cgroup, without an agent,
//! so that a test decides what is in the maps at any moment.

mod bed;
mod end;
mod pairs;
mod segments;
pub mod torture;
mod world;

pub use self::bed::{Bed, Route};
pub use self::end::End;
pub use self::pairs::Pairs;
pub use self::segments::sent_segments;
pub use self::world::World;
