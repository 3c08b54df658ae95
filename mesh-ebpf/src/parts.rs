//! Parts of programs that the kernel verifies once for each program, and not once for each way
//! that leads there: global functions, which take and return numbers only. Minimum kernel: 5.6.

#![expect(unreachable_pub, reason = "the loader finds functions by their exported symbols")]

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnFlags, ConnRecord};
use mesh_common::logic::breaker::Outcome;
use mesh_common::logic::connect::belongs;
use mesh_common::logic::load;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use crate::{ctx, guard, select};

/// Where flags lie in a result.
const FLAGS_AT: u32 = 32;
/// The backend is not the service's: a torn read.
const TORN: u64 = 0;
/// The backend may not have another connection.
const BUSY: u64 = 1;
/// A place is taken.
const ENTERED: u64 = 2;

/// What asking a backend came to.
pub(crate) enum Entry {
    /// It is not the service's: a torn read.
    Torn,
    /// It may not have another connection.
    Busy,
    /// A place is taken.
    Entered { flags: ConnFlags, generation: u32 },
}

/// Takes a place among a backend's connections.
#[inline(always)]
pub(crate) fn enter_backend(service: ServiceIndex, backend: BackendIndex) -> Entry {
    let result = mesh_enter_backend(service.index, backend.index);
    match result & u64::from(u32::MAX) {
        TORN => Entry::Torn,
        ENTERED => {
            let generation = ctx::backend(backend).map_or(0, |backend| backend.generation);
            Entry::Entered { flags: flags(result), generation }
        }
        _ => Entry::Busy,
    }
}

/// Chooses a backend of a guarded service, and takes a place among its connections. `hashed_by` is
/// the client as Maglev takes it, `known_by` as session affinity does.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(crate) fn guarded(
    service: ServiceIndex,
    hashed_by: u64,
    known_by: u64,
) -> Result<(BackendIndex, ConnFlags), Reason> {
    let result = mesh_guarded(service.index, hashed_by, known_by);
    let flags = flags(result);
    if flags.contains(ConnFlags::GUARDED) {
        Ok((BackendIndex { index: result as u32 }, flags))
    } else {
        Err(Reason { code: result as u32 })
    }
}

/// Takes a place among a service's connections.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(crate) fn enter_service(service: ServiceIndex) -> Result<ConnFlags, Reason> {
    let result = mesh_enter_service(service.index);
    let code = result as u32;
    if code == 0 { Ok(flags(result)) } else { Err(Reason { code }) }
}

/// Gives a service's place back where no backend was found.
#[inline(always)]
pub(crate) fn leave_service(service: ServiceIndex, entered: ConnFlags) {
    mesh_leave_service(service.index, entered.bits.into());
}

/// The connection is established.
#[inline(always)]
pub(crate) fn opened(record: &ConnRecord) {
    tell(record, Told::OPENED);
}

/// The connection has ended without being established.
#[inline(always)]
pub(crate) fn failed(record: &ConnRecord, outcome: Outcome) {
    tell(record, if outcome == Outcome::Bad { Told::FAILED } else { Told::GIVEN_UP });
}

/// The connection has ended after being established.
#[inline(always)]
pub(crate) fn closed(record: &ConnRecord) {
    tell(record, Told::CLOSED);
}

#[inline(always)]
fn tell(record: &ConnRecord, what: Told) {
    let ConnRecord { service, backend, generation, flags, .. } = record;
    if flags.contains(ConnFlags::GUARDED) {
        mesh_tell(service.index, backend.index, *generation, flags.bits.into(), what.code);
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "flags have 16 bits")]
const fn flags(result: u64) -> ConnFlags {
    ConnFlags { bits: (result >> FLAGS_AT) as u16 }
}

/// What a guard is told about a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    code: u32,
}

impl Told {
    const OPENED: Self = Self { code: 0 };
    const FAILED: Self = Self { code: 1 };
    const GIVEN_UP: Self = Self { code: 2 };
    const CLOSED: Self = Self { code: 3 };

    /// How much less load there is, and the outcome where it is one.
    #[inline(always)]
    const fn means(self) -> (u64, Option<Outcome>) {
        match self {
            Self::OPENED => (load::ESTABLISHED, Some(Outcome::Good)),
            Self::FAILED => (load::PENDING, Some(Outcome::Bad)),
            Self::GIVEN_UP => (load::PENDING, Some(Outcome::Unknown)),
            _ => (load::OPEN, None),
        }
    }
}

/// See [`guarded`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_guarded(service: u32, hashed_by: u64, known_by: u64) -> u64 {
    match select::guarded(ServiceIndex { index: service }, hashed_by, known_by) {
        Ok((backend, flags)) => u64::from(backend.index) | u64::from(flags.bits) << FLAGS_AT,
        Err(reason) => reason.code.into(),
    }
}

/// See [`enter_backend`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_enter_backend(service: u32, backend: u32) -> u64 {
    let (service, index) = (ServiceIndex { index: service }, BackendIndex { index: backend });
    let Some(backend) = ctx::backend(index) else { return TORN };
    let Some(policy) = guard::policy(service) else { return TORN };
    if !belongs(backend, service) {
        return TORN;
    }
    match guard::enter_backend(service, index, backend.generation, policy) {
        Some(flags) => ENTERED | u64::from(flags.bits) << FLAGS_AT,
        None => BUSY,
    }
}

/// See [`enter_service`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_enter_service(service: u32) -> u64 {
    let service = ServiceIndex { index: service };
    let Some(policy) = guard::policy(service) else { return Reason::DANGLING.code.into() };
    match guard::enter_service(service, policy) {
        Ok(flags) => u64::from(flags.bits) << FLAGS_AT,
        Err(reason) => reason.code.into(),
    }
}

/// See [`leave_service`].
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "flags have 16 bits")]
pub extern "C" fn mesh_leave_service(service: u32, flags: u32) -> u32 {
    let service = ServiceIndex { index: service };
    if let Some(policy) = guard::policy(service) {
        guard::leave_service(service, policy, ConnFlags { bits: flags as u16 });
    }
    0
}

/// Tells the guards of a service and of a backend about a connection.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "flags have 16 bits")]
pub extern "C" fn mesh_tell(
    service: u32,
    backend: u32,
    generation: u32,
    flags: u32,
    what: u32,
) -> u32 {
    let (service, backend) = (ServiceIndex { index: service }, BackendIndex { index: backend });
    let flags = ConnFlags { bits: flags as u16 };
    let (less, outcome) = Told { code: what }.means();
    if let Some(policy) = guard::policy(service) {
        guard::tell(service, backend, generation, flags, policy, less, outcome);
    }
    0
}
