//! What is known of the kernel's TCP, for timeouts.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getres};

use crate::compile::Kernel;

/// The clock that the kernel advances once a jiffy: its resolution is a jiffy's length.
const COARSE: ClockId = ClockId::CLOCK_MONOTONIC_COARSE;
/// Since Linux 6.5; each network namespace has its own, this is the agent's.
const LINEAR_TIMEOUTS: &str = "/proc/sys/net/ipv4/tcp_syn_linear_timeouts";

/// Looks at this kernel.
#[must_use]
pub fn kernel() -> Kernel {
    let jiffy = clock_getres(COARSE).ok().map(Duration::from);
    let linear = fs::read_to_string(LINEAR_TIMEOUTS).ok();
    Kernel {
        hz: jiffy.and_then(rate),
        linear_timeouts: linear.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    }
}

/// Jiffies per second: from 10 to 10,000, or it is no jiffy.
fn rate(jiffy: Duration) -> Option<u32> {
    let nanos = u32::try_from(jiffy.as_nanos()).ok().filter(|nanos| *nanos > 0)?;
    // The length is rounded to a nanosecond.
    let hz = (1_000_000_000 + nanos / 2) / nanos;
    (10..=10_000).contains(&hz).then_some(hz)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_from_the_length() {
        for (nanos, hz) in [(4_000_000, 250), (1_000_000, 1_000), (3_333_333, 300)] {
            assert_eq!(rate(Duration::from_nanos(nanos)), Some(hz));
        }
        assert_eq!(rate(Duration::from_nanos(1)), None);
        assert_eq!(rate(Duration::ZERO), None);
    }

    #[test]
    fn this_kernel_has_a_rate() {
        assert!(kernel().hz.is_some());
    }
}
