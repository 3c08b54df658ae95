//! A policy as `mesh-agent dump` prints it: only what it asks for.

use std::fmt;

use mesh_common::policy::{OutlierPolicy, Policy, Thresholds, TimeoutPolicy};

/// ` KEY=VALUE` for each part.
pub(super) struct Parts<'a>(pub(super) &'a Policy);

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(policy) = self;
        thresholds(f, "", &policy.service)?;
        thresholds(f, "BACKEND-", &policy.backend)?;
        let outlier = &policy.outlier;
        if *outlier != OutlierPolicy::default() {
            let OutlierPolicy { consecutive_failures, base_ms, max_ms, max_ejected } = outlier;
            if *consecutive_failures != 0 {
                write!(f, " OUTLIER={consecutive_failures}")?;
            }
            write!(f, " EJECTION={base_ms}ms..{max_ms}ms MAX-EJECTED={max_ejected}")?;
        }
        let TimeoutPolicy { connect_ms, syn_rto_jiffies, syn_retries, idle_ms } = policy.timeouts;
        for (key, value, unit) in [
            ("CONNECT", connect_ms, "ms"),
            ("SYN-RTO", syn_rto_jiffies, "j"),
            ("SYN-RETRIES", syn_retries, ""),
            ("IDLE", idle_ms, "ms"),
        ] {
            if value != 0 {
                write!(f, " {key}={value}{unit}")?;
            }
        }
        Ok(())
    }
}

fn thresholds(f: &mut fmt::Formatter<'_>, of: &str, from: &Thresholds) -> fmt::Result {
    if from.max_connections != 0 {
        write!(f, " {of}MAX-CONNECTIONS={}", from.max_connections)?;
    }
    if from.max_pending != 0 {
        write!(f, " {of}MAX-PENDING={}", from.max_pending)?;
    }
    if from.max_failures != 0 {
        let Thresholds { max_failures, window_ms, reset_ms, trials, .. } = from;
        write!(f, " {of}BREAKER={max_failures}/{window_ms}ms")?;
        write!(f, " {of}RESET={reset_ms}ms {of}TRIALS={trials}")?;
    }
    Ok(())
}
