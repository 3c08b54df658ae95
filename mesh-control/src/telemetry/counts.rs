//! What is counted of an edge: once as totals since the node began to count, once as the growth
//! within a step of time.

use std::array;

use mesh_api::wire::Cause;

/// How many numbers there are that are no parts of others.
const WHOLE: usize = 11;

/// How many numbers there are.
pub const NUMBERS: usize = WHOLE + CAUSES.len() + REFUSALS.len();

/// Why connections did not get established, in the order of [`Counts::failures`]. The last one
/// takes what has another name.
pub const CAUSES: [&str; 5] = ["refused", "timed_out", "unreachable", "given_up", "other"];

/// Why connects were refused, in the order of [`Counts::refusals`]. The last one takes what has
/// another name.
pub const REFUSALS: [&str; 10] = [
    "no_backend_refused",
    "other_family",
    "torn",
    "dangling",
    "breaker_open",
    "max_connections",
    "max_pending",
    "backends_busy",
    "contended",
    "other",
];

/// Numbers by the name of their cause; the last one takes what has another name.
#[must_use]
pub fn by_cause<const N: usize>(names: &[&str; N], causes: &[Cause]) -> [u64; N] {
    let mut counts = [0_u64; N];
    for cause in causes {
        let found = names.iter().position(|name| *name == cause.name);
        if let Some(count) = counts.get_mut(found.unwrap_or(N.saturating_sub(1))) {
            *count = count.saturating_add(cause.count);
        }
    }
    counts
}

/// Those of these that are not 0.
#[must_use]
pub fn causes<const N: usize>(names: &[&str; N], counts: [u64; N]) -> Vec<Cause> {
    let counted = names.iter().zip(counts).filter(|(_, count)| *count > 0);
    counted.map(|(name, count)| Cause { name: (*name).to_owned(), count }).collect()
}

/// The numbers of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Times a backend was chosen.
    pub attempts: u64,
    /// Connections established.
    pub opened: u64,
    /// Established connections that ended.
    pub closed: u64,
    /// Connections that did not get established.
    pub failed: u64,
    /// Payload bytes that clients sent, of ended connections.
    pub bytes_sent: u64,
    /// Payload bytes that clients received, of ended connections.
    pub bytes_received: u64,
    /// Segments retransmitted, of ended connections.
    pub retransmits: u64,
    /// Sum of the smoothed round-trip times at the end, microseconds.
    pub rtt_us: u64,
    /// Sum of the lives of ended connections, microseconds.
    pub duration_us: u64,
    /// Connects that no backend could take and that got an error.
    pub refused: u64,
    /// Connects that no backend could take and that were let through.
    pub passed: u64,
    /// Of `failed`, by [`CAUSES`].
    pub failures: [u64; CAUSES.len()],
    /// Of `refused`, by [`REFUSALS`]; what is missing has no cause that is known.
    pub refusals: [u64; REFUSALS.len()],
}

impl Counts {
    /// All numbers, in the order of the fields.
    #[must_use]
    pub fn to_array(&self) -> [u64; NUMBERS] {
        let Self {
            attempts,
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
            refused,
            passed,
            failures,
            refusals,
        } = *self;
        let whole: [u64; WHOLE] = [
            attempts,
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
            refused,
            passed,
        ];
        let mut numbers = [0; NUMBERS];
        let all = whole.into_iter().chain(failures).chain(refusals);
        for (number, it) in numbers.iter_mut().zip(all) {
            *number = it;
        }
        numbers
    }

    /// The reverse of [`to_array`](Self::to_array).
    #[must_use]
    pub fn from_array(numbers: [u64; NUMBERS]) -> Self {
        let [
            attempts,
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
            refused,
            passed,
            parts @ ..,
        ] = numbers;
        let part = |at: usize| parts.get(at).copied().unwrap_or(0);
        Self {
            attempts,
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
            refused,
            passed,
            failures: array::from_fn(part),
            refusals: array::from_fn(|at| part(CAUSES.len() + at)),
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what was counted elsewhere. A number that would overflow stays at the largest.
    pub fn add(&mut self, other: &Self) {
        let mut sum = self.to_array();
        for (number, more) in sum.iter_mut().zip(other.to_array()) {
            *number = number.saturating_add(more);
        }
        *self = Self::from_array(sum);
    }

    /// What was counted since `before`, and whether a total has fallen. Where all have, they began
    /// anew, so that all of them was counted since (as Prometheus has it with counters); one that has
    /// fallen alone was corrected, and nothing was counted.
    #[must_use]
    pub fn since(&self, before: &Self) -> (Self, bool) {
        let both = || self.to_array().into_iter().zip(before.to_array());
        let fell = both().any(|(now, before)| now < before);
        if fell && both().all(|(now, before)| before == 0 || now < before) {
            return (*self, true);
        }
        let mut growth = before.to_array();
        for (number, now) in growth.iter_mut().zip(self.to_array()) {
            *number = now.saturating_sub(*number);
        }
        (Self::from_array(growth), fell)
    }

    /// Connections that are open, by these totals.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}
