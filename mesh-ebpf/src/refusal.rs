//! Refused connects and datagrams by who asks and by why: what a service's counters say, in parts.
//! Whoever is counted here is counted there first, so that the parts never come to more than the whole.

use mesh_common::reason::Reason;
use mesh_common::refusal::{RefusalCause, RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use crate::edge::{NEW, running};
use crate::{ctx, maps, telemetry};

/// What a new entry has counted.
static ZERO: RefusalCounters = RefusalCounters::ZERO;

/// The running task was refused.
#[inline(always)]
pub(crate) fn count(service: ServiceIndex, reason: Reason) {
    let Some(counters) = counters(service) else { return };
    let cause = RefusalCause::from_reason(reason);
    if let Some(counter) = counters.refused.get_mut(cause.code as usize) {
        ctx::add(counter, 1);
    }
}

#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, key and value would be copied on the stack once more"
)]
fn counters(service: ServiceIndex) -> Option<&'static mut RefusalCounters> {
    let key = RefusalKey { cgroup: running(), service, pad: 0 };
    if let Some(found) = maps::refusals.get_ptr_mut(&key) {
        return ctx::shared(Some(found));
    }
    // Another CPU may be first; then it is there.
    maps::refusals.insert(&key, &ZERO, NEW).unwrap_or_default();
    let found = maps::refusals.get_ptr_mut(&key);
    if found.is_none() {
        telemetry::trouble(Reason::REFUSALS_FULL);
    }
    ctx::shared(found)
}
