//! What is counted of an edge: once as totals since the node began to count, once as the growth
//! within a step of time.

/// How many numbers there are.
pub const NUMBERS: usize = 11 + CAUSES.len();

/// Why connections did not get established, in the order of [`Counts::failures`]. The last one
/// takes what has another name.
pub const CAUSES: [&str; 5] = ["refused", "timed_out", "unreachable", "given_up", "other"];

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
}

impl Counts {
    /// All numbers, in the order of the fields.
    #[must_use]
    pub const fn to_array(&self) -> [u64; NUMBERS] {
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
            failures: [f0, f1, f2, f3, f4],
        } = *self;
        [
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
            f0,
            f1,
            f2,
            f3,
            f4,
        ]
    }

    /// The reverse of [`to_array`](Self::to_array).
    #[must_use]
    pub const fn from_array(numbers: [u64; NUMBERS]) -> Self {
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
            f0,
            f1,
            f2,
            f3,
            f4,
        ] = numbers;
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
            failures: [f0, f1, f2, f3, f4],
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

    /// What was counted since `before`, and whether the totals have fallen. One that has fallen
    /// began anew, so that all of it was counted since (as Prometheus has it with counters).
    #[must_use]
    pub fn since(&self, before: &Self) -> (Self, bool) {
        let mut growth = self.to_array();
        for (number, less) in growth.iter_mut().zip(before.to_array()) {
            match number.checked_sub(less) {
                Some(difference) => *number = difference,
                None => return (*self, true),
            }
        }
        (Self::from_array(growth), false)
    }

    /// Connections that are open, by these totals.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}
