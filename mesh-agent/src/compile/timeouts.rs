//! A service's timeouts as numbers for the kernel: pure, with what is known of the kernel passed
//! in.
//!
//! The kernel sends a SYN again when its timer ends, and looks only then whether the connection
//! took too long. So the first timer decides how soon a connect can fail: 1 second, unless the
//! programs say otherwise (`BPF_SOCK_OPS_TIMEOUT_INIT`, in jiffies). Later timers end when the
//! time is over (`tcp_clamp_rto_to_user_timeout`). Each timer is twice as long as the one before,
//! but for the first `net.ipv4.tcp_syn_linear_timeouts` ones, which are equal (since Linux 6.5).

use mesh_api::model::{Retry, Timeouts};
use mesh_common::policy::TimeoutPolicy;

/// What a compilation needs to know of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Jiffies per second; `None` where nobody knows.
    pub hz: Option<u32>,
    /// `net.ipv4.tcp_syn_linear_timeouts`; 0 before Linux 6.5.
    pub linear_timeouts: u32,
}

/// The kernel's first timer, milliseconds (`TCP_TIMEOUT_INIT`).
const FIRST_MS: u64 = 1_000;

/// The numbers, and what a person should know.
#[must_use]
pub fn policy(timeouts: &Timeouts, kernel: Kernel) -> (TimeoutPolicy, Vec<String>) {
    let mut warnings = Vec::new();
    let connect = timeouts.connect.map(|connect| millis(connect).max(1));
    let policy = TimeoutPolicy {
        connect_ms: connect.unwrap_or(0),
        syn_rto_jiffies: first_timer(connect, timeouts.retry, kernel, &mut warnings),
        syn_retries: timeouts.retry.map_or(0, |retry| retry.attempts),
        idle_ms: timeouts.idle.map_or(0, millis),
    };
    (policy, warnings)
}

/// Jiffies of the first timer; 0 leaves the kernel's.
fn first_timer(
    connect: Option<u32>,
    retry: Option<Retry>,
    kernel: Kernel,
    warnings: &mut Vec<String>,
) -> u32 {
    let connect = connect.map(u64::from);
    let wanted_ms = match (retry, connect) {
        (Some(Retry { per_try_timeout: Some(per_try), .. }), connect) => {
            Some(u64::from(millis(per_try)).min(connect.unwrap_or(u64::MAX)))
        }
        // The last timer ends with the connect's time.
        (Some(retry), Some(connect)) => {
            Some(connect / timers(retry.attempts + 1, kernel.linear_timeouts))
        }
        (Some(_), None) => None,
        (None, connect) => connect.filter(|connect| *connect < FIRST_MS),
    };
    let Some(wanted_ms) = wanted_ms else { return 0 };
    let Some(hz) = kernel.hz.map(u64::from) else {
        warnings.push(
            "the kernel's clock rate is not known, so the SYN is sent again after 1s at first, and \
             no connect fails sooner"
                .to_owned(),
        );
        return 0;
    };
    let jiffies = (wanted_ms * hz / 1_000).max(1);
    if let (Some(retry), Some(connect)) = (retry, connect) {
        let fits = |sent: &u32| {
            timers(*sent, kernel.linear_timeouts).saturating_mul(jiffies * 1_000) < connect * hz
        };
        let sent = (1..=retry.attempts).take_while(fits).count();
        if u32::try_from(sent).unwrap_or(u32::MAX) < retry.attempts {
            warnings.push(format!(
                "only {sent} of {} attempts fit into the timeout for the connect, {connect}ms",
                retry.attempts
            ));
        }
    }
    u32::try_from(jiffies).unwrap_or(u32::MAX)
}

/// How long so many timers take one after the other, in units of the first.
fn timers(count: u32, linear: u32) -> u64 {
    // Timer `n`, from 0, follows `n` others: so many have ended.
    let one = |n: u32| 1_u64.checked_shl(n.saturating_sub(linear)).unwrap_or(u64::MAX);
    (0..count).fold(0, |sum, n| u64::saturating_add(sum, one(n)))
}

/// Whole milliseconds, as many as fit.
pub(super) fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LINEAR: Kernel = Kernel { hz: Some(250), linear_timeouts: 4 };
    const DOUBLING: Kernel = Kernel { hz: Some(1_000), linear_timeouts: 0 };

    fn retry(attempts: u32, per_try_ms: Option<u64>) -> Retry {
        Retry { attempts, per_try_timeout: per_try_ms.map(Duration::from_millis) }
    }

    fn of(
        connect_ms: Option<u64>,
        retry: impl Into<Option<Retry>>,
        kernel: Kernel,
    ) -> (u32, u32, usize) {
        let connect = connect_ms.map(Duration::from_millis);
        let (policy, warnings) =
            policy(&Timeouts { connect, idle: None, retry: retry.into(), request: None }, kernel);
        (policy.syn_retries, policy.syn_rto_jiffies, warnings.len())
    }

    #[test]
    fn attempts_share_the_time_for_the_connect() {
        // 2 s / 4 and 2 s / 15.
        assert_eq!(of(Some(2_000), retry(3, None), LINEAR), (3, 125, 0));
        assert_eq!(of(Some(2_000), retry(3, None), DOUBLING), (3, 133, 0));
        // Four equal ones after the first, then 2, 4 and 8 times as long: 5 + 14.
        assert_eq!(timers(8, 4), 19);
        assert_eq!(of(Some(1_900), retry(7, None), LINEAR), (7, 25, 0));
    }

    #[test]
    fn a_short_time_needs_a_short_first_timer() {
        assert_eq!(of(Some(300), None, LINEAR), (0, 75, 0));
        assert_eq!(of(Some(3_000), None, LINEAR), (0, 0, 0));
        assert_eq!(of(None, None, LINEAR), (0, 0, 0));
    }

    #[test]
    fn the_time_for_one_attempt_goes_first() {
        assert_eq!(of(None, retry(2, Some(100)), LINEAR), (2, 25, 0));
        assert_eq!(of(None, retry(2, None), LINEAR), (2, 0, 0));
        assert_eq!(of(Some(1_000), retry(2, Some(100)), LINEAR), (2, 25, 0));
        // The second would come after 2 × 600 ms.
        assert_eq!(of(Some(1_000), retry(2, Some(600)), LINEAR), (2, 150, 1));
        assert_eq!(of(Some(10), retry(20, None), LINEAR), (20, 1, 1));
    }

    #[test]
    fn an_unknown_clock_is_said_where_it_matters() {
        let unknown = Kernel::default();
        assert_eq!(of(Some(300), None, unknown), (0, 0, 1));
        assert_eq!(of(None, retry(2, Some(100)), unknown), (2, 0, 1));
        assert_eq!(of(Some(3_000), None, unknown), (0, 0, 0));
    }
}
