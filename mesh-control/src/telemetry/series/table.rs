//! Which edges have a series. There are only so many: where there is no room, the one that has been
//! idle for longest goes; where none is idle, what is counted goes into a series `other`, of the
//! same service if possible.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::telemetry::collector::{Change, EdgeId, NodeId};
use crate::telemetry::edge::Edge;

/// Seconds without traffic after which a series may go.
const IDLE: u64 = 900;
/// Seconds between two looks for such.
const LOOK: u64 = 60;
/// One in so many series, beyond the limit, may be `other` of a service.
const OTHERS: usize = 8;
/// Memory of a series beside its edge: its entry here, of a hash table that is half empty at worst.
const ENTRY: usize = 2 * size_of::<(EdgeId, Series)>();

/// Numbers of edges are smaller, those of series `other` are not.
const FIRST_OTHER: u64 = 1 << 63;

/// Limits of the table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series.
    pub series: usize,
    /// Their memory, in bytes.
    pub bytes: usize,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Series {
    /// Who counts.
    pub node: NodeId,
    /// What is counted.
    pub edge: Arc<Edge>,
    /// Second of the last growth.
    last: u64,
}

/// All of them.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    bytes: usize,
    series: HashMap<EdgeId, Series>,
    others: HashMap<(NodeId, Edge), EdgeId>,
    /// How many of these have been given out.
    given: u64,
    /// Found idle at the last look, the oldest first.
    idle: VecDeque<EdgeId>,
    looked: Option<u64>,
    /// Those without a series of their own, as far as there is room to remember them.
    squeezed: HashSet<EdgeId>,
    evicted: u64,
    overflowed: u64,
}

impl Table {
    /// Empty.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            bytes: 0,
            series: HashMap::new(),
            others: HashMap::new(),
            given: 0,
            idle: VecDeque::new(),
            looked: None,
            squeezed: HashSet::new(),
            evicted: 0,
            overflowed: 0,
        }
    }

    /// The series that something counted at a second goes into.
    pub fn place(&mut self, node: NodeId, change: &Change, second: u64) -> EdgeId {
        if let Some(series) = self.series.get_mut(&change.id) {
            series.last = second;
            return change.id;
        }
        let most = self.limits.series;
        if self.has_room(&change.edge, most) || self.evict(&change.edge, most, second) {
            self.insert(change.id, node, Arc::clone(&change.edge), second);
            self.squeezed.remove(&change.id);
            return change.id;
        }
        self.overflowed += 1;
        if self.squeezed.len() < most {
            self.squeezed.insert(change.id);
        }
        let of_service = change.edge.other_of_service();
        self.other(node, of_service, most + most / OTHERS, second).unwrap_or_else(|| {
            let of_all = change.edge.other_of_all();
            // One of each reporter: these always have room.
            self.other(NodeId(0), of_all, usize::MAX, second).unwrap_or(change.id)
        })
    }

    fn other(&mut self, node: NodeId, edge: Edge, most: usize, second: u64) -> Option<EdgeId> {
        let key = (node, edge);
        if let Some(id) = self.others.get(&key) {
            if let Some(series) = self.series.get_mut(id) {
                series.last = second;
            }
            return Some(*id);
        }
        let always = most == usize::MAX;
        let room = always || self.has_room(&key.1, most) || self.evict(&key.1, most, second);
        room.then(|| {
            let id = EdgeId(FIRST_OTHER + self.given);
            self.given += 1;
            self.insert(id, node, Arc::new(key.1.clone()), second);
            self.others.insert(key, id);
            id
        })
    }

    fn has_room(&self, edge: &Edge, most: usize) -> bool {
        self.series.len() < most && self.bytes + edge.memory() + ENTRY <= self.limits.bytes
    }

    fn insert(&mut self, id: EdgeId, node: NodeId, edge: Arc<Edge>, second: u64) {
        self.bytes += edge.memory() + ENTRY;
        self.series.insert(id, Series { node, edge, last: second });
    }

    /// Makes room by giving up what is idle.
    fn evict(&mut self, edge: &Edge, most: usize, second: u64) -> bool {
        if self.idle.is_empty() && self.looked.is_none_or(|at| second >= at + LOOK) {
            self.looked = Some(second);
            let idle = self.series.iter();
            let idle = idle.filter(|(_, it)| it.last + IDLE <= second);
            let mut idle: Vec<(u64, EdgeId)> = idle.map(|(id, it)| (it.last, *id)).collect();
            idle.sort_unstable();
            self.idle.extend(idle.into_iter().map(|(_, id)| id));
        }
        while let Some(id) = self.idle.pop_front() {
            if self.series.get(&id).is_none_or(|it| it.last + IDLE > second) {
                continue;
            }
            if let Some(gone) = self.series.remove(&id) {
                self.bytes -= gone.edge.memory() + ENTRY;
                self.evicted += 1;
                if id.0 >= FIRST_OTHER {
                    self.others.remove(&(gone.node, Edge::clone(&gone.edge)));
                }
            }
            if self.has_room(edge, most) {
                return true;
            }
        }
        false
    }

    /// All series.
    pub fn iter(&self) -> impl Iterator<Item = (EdgeId, &Series)> {
        self.series.iter().map(|(id, series)| (*id, series))
    }

    /// Who counts a series.
    #[must_use]
    pub fn node(&self, id: EdgeId) -> Option<NodeId> {
        self.series.get(&id).map(|series| series.node)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Memory taken, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Edges that share a series with others.
    #[must_use]
    pub fn squeezed(&self) -> usize {
        self.squeezed.len()
    }

    /// Series given up, and growths that went into a series `other`.
    #[must_use]
    pub const fn lost(&self) -> (u64, u64) {
        (self.evicted, self.overflowed)
    }
}
