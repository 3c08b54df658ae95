//! Limits, breakers, outlier detection, timeouts and retransmissions: wire ⇄ model. Whatever has
//! a default is written back with it, so that a person sees what applies.

pub(super) mod breaker;
pub(super) mod outlier;
pub(super) mod timeouts;
