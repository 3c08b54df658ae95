//! Parts of programs that the kernel verifies once for each program, and not once for each way
//! that leads there: global functions, which take and return numbers only. Minimum kernel: 5.6.

#![expect(unreachable_pub, reason = "the loader finds functions by their exported symbols")]

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnFlags, ConnRecord};
use mesh_common::logic::breaker::Outcome;
use mesh_common::logic::load;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use crate::edge;
use crate::guard::{self, Ended, NS_PER_MS};
use crate::refusal;
use crate::select::{self, Asked, Client};

/// Where flags lie in a result; without [`ConnFlags::GUARDED`] the low half is why not.
const FLAGS_AT: u32 = 32;
/// Where [`Told`] lies among flags.
const TOLD_AT: u32 = 16;
/// See [`Asked::Torn`].
const TORN: u64 = 0;
/// See [`Asked::Busy`].
const BUSY: u64 = 1;

/// Chooses a backend of a guarded service, and takes a place among its connections.
#[inline(always)]
pub(crate) fn guarded(
    service: ServiceIndex,
    client: Client,
) -> Result<(BackendIndex, ConnFlags), Reason> {
    entered(mesh_guarded(service.index, client.hashed, client.known))
        .map_err(|code| Reason { code })
}

/// Takes a place among the connections of the backend whose turn it is.
#[inline(always)]
pub(crate) fn ask(service: ServiceIndex, client: Client, start: u32, pick: u32) -> Asked {
    match entered(mesh_ask(service.index, client.hashed, client.known, start, pick)) {
        Ok((index, flags)) => Asked::Entered(index, flags),
        Err(code) if u64::from(code) == TORN => Asked::Torn,
        Err(_) => Asked::Busy,
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn entered(result: u64) -> Result<(BackendIndex, ConnFlags), u32> {
    let flags = flags(result);
    if flags.contains(ConnFlags::GUARDED) {
        Ok((BackendIndex { index: result as u32 }, flags))
    } else {
        Err(result as u32)
    }
}

#[inline(always)]
const fn result(backend: BackendIndex, flags: ConnFlags) -> u64 {
    backend.index as u64 | (flags.bits as u64) << FLAGS_AT
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

/// A trial of a breaker is established.
#[inline(always)]
pub(crate) fn tried(record: &ConnRecord) {
    tell(record, Told::TRIED);
}

/// The connection has ended without being established.
#[inline(always)]
pub(crate) fn failed(record: &ConnRecord, outcome: Outcome) {
    tell(record, if outcome == Outcome::Bad { Told::FAILED } else { Told::GIVEN_UP });
}

/// Counts who was refused, and why.
#[inline(always)]
pub(crate) fn refused(service: ServiceIndex, reason: Reason) {
    mesh_refused(service.index, reason.code);
}

#[inline(always)]
fn tell(record: &ConnRecord, what: Told) {
    let ConnRecord { service, backend, generation, flags, started_ns, .. } = record;
    if flags.contains(ConnFlags::GUARDED) {
        let flags = u32::from(flags.bits) | what.code << TOLD_AT;
        mesh_tell(service.index, backend.index, *generation, flags, started_ns / NS_PER_MS);
    }
}

/// See [`edge::connected`].
#[inline(always)]
pub(crate) fn connected(cookie: u64) {
    mesh_connected(cookie);
}

/// See [`edge::disconnected`].
#[inline(always)]
pub(crate) fn disconnected(cookie: u64) {
    mesh_disconnected(cookie);
}

/// See [`edge::running`].
#[inline(always)]
pub(crate) fn running() -> u64 {
    mesh_running()
}

/// See [`edge::count_flow`].
#[inline(always)]
pub(crate) fn count_flow(
    cgroup: u64,
    backend: BackendIndex,
    generation: u32,
    has_ended: bool,
) -> bool {
    mesh_flow(cgroup, backend.index, generation, has_ended.into()) != 0
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
    const TRIED: Self = Self { code: 0 };
    const FAILED: Self = Self { code: 1 };
    const GIVEN_UP: Self = Self { code: 2 };

    /// How much less load there is, and the outcome.
    #[inline(always)]
    const fn means(self) -> (u64, Outcome) {
        match self {
            Self::TRIED => (0, Outcome::Good),
            Self::FAILED => (load::PENDING, Outcome::Bad),
            _ => (load::PENDING, Outcome::Unknown),
        }
    }
}

/// See [`guarded`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_guarded(service: u32, hashed: u64, known: u64) -> u64 {
    match select::guarded(ServiceIndex { index: service }, Client { hashed, known }) {
        Ok((backend, flags)) => result(backend, flags),
        Err(reason) => reason.code.into(),
    }
}

/// See [`ask`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_ask(service: u32, hashed: u64, known: u64, start: u32, pick: u32) -> u64 {
    let client = Client { hashed, known };
    match select::ask(ServiceIndex { index: service }, client, start, pick) {
        Asked::Torn => TORN,
        Asked::Busy => BUSY,
        Asked::Entered(backend, flags) => result(backend, flags),
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
    began_ms: u64,
) -> u32 {
    let (service, backend) = (ServiceIndex { index: service }, BackendIndex { index: backend });
    let (less, outcome) = Told { code: flags >> TOLD_AT }.means();
    let flags = ConnFlags { bits: flags as u16 };
    if let Some(policy) = guard::policy(service) {
        let ended = Ended { service, backend, generation, flags, began_ms };
        guard::tell(ended, policy, less, outcome);
    }
    0
}

/// See [`refused`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_refused(service: u32, reason: u32) -> u32 {
    refusal::count(ServiceIndex { index: service }, Reason { code: reason });
    0
}

/// See [`connected`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_connected(cookie: u64) -> u32 {
    edge::connected(cookie);
    0
}

/// See [`disconnected`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_disconnected(cookie: u64) -> u32 {
    edge::disconnected(cookie);
    0
}

/// See [`running`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_running() -> u64 {
    edge::running()
}

/// See [`count_flow`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mesh_flow(cgroup: u64, backend: u32, generation: u32, has_ended: u32) -> u32 {
    let backend = BackendIndex { index: backend };
    edge::count_flow(cgroup, backend, generation, has_ended != 0).into()
}
